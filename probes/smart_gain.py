"""Do the token states of a single-vector model add to its single vector, and to what else could be added?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Measurement, Paper, Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import Hybrid, MaxSim, Scoring, Single, parse
from lidiag.probe import Measuring
from lidiag.similarity import Needs

from ._exam import Exam
from ._fine_tuning import Recipe, fine_tune
from ._gains import gain_in_words, reach
from ._learners import HeadLearner
from ._pairs import split
from ._rankings import Rankings, collection
from ._smart_controls import bm25, random_weights, standardised
from ._within import best_weight, folds

_SINGLE, _LATE, _HYBRID = Single(), MaxSim(), Hybrid(1.0, 1.0)
_GRID = np.linspace(0, 1, 21)  # the second score's weight; the first has what is left
_TEMPERATURE = 0.03  # [published]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SmartGain:
    """Single, late (MaxSim over frozen states) and hybrid scores of one encoding, weights, layers, a trained head, and controls.

    `layers` are read as late vectors, 0 being the embeddings; `documents` is the most that layers, random weights, BM25 and
    the trained head are ranked on. The head is LayerNorm and a line, at first the identity, on the frozen states.
    """

    hybrids: tuple[str, ...] = ("hybrid(1,0.5)", "hybrid(1,1)", "hybrid(1,2)")
    layers: tuple[int, ...] = (0, -4, -2)
    steps: int = 60
    batch: int = 16
    seeds: int = 3
    folds: int = 5
    documents: int = 2000

    name: ClassVar[str] = "smart-gain"
    version: ClassVar[int] = 1
    question: ClassVar[str] = "Do the token states of a single-vector model add to its single vector?"
    source: ClassVar[Paper | None] = Paper(title="SMART: Your Embedding Model is SMARTer Than You Think", arxiv="2605.24938")
    primary: ClassVar[str] = "nDCG@10_gain"
    formulas: ClassVar[dict[str, str]] = {
        "nDCG@10": "nDCG@10 by score: `single` the cosine of the pooled vectors, `maxsim` the late score over token states, hybrid(a,b) = a single + b mean "
        "over query tokens of MaxSim (arXiv 2605.24938)",
        "nDCG@10_gain": "nDCG@10 by a score less that by `single`, paired; ours for the interval and for every score but hybrid(1,1)",
        "tuned_gain": "nDCG@10 by (1 - w) single + w late less that by `single`, w chosen on the queries of other folds; ours",
        "nDCG@10_by_layer": "nDCG@10 by MaxSim over the states of a layer; layer 0, the embeddings, is the identity of words (control); ours",
        "nDCG@10_random": "nDCG@10 by a score of the same network with weights drawn anew (weak control); ours",
        "nDCG@10_bm25": "nDCG@10 by BM25, which reads words alone (control); ours",
        "bm25_gain": "nDCG@10 by (1 - w) single + w BM25, both standardised within the query, less that by `single`, w chosen on other folds: the rival "
        "ensemble; ours",
        "late_over_bm25": "tuned_gain less bm25_gain, paired; ours",
        "trained_gain": "nDCG@10 of held-out queries by the late score of the trained head less that of the frozen states, paired, over seeds (arXiv "
        "2605.24938 for the head and its training; the identity at first, the intervals and seeds are ours)",
    }

    def __post_init__(self) -> None:
        """Refuse what is no hybrid, and numbers that train or choose nothing."""
        for text in self.hybrids:
            if not isinstance(parse(text), Hybrid):
                raise LidiagError(f"{self.name}: {text} is no hybrid.", "Write hybrid(1,0.5), for example.")
        if min(self.steps, self.seeds) < 1 or self.batch < 2 or self.folds < 2:  # noqa: PLR2004 - a negative and a choice take two
            raise LidiagError(
                f"{self.name}: steps = {self.steps}, batch = {self.batch}, seeds = {self.seeds}, folds = {self.folds}.",
                "Give a step, a seed, a batch of 2 and 2 folds or more.",
            )

    def measure(self, bench: Bench) -> Measuring:
        """Score everything in one pass, then the controls one by one."""
        if not bench.pooled:
            raise Skip(f"{bench.adapter.card.name} gives no single vector beside its tokens: name a single-vector model with smart:")
        found = bench.findings()
        study = _Study(self, bench)
        scorings: list[Scoring] = list(dict.fromkeys([_SINGLE, _LATE, _HYBRID, *(parse(text) for text in self.hybrids)]))
        values = {scoring: np.empty(len(bench)) for scoring in scorings}
        while block := (yield Needs(tuple(scorings))):
            for scoring in scorings:
                for i, row in zip(block.queries, block.scores(scoring), strict=True):
                    values[scoring][i] = study.whole.of_scores(i, row)
            study.keep(block.queries, block.scores(_SINGLE), block.scores(_LATE))
        for scoring in scorings:
            found.mean("nDCG@10", {"pooling": repr(scoring)}, values[scoring], better="higher", share=True)
        for scoring in scorings[1:]:
            found.mean("nDCG@10_gain", {"pooling": repr(scoring)}, values[scoring] - values[_SINGLE], better="higher")
        study.report_weights(found)
        study.report_layers(found)
        study.report_random(found)
        study.report_training(found)
        _say(found, scorings[1:])
        return found


class _Study:
    """What is measured beside the plain scores."""

    def __init__(self, probe: SmartGain, bench: Bench) -> None:
        self._probe = probe
        self._bench = bench
        self.whole = Rankings(bench, range(len(bench.documents)))
        self._documents = collection(bench, range(len(bench)), probe.documents)
        self._some = Rankings(bench, self._documents)
        self._single = np.empty((len(bench), len(self._documents)))
        self._late = np.empty((len(bench), len(self._documents)))
        groups = np.arange(len(bench)) if (clusters := bench.findings().clusters) is None else clusters
        self._fold = folds(groups, probe.folds, bench.rng("folds of the weights"))

    @cached_property
    def _own(self) -> MultiVectors:
        return (
            self._bench.documents if len(self._documents) == len(self._bench.documents) else self._bench.documents.select(self._documents)
        )

    def keep(self, queries: range, single: torch.Tensor, late: torch.Tensor) -> None:
        """Keep the scores of the documents that weights are chosen on; the late ones as means over query tokens."""
        rows, lengths = slice(queries.start, queries.stop), self._bench.queries.lengths[queries.start : queries.stop].unsqueeze(1)
        # An empty document scores -inf: below all others, so that it stays last under every weight.
        self._single[rows] = single[:, self._documents].nan_to_num(neginf=-2).numpy()
        self._late[rows] = (late[:, self._documents] / lengths).nan_to_num(neginf=-2).numpy()

    def report_weights(self, found: Findings) -> None:
        """Add what a weighed sum gives, of the late score and of BM25, each weight chosen on other queries."""
        tuned, chosen = self._tuned(self._single, self._late)
        found.mean("tuned_gain", {}, tuned, better="higher")
        found.say("weight", f"The late score's weight of its sum with the single vector's, by fold: {_listed(chosen)}.", weights=chosen)
        try:
            words = bm25(self._bench, self._documents)
        except Skip as skip:
            for name in ("nDCG@10_bm25", "bm25_gain", "late_over_bm25"):
                found.unmade(name, {}, f"{skip}.")
            return
        rival, chosen = self._tuned(standardised(self._single), standardised(words))
        found.mean("nDCG@10_bm25", {}, [float(self._some.of_scores(i, torch.from_numpy(row))) for i, row in enumerate(words)], share=True)
        found.mean("bm25_gain", {}, rival)
        found.mean("late_over_bm25", {}, tuned - rival, better="higher")
        found.say("rival weight", f"BM25's weight of its sum with the single vector's, by fold: {_listed(chosen)}.", weights=chosen)

    def _tuned(self, first: Array, second: Array) -> tuple[Array, list[float]]:
        """Return every query's change of nDCG@10 with the weight that other folds chose, and the weights by fold."""
        table = np.stack([
            self._some.of_scores(i, torch.from_numpy((1 - _GRID[:, None]) * a + _GRID[:, None] * b)) for i, (a, b) in enumerate(zip(first, second, strict=True))
        ])  # fmt: skip
        gain, chosen = np.empty(len(table)), []
        for fold in range(self._probe.folds):
            inside = self._fold == fold
            best = int(best_weight(table[~inside].mean(0), _GRID))
            gain[inside] = table[inside, best] - table[inside, 0]
            chosen.append(float(_GRID[best]))
        return gain, chosen

    def report_layers(self, found: Findings) -> None:
        """Add the late score over the states of other layers."""
        documents = [self._bench.dataset.documents[i] for i in self._documents]
        for layer in dict.fromkeys((*self._probe.layers, -1)):
            at = {"layer": layer}
            try:
                asked, there = (
                    _unit(self._bench.encode_states("query", self._bench.query_texts, layer)),
                    _unit(self._bench.encode_states("document", documents, layer)),
                )
            except Skip as skip:
                found.unmade("nDCG@10_by_layer", at, str(skip))
                continue
            values = self._some.ndcg(range(len(self._bench)), asked, there, [_LATE])[_LATE]
            found.mean("nDCG@10_by_layer", at, values, share=True)

    def report_random(self, found: Findings) -> None:
        """Add the scores of a network that has learned nothing."""
        scorings: list[Scoring] = [_SINGLE, _LATE, _HYBRID]
        try:
            asked, there = random_weights(self._bench, self._documents)
        except Skip as skip:
            for scoring in scorings:
                found.unmade("nDCG@10_random", {"pooling": repr(scoring)}, f"{skip}.")
            return
        for scoring, values in self._some.ndcg(range(len(self._bench)), asked, there, scorings).items():
            found.mean("nDCG@10_random", {"pooling": repr(scoring)}, values, share=True)

    def report_training(self, found: Findings) -> None:
        """Add what the lightweight head on the frozen states learns."""
        bench = self._bench
        try:
            parts = split(bench)
        except Skip as skip:
            found.unmade("trained_gain", {}, f"{skip}.")
            return
        learner = HeadLearner(bench.queries, bench.documents, lambda _: _Head(bench.documents.dim))
        exam = Exam(bench, learner, parts.held_out, (_LATE,))
        frozen = Exam(bench, HeadLearner(bench.queries, bench.documents, lambda _: nn.Identity()), parts.held_out, (_LATE,))
        before = frozen.ndcg(nn.Identity(), self._documents)[_LATE]
        recipe = Recipe(
            _LATE, 1e-3, self._probe.steps, self._probe.batch, scale=1 / _TEMPERATURE, per_token=True, weight_decay=0.01, schedule="cosine", warm_up=0.03
        )  # fmt: skip
        gains = np.full((self._probe.seeds, len(bench)), np.nan)
        for seed in range(self._probe.seeds):
            network = fine_tune(learner, parts.training, recipe, int(bench.rng(f"smart head {seed}").integers(2**62)))
            gains[seed, list(parts.held_out.queries)] = exam.ndcg(network, self._documents)[_LATE] - before
        found.crossed("trained_gain", {}, gains, better="higher")


