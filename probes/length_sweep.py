"""What happens to the ranking when documents grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError, unknown
from lidiag.findings import Findings
from lidiag.measurement import Paper
from lidiag.pooling import Hybrid, Pooling, Single, parse
from lidiag.probe import Measuring
from lidiag.similarity import Block, Needs

from ._growth import FILLERS, Filler
from ._growth_kernels import Lanes, aligned, totals
from ._quality import Judgements, Order
from ._text_growth import TextGrowth
from ._threads import in_threads

GROWN = ("all", "non-relevant", "relevant")
# Written before the figures: a loss of a twentieth of nDCG@10 is negligible, one of a quarter is strong.
_NEGLIGIBLE, _STRONG = 0.05, 0.25
_QUERIES_AT_A_TIME = 8  # each holds the states of all documents with its tokens a second time, under one pooling


@dataclass(frozen=True)
class LengthSweep:
    """Documents grow `growth` times by vectors of other documents or by Gaussian rows, in vector space and by merging alone.

    In text space `texts` documents get more text and are encoded again, and `text_queries` queries score them; 0 leaves
    that part out.
    """

    poolings: tuple[str, ...] = ("maxsim", "topk(4)", "softmax(0.1)", "softmax(1)")
    growth: tuple[int, ...] = (1, 2, 4, 8)
    fillers: tuple[str, ...] = FILLERS
    texts: int = 200
    text_queries: int = 64

    name: ClassVar[str] = "length-sweep"
    version: ClassVar[int] = 3
    question: ClassVar[str] = "What happens to the ranking when documents grow?"
    source: ClassVar[Paper | None] = Paper(
        title="Working Notes on Late Interaction Dynamics",
        arxiv="2603.26259",
        section="abstract, the length bias of causal models; all measures are ours",
    )
    primary: ClassVar[str] = "ndcg_retained"
    formulas: ClassVar[dict[str, str]] = {
        "ndcg_retained": "mean over queries of nDCG@10 (linear gains) after the documents in `grown` have become `growth` times as long, over its mean "
        "before. filler=documents: by whole other documents of nearly the same length that are not relevant to the query, drawn anew for every "
        "document and query; filler=gaussian: by as many isotropic Gaussian unit rows. grown=relevant is a sanity check: MaxSim can only gain; ours",
        "recall_retained": "the same for the relevant documents in the first ten / min(relevant, 10); ours",
        "slope": "least-squares slope of log(mean nDCG@10) on log2(growth): the relative change per doubling. Descriptive: where the draw of fillers "
        "leaves a mean of 0 it does not exist, so no baseline judges it but the curve it is drawn through; ours",
        "score_change": "(S(q, d + text) - S(q, d)) / T, T query tokens, over documents that are not relevant and are encoded again with more text behind them: neutral "
        "English text or another document (`filler`) of about their length; mean over documents, then queries; ours",
        "recontextualisation": "(S(q, part) - S(q, d)) / T, with part = the vectors of d's own tokens, special ones included, within d + text; ours",
        "draws": "(S(q, d + text) - S(q, part)) / T: what more vectors to choose from give; never negative for MaxSim; ours",
        "rise_share": "share of the pairs (q, d) with S(q, d + text) > S(q, d) by more than rounding (1e-5 per query token); ours",
        "fall_share": "share of the pairs (q, d) with S(q, d + text) < S(q, d) by more than rounding: 0 for MaxSim and a causal encoder (after "
        "arXiv 2603.26259; special tokens at the end aside); ours",
        "prefix_change": "largest change of a vector of d's own tokens, those after its last word aside, between d and d + text, as a share of a "
        "vector's median length; ours",
        "batch_noise": "largest change of a document's vectors with what is encoded beside it (nothing, a few others, or what the run had), in the same unit; ours",
    }

    def __post_init__(self) -> None:
        """Refuse what cannot be pooled by token, and growth that is none."""
        for text in self.poolings:
            if isinstance(parse(text), (Single, Hybrid)):
                raise LidiagError(f"length-sweep: {text} has no states that merge.", "Leave it out.")
        for filler in self.fillers:
            if filler not in FILLERS:
                raise unknown("filler", filler, FILLERS, "`lidiag describe probe length-sweep`")
        if not self.poolings or not self.fillers or not self.growth or min(self.growth) < 1 or max(self.growth) < 2:  # noqa: PLR2004
            raise LidiagError(
                f"length-sweep: growth = {list(self.growth)} grows nothing.", "Give poolings, fillers, and a growth of 2 or more."
            )
        if self.texts < 0 or (self.texts and self.text_queries < 2):  # noqa: PLR2004 - a spread takes two
            raise LidiagError(
                f"length-sweep: {self.texts} texts for {self.text_queries} queries.", "Give at least 2 queries, or texts = 0."
            )

    def measure(self, bench: Bench) -> Measuring:
        """Merge in vector space; then encode again in text space."""
        sweep = _Sweep(self, bench)
        needs = Needs(sweep.poolings, tokens=True)
        while block := (yield needs):
            sweep.fold(block)
        found = bench.findings()
        sweep.report(found)
        if self.texts:
            TextGrowth(bench, sweep.poolings, self.texts, self.text_queries).report(found)
        return found


class _Sweep:
    """`_after` (queries, poolings, fillers, growth, GROWN, 2) holds nDCG@10 and recall; growth 1 is before."""

    def __init__(self, probe: LengthSweep, bench: Bench) -> None:
        self.poolings: tuple[Pooling, ...] = tuple(dict.fromkeys(p for p in map(parse, probe.poolings) if isinstance(p, Pooling)))
        self._bench = bench
        self._kinds = tuple(dict.fromkeys(probe.fillers))
        self._growth = tuple(sorted({1, *probe.growth}))
        self._fillers = [Filler.of(kind, bench, self._growth[-1] - 1) for kind in self._kinds]
        self._answers = 0
        self._order = Order([document.id for document in bench.dataset.documents])
        self._after = np.full((len(bench), len(self.poolings), len(self._kinds), len(self._growth), len(GROWN), 2), np.nan)

    def fold(self, block: Block) -> None:
        """Grow the documents of every query of a block."""

        def work(row: int) -> int:
            return self._grow(block.queries[row], {pooling: block.state_of(pooling, row) for pooling in self.poolings})

        self._answers += sum(in_threads(work, range(len(block.queries)), _QUERIES_AT_A_TIME))

    def _grow(self, query: int, states: Mapping[Pooling, Any]) -> int:
        """Keep one query's figures; return how many fillers were relevant to it."""
        bench, relevant, hosts = self._bench, self._bench.relevant[query], self._fillers[0].hosts
        rngs = [bench.rng(f"fillers: {kind}, query {query}") for kind in self._kinds]
        chosen = [filler.chosen(relevant, self._growth[-1] - 1, rng) for filler, rng in zip(self._fillers, rngs, strict=True)]
        made = {
            filler.made: filler.made.similarities(bench.queries[query], rng)
            for filler, rng in zip(self._fillers, rngs, strict=True)
            if filler.made
        }
        scores = torch.full((len(self._growth), len(bench.documents)), -torch.inf)
        first: list[torch.Tensor] = []
        for pooling in self.poolings:
            own = Lanes.of(pooling, states[pooling], hosts)
            mine, *others = aligned(pooling, [own, *(rows.lanes(pooling, similarities) for rows, similarities in made.items())])
            theirs = dict(zip(made, others, strict=True))
            for filler, taken in zip(self._fillers, chosen, strict=True):
                lanes = theirs[filler.made] if filler.made else mine
                scores[:, hosts] = torch.from_numpy(totals(pooling, mine, lanes, taken, self._growth)).float()
                first.append(self._order.first(_variants(scores, relevant)))
        judgements, best = Judgements.of(bench, query), torch.stack(first)
        figures = np.stack([judgements.ndcg(best), judgements.recall(best)], -1)
        self._after[query] = figures.reshape(self._after.shape[1:])
        return sum(filler.answers(taken, relevant) for filler, taken in zip(self._fillers, chosen, strict=True))

    def report(self, found: Findings) -> None:
        """Add the curves, their slopes, and words at the largest growth."""
        for p, pooling in enumerate(self.poolings):
            for f, kind in enumerate(self._kinds):
                for w, who in enumerate(GROWN):
                    for g, times in enumerate(self._growth):
                        at = {"pooling": repr(pooling), "growth": times, "grown": who, "filler": kind}
                        for i, name in enumerate(("ndcg_retained", "recall_retained")):
                            _ratio(found, name, at, self._after[:, p, f, g, w, i], self._after[:, p, f, 0, w, i])
                    at = {"pooling": repr(pooling), "grown": who, "filler": kind}
                    _slope(found, at, self._after[:, p, f, :, w, 0], np.array(self._growth))
        self._say_growth(found)
        for pooling in self.poolings:
            _say_loss(found, {"pooling": repr(pooling), "growth": self._growth[-1], "grown": "non-relevant", "filler": self._kinds[0]})

    def _say_growth(self, found: Findings) -> None:
        """Say how long the documents became: fillers are whole, so only nearly as many times as asked for."""
        reached: dict[str, float] = {}
        for kind, filler in zip(self._kinds, self._fillers, strict=True):
            taken = filler.lengths(self._bench)[filler.candidates].mean(1) * (self._growth[-1] - 1)
            reached[kind] = float((1 + taken / self._bench.lengths[filler.hosts]).mean())
        listed = ", ".join(f"{times:.2f} with {kind}" for kind, times in reached.items())
        found.say(
            "growth",
            f"Growth {self._growth[-1]} made documents {listed} times as long on average; they grow by whole fillers.",
            reached=reached,
        )
        if self._answers:
            text = (
                f"{self._answers} times a document took a filler that is relevant to the query, as too few others are of nearly its length."
            )
            found.warn("relevant fillers", text, times=self._answers)


