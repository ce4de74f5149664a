"""Do a query token's second, third and further matches say anything that the best one does not?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Measurement, Paper, Skip
from lidiag.probe import Measuring

from ._quality import Judgements, Order
from ._tail import RANKS, Pool, Seen, pools, seen
from ._within import best_weight, centred, drawn_again, folds, held_out_auc, left_out, with_choice

# Written before the figures: a hundredth of AUC is negligible, a twentieth is strong.
NEGLIGIBLE, STRONG = 0.01, 0.05

_GRID = np.linspace(-2, 2, 81)
_RESAMPLES = 1000
_FEWEST = 2  # queries per fold

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SimilarityTail:
    """Relevant and other documents are compared within one pool per query, drawn without MaxSim.

    The pool is the `pool` nearest documents by the cosine of mean vectors: others chosen by MaxSim would be chosen for a high
    rank 1, and make rank 1 look useless. `tail` are the ranks whose mean `tail_weight` weighs.
    """

    pool: int = 200
    folds: int = 5
    k: int = 16
    tail: tuple[int, int] = (2, 32)

    name: ClassVar[str] = "similarity-tail"
    version: ClassVar[int] = 3
    question: ClassVar[str] = "Do a query token's matches beyond the best one say anything about relevance?"
    source: ClassVar[Paper | None] = Paper(title="Working Notes on Late Interaction Dynamics", arxiv="2603.26259", section="abstract")
    primary: ClassVar[str] = "tail_gain"
    formulas: ClassVar[dict[str, str]] = {
        "similarity": "mean over query tokens of the similarity at a rank among a document's vectors (mean over the ranks of a range that exist), mean over "
        "the pool's relevant or non-relevant documents, then over queries; the paper looks for a trend in it (arXiv 2603.26259), the estimate is ours",
        "rank_auc": "within a query's pool, how often a relevant document has the higher similarity at that rank (ties half), mean over queries; ours",
        "top_margin": "(rank 1 - rank 2) / standard deviation of the query token's similarities to all vectors of the collection, mean over query tokens and "
        "the pool's documents, then over queries; ours",
        "tail_gain": "within-query AUC of a logistic regression on rank 1, log2 M and ranks 2-4, 5-16, 17-32, minus that of one on rank 1 and log2 M; features "
        "centred within the query, judged on queries of folds that the weights were not fitted to; ours",
        "tail_gain_permuted": "the same with the tail's features permuted among a query's documents: must include 0 (control); ours",
        "tail_weight": "the b in -2..2 that gives the pool the highest mean nDCG@10 under sum_i (s_i1 + b * mean of ranks 2..32); interval: symmetric bootstrap over "
        "queries (Hall 1988, Annals of Statistics 16(3)), within -2..2. Below 0 it corrects for density; TopK can test positive weights only; ours",
        "tail_weight_gain": "nDCG@10 of the pool under the b that is best for as many queries drawn with replacement, minus that with b = 0, judged on the "
        "queries left out; mean over draws, then queries (leave-one-out bootstrap: Efron and Tibshirani 1997, JASA 92(438)). The interval allows for "
        "other queries choosing another b (Efron 2014, JASA 109(507)); ours",
        "topk_ndcg": "nDCG@10 of the pool ranked by TopK(k), against all relevant documents: what lies outside the pool is lost; ours",
    }

    def __post_init__(self) -> None:
        """Refuse a pool without a choice, and ranks that are none."""
        for field, low in (("pool", 2), ("folds", 2), ("k", 1)):
            if getattr(self, field) < low:
                raise LidiagError(f"{self.name}: {field} = {getattr(self, field)} is too few.", f"Give {low} or more.")
        if len(self.tail) != 2 or not 2 <= self.tail[0] <= self.tail[1]:  # noqa: PLR2004 - from, to; rank 1 is no tail
            raise LidiagError(f"{self.name}: tail = {list(self.tail)} are no ranks.", "Give the first and the last, such as [2, 32].")

    def measure(self, bench: Bench) -> Measuring:
        """Draw the pools, then look at all their similarities; no pass over the collection is needed."""
        found = bench.findings()
        groups = np.arange(len(bench)) if found.clusters is None else found.clusters
        drawn = pools(bench, self.pool)
        mixed = np.array([pool.mixed for pool in drawn])
        if (there := len(np.unique(groups[mixed]))) < _FEWEST * self.folds:
            raise Skip(
                f"only {there} independent queries have both relevant and other documents among their {self.pool} nearest, and "
                f"{self.folds} folds take {_FEWEST * self.folds}"
            )
        views = list(seen(bench, drawn, self.k, self.tail))
        fold = folds(groups, self.folds, bench.rng("folds"))
        _say_pools(found, drawn)
        _add_ranks(found, drawn, views)
        _add_gain(found, drawn, views, fold, bench.rng("permuted tail"))
        topk, weighed = _rankings(bench, drawn, views)
        for k in range(self.k):
            found.mean("topk_ndcg", {"k": k + 1}, topk[:, k], better="higher", share=True)
        _add_weight(found, weighed, groups, drawn_again(groups, _RESAMPLES, bench.rng("tail weight")))
        return found
        yield from ()


def _say_pools(found: Findings, drawn: Sequence[Pool]) -> None:
    outside = sum(pool.left_out for pool in drawn)
    relevant = outside + sum(int(pool.relevant.sum()) for pool in drawn)
    without = sum(not pool.mixed for pool in drawn)
    text = (
        f"Of {relevant} relevant documents, {outside} lie outside their query's pool and are left out; {without} of {len(drawn)} queries have "
        "no relevant document or no other one in the pool."
    )
    found.say("pools", text, relevant=relevant, outside=outside, queries_without=without)


def _add_ranks(found: Findings, drawn: Sequence[Pool], views: Sequence[Seen]) -> None:
    for i, rank in enumerate(RANKS):
        columns = [view.similarity[:, i] for view in views]
        for documents, wanted in (("relevant", True), ("non-relevant", False)):
            values = [_mean(column[pool.relevant == wanted]) for column, pool in zip(columns, drawn, strict=True)]
            _add(found, "similarity", {"rank": rank, "documents": documents}, values)
        aucs = [
            float(stats.auc(np.nan_to_num(column), pool.relevant, np.isfinite(column))) for column, pool in zip(columns, drawn, strict=True)
        ]
        _add(found, "rank_auc", {"rank": rank}, aucs)
    _add(found, "top_margin", {}, [_mean(view.margin) for view in views])


def _add(found: Findings, name: str, at: dict[str, str], values: Sequence[float]) -> None:
    if np.isnan(values).all():
        found.unmade(name, at, "no document of a pool has vectors at these ranks.")
    else:
        found.mean(name, at, values, share=name == "rank_auc")


def _add_gain(found: Findings, drawn: Sequence[Pool], views: Sequence[Seen], fold: NDArray[np.int64], rng: np.random.Generator) -> None:
    mixed = [query for query, pool in enumerate(drawn) if pool.mixed]
    relevant = [drawn[query].relevant for query in mixed]
    base = [centred(np.column_stack([views[query].similarity[:, 0], np.log2(drawn[query].size)])) for query in mixed]
    tails = [centred(views[query].similarity[:, 1:]) for query in mixed]
    without = held_out_auc(base, relevant, fold[mixed])
    for name, extra in (("tail_gain", tails), ("tail_gain_permuted", [rng.permutation(tail) for tail in tails])):
        values = np.full(len(drawn), np.nan)
        values[mixed] = held_out_auc([np.hstack(pair) for pair in zip(base, extra, strict=True)], relevant, fold[mixed]) - without
        found.mean(name, {}, values)
    _say_verdict(found, float(without.mean()))


def _say_verdict(found: Findings, without: float) -> None:
    gain, control = found.get("tail_gain", {}), found.get("tail_gain_permuted", {})
    word = stats.verdict(gain.low, gain.high, NEGLIGIBLE, STRONG)
    holds = control.low is None or control.high is None or control.low <= 0 <= control.high
    said = {
        "none": "ranks 2 to 32 add nothing to rank 1",
        "shown": "ranks 2 to 32 add to rank 1",
        "strong": "ranks 2 to 32 add much to rank 1",
        "cannot tell": "these queries cannot tell whether ranks 2 to 32 add to rank 1",
    }[word]
    text = (
        f"Within the pool, {said}: AUC {without:.3f} without them, {gain.value:+.4f}{_reach(gain)} with them (negligible within {NEGLIGIBLE}, "
        f"strong above {STRONG}); with the tail permuted {control.value:+.4f}{_reach(control)}."
    )
    if not holds:
        word, text = "cannot tell", f"{text} The permuted tail should add nothing, and its interval leaves 0 out: no verdict."
    found.say("tail", text, verdict=word, control_holds=holds)


def _rankings(bench: Bench, drawn: Sequence[Pool], views: Sequence[Seen]) -> tuple[Array, Array]:
    """Return each query's nDCG@10 of its pool, by k of TopK (queries, k) and by weight of the tail (queries, weights)."""
    topk, weighed = (np.empty((len(drawn), width)) for width in (views[0].topk.shape[1], len(_GRID)))
    ids = [document.id for document in bench.dataset.documents]
    for query, (pool, view) in enumerate(zip(drawn, views, strict=True)):
        judgements, order = Judgements.of(bench, query), Order([ids[document] for document in pool.documents])
        positions = torch.from_numpy(pool.documents)
        for out, scores in ((topk, view.topk.T), (weighed, view.topk[:, 0] + _GRID[:, None] * view.tail)):
            out[query] = judgements.ndcg(positions[order.first(torch.from_numpy(scores))])
    return topk, weighed