class _Head(nn.Module):
    """LayerNorm and a line without bias, at first the identity."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.line = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(self.line.weight)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.line(self.norm(states))


def _unit(states: MultiVectors) -> MultiVectors:
    return MultiVectors(nn.functional.normalize(states.vectors.float(), dim=1), states.offsets)


def _listed(weights: Sequence[float]) -> str:
    return ", ".join(f"{weight:.2f}" for weight in weights)


def _say(found: Findings, scorings: Sequence[Scoring]) -> None:
    single = found.get("nDCG@10", {"pooling": "single"})
    for scoring in scorings:
        at = {"pooling": repr(scoring)}
        _say_gain(found, found.get("nDCG@10_gain", at), f"{scoring!r} is", f"single (nDCG@10 {single.value:.3f})", repr(scoring))
    names = {
        "tuned_gain": "A sum with the late score, its weight chosen on other queries, is",
        "trained_gain": "Late scores of a trained head are",
    }
    for m in found.measurements:
        if m.name in names:
            _say_gain(found, m, names[m.name], "single" if m.name == "tuned_gain" else "those of the frozen states", None)
        if m.name == "late_over_bm25":
            _say_gain(found, m, "What the late score adds is", "what BM25 adds", None)


def _say_gain(found: Findings, gain: Measurement, what: str, than: str, pooling: str | None) -> None:
    word, sense = gain_in_words(gain)
    named = {"pooling": pooling} if pooling else {"measure": gain.name}
    found.say("gain", f"{what} {sense} {than}: {gain.value:+.4f}{reach(gain)}.", verdict=word, **named)
