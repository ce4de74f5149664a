"""Do vectors of other documents, put into all non-relevant documents, take the query's tokens over?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lidiag.bench import Bench
from lidiag.errors import LidiagError, unknown
from lidiag.findings import Findings
from lidiag.measurement import Paper, Skip
from lidiag.pooling import Hybrid, Pooling, Single, parse
from lidiag.probe import Measuring
from lidiag.similarity import Needs

from ._distractors import RANDOM, TARGETED, available
from ._echo import Echo
from ._injection import Sweep
from ._outcome import Outcome


@dataclass(frozen=True)
class DistractorHijacking:
    """A stress test, not an attack: the same k vectors, drawn once per query, go into every non-relevant document.

    The relevant documents stay as they are, and so do empty ones. Ties stay with the original. The sets are nested in k; of
    the random kinds `draws` sets are drawn and averaged per query. `echo` is the number of queries for the part in text.
    """

    poolings: tuple[str, ...] = ("maxsim", "topk(4)", "softmax(0.1)", "softmax(1)")
    distractors: tuple[str, ...] = (*TARGETED, *RANDOM)
    k: tuple[int, ...] = (0, 25, 50, 100, 200, 400)
    draws: int = 5
    echo: int = 200

    name: ClassVar[str] = "distractor-hijacking"
    version: ClassVar[int] = 3
    question: ClassVar[str] = "Do a few foreign vectors in the non-relevant documents take the query's tokens over, and what does it cost?"
    source: ClassVar[Paper | None] = Paper(title="Spike Hijacking in Late-Interaction Retrieval", arxiv="2604.05253")
    primary: ClassVar[str] = "targeting_effect"
    formulas: ClassVar[dict[str, str]] = {
        "hijack_rate": "mean over (query token i, non-relevant document d) of [s_i > M_i(d)], with s_i the largest similarity to the injected set and "
        "M_i(d) = max_j q_i.d_j; for TopK and Softmax the share of the pooled weight on injected vectors. Descriptive: exchangeable vectors "
        "give k / (k + M) (arXiv 2604.05253: share of query tokens whose best patch is injected; the share of weight is ours)",
        "hijack_gain": "mean over queries of the gain, over mean of the gap. Gain: mean over non-relevant d of sum_i max(0, phi_i(d with the set) - phi_i(d)), "
        "for MaxSim of max(0, s_i - M_i(d)); gap: best relevant score - median non-relevant score. Queries whose gap is not above 0 are left out; ours",
        "outbid_rate": "mean over (query token, relevant document d) of [s_i > M_i(d)], or of the share of weight, as for hijack_rate; ours",
        "takeover@10": "share of the non-relevant documents outside the first ten that enter it when they alone get the set; ours",
        "recall_retained": "mean over queries of R with the set in every non-relevant document, over mean of R before; R = relevant in the first ten / "
        "min(relevant, 10) (arXiv 2604.05253: recall retained)",
        "ndcg_retained": "mean over queries of nDCG@10 (linear gains) with the sets, over mean of nDCG@10 before; ours",
        "targeting_effect": "(recall R under the control - R under `targeted`) over R before, for the same k and the controls gaussian_matched and "
        "passage: what aiming costs beyond vectors that lie where the corpus lies; ours",
        "query_tokens_covered": "share of the query's tokens that are nearest to at least one of the k vectors of targeted_pooled; ours",
        "echo@10": "share of queries for which one drawn non-relevant document outside the first ten enters it after the query's words are put in "
        "front of its text, at its end (texts that the model cuts there are left out), or neutral English text of the same length in front (the control); re-encoded, the other documents stay; ours",
        "echo@1": "the same, for rank 1; ours",
    }

    def __post_init__(self) -> None:
        """Refuse what cannot be injected or pooled."""
        for text in self.poolings:
            _pooling(text)
        for kind in self.distractors:
            if kind not in (*TARGETED, *RANDOM):
                raise unknown("distractor", kind, (*TARGETED, *RANDOM), f"`lidiag describe probe {self.name}`")
        if not self.poolings or not self.distractors or not self.k or min(self.k) < 0 or max(self.k) < 1:
            raise LidiagError(f"{self.name}: k = {list(self.k)} injects nothing.", "Give poolings, distractors, and a k of at least 1.")
        if self.draws < 1 or self.echo < 0:
            raise LidiagError(
                f"{self.name}: draws = {self.draws}, echo = {self.echo}.", "Draw at least once; echo = 0 leaves that part out."
            )

    def measure(self, bench: Bench) -> Measuring:
        """Look for the nearest vectors first, then merge every set into the states of one pass."""
        found = bench.findings()
        poolings = tuple(dict.fromkeys(_pooling(text) for text in self.poolings))
        k = self._possible(bench, found)
        sweep = Sweep(bench, poolings, self.distractors, k, self.draws)
        echo = Echo(bench, poolings, self.echo)
        needs = Needs(poolings, tokens=True)
        while block := (yield needs):
            sweep.fold(block, echo.see)
        outcome = Outcome(found, tuple(map(repr, poolings)), self.distractors, k, sweep.before, sweep.effects)
        outcome.add_measurements()
        if "targeted_pooled" in self.distractors:
            for i, size in enumerate(k):
                found.mean("query_tokens_covered", {"k": size, "distractor": "targeted_pooled"}, sweep.covered[:, i], share=True)
        outcome.add_words()
        if self.echo:
            echo.report(found)
        return found

    def _possible(self, bench: Bench, found: Findings) -> tuple[int, ...]:
        """Leave out the k that the corpus is too small for, and say so."""
        most = available(bench)
        k = tuple(sorted({k for k in self.k if k <= most}))
        if not any(k):
            raise Skip(f"only {most} document vectors lie outside a query's relevant documents: too few for k = {list(self.k)}")
        if left := sorted(set(self.k) - set(k)):
            found.say(
                "k", f"Not measured: k = {left}, as only {most} document vectors lie outside a query's relevant documents.", left_out=left
            )
        return k


def _pooling(text: str) -> Pooling:
    pooling = parse(text)
    if isinstance(pooling, (Single, Hybrid)):
        raise LidiagError(f"distractor-hijacking: {text} pools no token similarities, so nothing can be injected.", "Leave it out.")
    return pooling
