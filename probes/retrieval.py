"""How well the model retrieves: ir-measures' metrics, by pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import ir_measures
import numpy as np
from ir_measures import AP, RR, Judged, Measure, R, nDCG
from numpy.typing import NDArray
from torch import Tensor

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Paper, Skip
from lidiag.pooling import Hybrid, Scoring, Single, parse
from lidiag.probe import Measuring
from lidiag.similarity import Needs

from ._order import WholeOrder

_NAMES: dict[Measure, str] = {m: str(m) for m in (nDCG @ 10, R @ 1, R @ 10, R @ 100, RR @ 10, AP)} | {Judged @ 10: "judged@10"}
_CUTOFFS: tuple[int, ...] = (1, 10, 100)


@dataclass(frozen=True)
class Retrieval:
    """Ranks all documents for every query, and judges the first `depth` of them."""

    poolings: tuple[str, ...] = ("maxsim", "topk(4)", "softmax(0.1)", "softmax(1)")
    depth: int = 1000  # as in TREC runs; only AP sees a difference

    name: ClassVar[str] = "retrieval"
    version: ClassVar[int] = 1
    question: ClassVar[str] = "How good are the rankings?"
    source: ClassVar[Paper | None] = None
    primary: ClassVar[str] = "nDCG@10"
    formulas: ClassVar[dict[str, str]] = {
        "nDCG@10": "sum over ranks r = 1..10 of grade / log2(r + 1), over the same sum of the ideal ranking; linear gains (ir-measures, trec_eval)",
        "chance_nDCG@10": "nDCG@10 expected of the collection's documents in random order, exactly; the control of every nDCG@10 here; ours",
        "R@1": "relevant documents at rank 1 / relevant documents; relevant is a grade above 0 (ir-measures, trec_eval)",
        "R@10": "relevant documents in the first 10 / relevant documents (ir-measures, trec_eval)",
        "R@100": "relevant documents in the first 100 / relevant documents (ir-measures, trec_eval)",
        "RR@10": "1 / rank of the first relevant document, 0 beyond rank 10 (ir-measures, trec_eval)",
        "AP": "mean over relevant documents of the precision at their rank, 0 beyond rank `depth` (ir-measures, trec_eval)",
        "judged@10": "share of the first 10 that has a judgement: what lacks one counts as not relevant in all the others (ir-measures)",
    }

    def __post_init__(self) -> None:
        """Refuse poolings that do not exist, and a depth that cuts the metrics short."""
        for pooling in self.poolings:
            parse(pooling)
        if self.depth < max(_CUTOFFS):
            raise LidiagError(f"retrieval: depth {self.depth} is less than R@{max(_CUTOFFS)} looks at.", f"Choose {max(_CUTOFFS)} or more.")

    def measure(self, bench: Bench) -> Measuring:
        """Rank and judge block by block."""
        asked = tuple(dict.fromkeys(parse(pooling) for pooling in self.poolings))
        scorings = tuple(scoring for scoring in asked if bench.pooled or not isinstance(scoring, (Single, Hybrid)))
        if not scorings:
            raise Skip(f"{bench.adapter.card.name} gives no pooled vector beside the token vectors, which all asked poolings need")
        values = {(scoring, metric): np.full(len(bench), np.nan) for scoring in scorings for metric in _NAMES}
        ties = {scoring: dict.fromkeys(_CUTOFFS, 0) for scoring in scorings}
        ranker = _Ranker(bench, self.depth)
        needs = Needs(scorings)
        while block := (yield needs):
            for scoring in scorings:
                ranked = ranker.rank(block.scores(scoring))
                for cutoff, tied in ranked.ties.items():
                    ties[scoring][cutoff] += tied
                for metric, found in ranker.judge(block.queries, ranked).items():
                    values[scoring, metric][block.queries.start : block.queries.stop] = found
        found = bench.findings()
        for (scoring, metric), data in values.items():
            found.mean(
                _NAMES[metric], {"pooling": repr(scoring)}, data, better="neither" if metric.NAME == "Judged" else "higher", share=True
            )
        if without := [repr(scoring) for scoring in asked if scoring not in scorings]:
            found.say(
                "not measured", f"{' and '.join(without)}: {bench.adapter.card.name} gives no pooled vector beside the token vectors."
            )
        found.mean("chance_nDCG@10", {}, _by_chance(bench), share=True)
        _say_verdicts(found, scorings)
        _say_ties(found, ties)
        _say_unjudged(found, scorings)
        empty = int((bench.lengths == 0).sum())
        if empty:
            found.say("empty documents", f"{empty} documents have no token vector: they have no score and are ranked last.", count=empty)
        return found


@dataclass(frozen=True)
class _Ranked:
    """The first documents of every query, as positions (queries, depth), and the number of queries with a tie by cut-off."""

    documents: NDArray[np.int64]
    ties: Mapping[int, int]


def _by_chance(bench: Bench) -> NDArray[np.float64]:
    """Return, by query, the expected nDCG@10 of a random order of all documents."""
    discounts = 1 / np.log2(np.arange(2, 12))
    documents = len(bench.documents)
    found = np.empty(len(bench))
    for i, judged in enumerate(bench.grades):
        gains = np.sort([grade for grade in judged.values() if grade > 0])[::-1]
        ideal = gains[:10] @ discounts[: len(gains)]
        found[i] = gains.sum() / documents * discounts[:documents].sum() / ideal
    return found


class _Ranker:
    """Ranks by score, and judges."""

    def __init__(self, bench: Bench, depth: int) -> None:
        self._ids = [document.id for document in bench.dataset.documents]
        self._queries = bench.query_ids
        self._grades = bench.grades
        self._order = WholeOrder(self._ids)
        self._depth = depth

    def rank(self, scores: Tensor) -> _Ranked:
        """Rank (queries, documents) scores."""
        values, order = self._order.rank(scores)
        same = (values[:, 1:] == values[:, :-1]) & values[:, 1:].isfinite()
        ties = {cutoff: int(same[:, :cutoff].any(1).sum()) for cutoff in _CUTOFFS}
        return _Ranked(order[:, : self._depth].numpy(), ties)

    def judge(self, queries: range, ranked: _Ranked) -> dict[Measure, NDArray[np.float64]]:
        """Return every metric's value for each of the block's queries.

        ir-measures is given ranks in place of scores: no rounding of a score, and no rule for ties but the one above, can
        change the order.
        """
        depth = ranked.documents.shape[1]
        places = [float(depth - rank) for rank in range(depth)]
        # Grades below 0 mean "not relevant" and gain nothing; trec_eval reads some of them as commands.
        qrels = {self._queries[q]: {self._ids[d]: max(0, grade) for d, grade in self._grades[q].items()} for q in queries}
        run = {
            self._queries[q]: dict(zip((self._ids[d] for d in row), places, strict=True))
            for q, row in zip(queries, ranked.documents.tolist(), strict=True)
        }
        row = {self._queries[q]: i for i, q in enumerate(queries)}
        values = {metric: np.full(len(queries), np.nan) for metric in _NAMES}
        for item in ir_measures.iter_calc(list(_NAMES), qrels, run):
            values[item.measure][row[item.query_id]] = item.value
        return values


def _say_verdicts(found: Findings, scorings: tuple[Scoring, ...]) -> None:
    """Say whether each scoring beats chance, and the smallest difference that these queries would show."""
    chance = found.get("chance_nDCG@10", {}).value
    for scoring in scorings:
        ndcg = found.get("nDCG@10", {"pooling": repr(scoring)})
        word: stats.Verdict = "cannot tell"
        if ndcg.low is not None and ndcg.high is not None and not ndcg.low <= chance < ndcg.high:
            word = "shown" if ndcg.low > chance else "none"
        said = {
            "shown": "better than a random order",
            "none": "no better than a random order",
            "cannot tell": "these queries cannot tell whether it is better than a random order",
        }[word]
        reach = "" if ndcg.low is None or ndcg.high is None else f" [{ndcg.low:.3f}, {ndcg.high:.3f}]"
        others = _detectable(found, scoring, [other for other in scorings if other != scoring])
        text = f"{scoring!r}: nDCG@10 {ndcg.value:.3f}{reach}, by chance {chance:.3f}: {said}."
        if others:
            listed = ", ".join(f"{effect:.3f} as {other}'s" for other, effect in others.items())
            text += (
                f" With {ndcg.n} {ndcg.unit_of_n}, a difference in nDCG@10 from another ranking shows four times in five from this size on, by how "
                f"unlike the other is: {listed}."
            )
        found.say("quality", text, verdict=word, pooling=repr(scoring), detectable=others)


def _detectable(found: Findings, scoring: Scoring, others: Sequence[Scoring]) -> dict[str, float]:
    """Return the mean difference in nDCG@10 that would be shown four times in five, by the ranking that is compared with."""
    values = {held.at["pooling"]: held.values for held in found.per_query if held.name == "nDCG@10"}
    differences = {repr(other): values[repr(scoring)] - values[repr(other)] for other in others}
    units = len(found.queries) if found.clusters is None else len(np.unique(found.clusters))
    if units < 2:  # noqa: PLR2004 - a spread takes two
        return {}
    effects = {name: stats.minimum_detectable_effect(values, clusters=found.clusters) for name, values in differences.items()}
    return {name: effect for name, effect in effects.items() if effect > 0}


def _say_ties(found: Findings, ties: Mapping[Scoring, Mapping[int, int]]) -> None:
    tied = {repr(scoring): {str(cutoff): n for cutoff, n in by_cutoff.items() if n} for scoring, by_cutoff in ties.items()}
    cases = [f"{n} at {cutoff} for {pooling}" for pooling, by_cutoff in tied.items() for cutoff, n in by_cutoff.items()]
    rule = "Equal scores are ranked by falling document id, as trec_eval does"
    if cases:
        text = f"{rule}, so ids have a say in queries with equal scores among the first 1, 10 or 100 and the next: {'; '.join(cases)} (of {len(found.queries)})."
    else:
        text = f"{rule}; no query has two equal scores among its first {_CUTOFFS[-1] + 1}."
    found.say("ties", text, queries=tied)


def _say_unjudged(found: Findings, scorings: tuple[Scoring, ...]) -> None:
    shares = {repr(scoring): found.get("judged@10", {"pooling": repr(scoring)}).value for scoring in scorings}
    listed = ", ".join(f"{share:.0%} for {pooling}" for pooling, share in shares.items())
    text = f"Of the ten best documents, the judged share is {listed}: unjudged ones count as not relevant, so poolings with other shares compare with care."
    found.say("judgements", text, judged=shares)