def _add_weight(found: Findings, weighed: Array, groups: NDArray[np.int64], times: NDArray[np.int64]) -> None:
    """Add the weight and what it gains; `times` (draws, queries) says how often each query was drawn again."""
    chosen = best_weight(times @ weighed / times.sum(1)[:, None], _GRID)
    change = weighed - weighed[:, [int(np.abs(_GRID).argmin())]]
    gain = found.mean("tail_weight_gain", {}, with_choice(*left_out(change, chosen, times), times, groups))
    b = float(_GRID[best_weight(weighed.mean(0), _GRID)])
    # The best of many weights is no smooth function of the queries; what is drawn again errs by as much, but not about b.
    reach = float(np.quantile(np.abs(_GRID[chosen] - b), 0.95))
    low, high = max(b - reach, float(_GRID[0])), min(b + reach, float(_GRID[-1]))
    found.number("tail_weight", {}, b, n=len(weighed), unit_of_n="queries", low=low, high=high)
    sense = (
        "a correction for density, which TopK cannot make" if high < 0 else "a reward for further matches" if low > 0 else "no clear sign"
    )
    text = (
        f"Weighing the tail with b = {b:g} ({low:g} to {high:g}; {sense}) changes nDCG@10 of the pool by {gain.value:+.4f}{_reach(gain)}, b chosen on "
        "other queries."
    )
    found.say("tail weight", text, b=b)


def _reach(measured: Measurement) -> str:
    return "" if measured.low is None or measured.high is None else f" ({measured.low:+.4f} to {measured.high:+.4f})"


def _mean(values: Array) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")