def _variants(scores: torch.Tensor, relevant: NDArray[np.int64]) -> torch.Tensor:
    """Return (growth, GROWN, documents) scores of the (growth, documents) ones, the first of which are those before."""
    # NumPy asks for large pages: this is made anew for every curve.
    out = torch.from_numpy(np.empty((len(scores), len(GROWN), scores.shape[1]), np.float32))
    out[:, 0], out[:, 1], out[:, 2] = scores, scores, scores[0]
    out[:, 1, relevant] = scores[0, relevant]
    out[:, 2, relevant] = scores[:, relevant]
    return out


def _ratio(found: Findings, name: str, at: dict[str, str | int], after: NDArray[np.float64], before: NDArray[np.float64]) -> None:
    if before.sum() > 0:
        found.ratio(name, at, after, before, better="higher")
    else:
        found.unmade(name, at, "no query has a relevant document in its first ten, so there is nothing to retain.")


def _slope(found: Findings, at: dict[str, str], ndcg: NDArray[np.float64], growth: NDArray[np.int64]) -> None:
    """Add the slope of log(mean) over the (queries, growth) values; its interval is that of its linear part (delta method)."""
    means = ndcg.mean(0)
    if not (means > 0).all():
        found.unmade("slope", at, "a mean nDCG@10 of 0 has no logarithm.")
        return
    doublings = np.log2(growth) - np.log2(growth).mean()
    weights = doublings / (doublings**2).sum()
    value = float(weights @ np.log(means))
    estimate = stats.mean_interval((ndcg / means) @ weights, clusters=found.clusters)
    low, high = (None if end is None else value + end - estimate.value for end in (estimate.low, estimate.high))
    found.number(
        "slope", at, value, low=low, high=high, n=estimate.n, unit_of_n="queries", no_interval=estimate.no_interval, unit="log nDCG@10 per doubling",
    )  # fmt: skip


def _say_loss(found: Findings, at: dict[str, str | int]) -> None:
    measured = next((m for m in found.measurements if m.name == "ndcg_retained" and m.at == at), None)
    if measured is None:
        return
    low, high = (None if end is None else 1 - end for end in (measured.high, measured.low))
    # A gain is no loss, however large it is.
    word = "none" if high is not None and high <= _NEGLIGIBLE else stats.verdict(low, high, _NEGLIGIBLE, _STRONG)
    reach = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    text = (
        f"{at['pooling']}: when the documents that are not relevant become {at['growth']} times as long, by {at['filler']}, "
        f"{1 - measured.value:.3f}{reach} of nDCG@10 is lost: {word} (negligible up to {_NEGLIGIBLE}, strong above {_STRONG})."
    )
    found.say("loss", text, verdict=word, at=at)
