"""Is another projection head better than a line, on this model's own states?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Coordinate, Paper, Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.probe import Measuring

from ._batch_scores import batch_scores
from ._exam import Exam
from ._fine_tuning import Recipe, fine_tune
from ._gains import gain_in_words, reach
from ._heads import Head, collapsed, from_matrix, parse
from ._learners import HeadLearner
from ._pairs import Pairs, Split, split
from ._rankings import collection
from ._spectrum import peak, spectrum

_RATES = (3e-4, 1e-3, 3e-3)
_LOSSES = ("infonce", "distillation")
_LINEAR = Head("linear")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ProjectionHeads:
    """Heads trained from nothing on the model's frozen states, equal steps, each with the learning rate that its validation chose.

    `heads` are named as linear, ffn(depth,rho,activation[,residual]) and glu(rho,gate[,residual]). `loss` infonce lets the own
    document win over the batch's; distillation meets the model's own scores of the batch. A head that is one matrix in the end
    is compared with a line from the same initialisation too, for it can compute nothing else than a line.
    """

    heads: tuple[str, ...] = ("linear", "ffn(2,2,identity,residual)")
    loss: str = "infonce"
    steps: int = 100
    batch: int = 16
    seeds: int = 5
    documents: int = 2000

    name: ClassVar[str] = "projection-heads"
    version: ClassVar[int] = 1
    question: ClassVar[str] = "Is another projection head better than a line, on this model's own states?"
    source: ClassVar[Paper | None] = Paper(title="Simple Projection Variants Improve ColBERT Performance", arxiv="2510.12327")
    primary: ClassVar[str] = "nDCG@10_gain"
    formulas: ClassVar[dict[str, str]] = {
        "nDCG@10": "nDCG@10 of held-out queries by MaxSim with the trained head; `own` is the model as it is (arXiv 2510.12327)",
        "nDCG@10_gain": "nDCG@10 of a head less that of another, paired by query and seed; `linear, same start` begins as the product of the head's "
        "matrices (arXiv 2510.12327; that line and the interval over crossed queries and seeds are ours)",
        "collapsed_difference": "largest change of nDCG@10 of a query where a head without non-linearity is replaced by the one matrix that it is; ours",
        "effective_rank": "exp(H(p)), p_i = sigma_i^2 / sum, of the head's Jacobian; ours (the paper argues it, and does not measure it)",
        "effective_rank_difference": "effective_rank of a head less that of another, paired by seed; ours",
        "sigma_1_share": "p_1, the largest direction's share; ours",
        "peak": "mean over a held-out query's tokens of (largest - mean) / sd of the similarities to its own document; ours",
        "gradient_share": "share of the own document's vectors that get gradient by MaxSim; ours",
    }

    def __post_init__(self) -> None:
        """Refuse unknown heads and losses, and numbers that train nothing."""
        for text in self.heads:
            parse(text)
        if self.loss not in _LOSSES:
            raise LidiagError(f"{self.name}: there is no loss {self.loss!r}.", f"Choose one of {', '.join(_LOSSES)}.")
        if "linear" not in self.heads or len(set(self.heads)) < 2 or min(self.steps, self.seeds) < 1 or self.batch < 2:  # noqa: PLR2004 - a comparison and a negative take two
            raise LidiagError(
                f"{self.name}: heads = {list(self.heads)}, steps = {self.steps}, batch = {self.batch}, seeds = {self.seeds}.",
                "Give linear and another head, a step, a seed, and a batch of 2 or more.",
            )

    def measure(self, bench: Bench) -> Measuring:
        """Train every head on a part of the queries, and judge it on others."""
        found = bench.findings()
        study = _Study.of(self, bench)
        heads = list(dict.fromkeys(parse(text) for text in self.heads))
        trained = {
            str(head): study.train(partial(_made, head, study.dims), one_matrix=head.is_linear and head != _LINEAR) for head in heads
        }
        for head in heads:
            if head.is_linear and head != _LINEAR:
                name = f"linear, same start as {head}"
                trained[name] = study.train(partial(_same_start, head, study.dims), one_matrix=False)
        own = study.own()
        found.mean("nDCG@10", {"head": "own"}, own, share=True)
        for name, outcome in trained.items():
            outcome.report(found, name)
        for head in heads:
            for rival in _rivals(head):
                if rival in trained:
                    _compare(found, trained[str(head)], trained[rival], {"head": str(head), "than": rival.partition(" as ")[0]})
        _say(found, self, study, heads, {name: outcome.rate for name, outcome in trained.items()})
        return found
        yield from ()


@dataclass
class _Outcome:
    """What a head did, by seed."""

    rate: float
    ndcg: list[Array] = field(default_factory=list)
    collapse: list[float] = field(default_factory=list)
    rows: dict[str, list[Array]] = field(default_factory=dict)
    spectra: dict[str, list[float]] = field(default_factory=dict)

    def report(self, found: Findings, name: str) -> None:
        at: dict[str, Coordinate] = {"head": name}
        found.crossed("nDCG@10", at, self.ndcg, share=True)
        for row, values in self.rows.items():
            found.crossed(row, at, values, share=row == "gradient_share")
        for measure, values in self.spectra.items():
            estimate = stats.mean_interval(np.array(values))
            found.number(
                measure, at, estimate.value, n=estimate.n, unit_of_n="seeds", low=estimate.low, high=estimate.high, no_interval=estimate.no_interval
            )  # fmt: skip
        if self.collapse:
            found.number(
                "collapsed_difference", at, max(self.collapse), n=len(self.collapse), unit_of_n="seeds", no_interval="it is the largest"
            )


@dataclass(frozen=True, eq=False)
class _Study:
    """The states, the split, and how heads are trained and judged on them."""

    probe: ProjectionHeads
    bench: Bench
    parts: Split
    documents: list[int]
    of_queries: MultiVectors
    of_documents: MultiVectors

    @classmethod
    def of(cls, probe: ProjectionHeads, bench: Bench) -> _Study:
        parts = split(bench)
        documents = sorted(
            {
                *collection(bench, parts.held_out.queries, probe.documents),
                *parts.training.documents,
                *parts.validation.documents,
            }
        )
        of_queries = bench.encode_states("query", bench.query_texts, -1)
        states = bench.encode_states("document", [bench.dataset.documents[i] for i in documents], -1)
        if not torch.equal(states.lengths, bench.documents.lengths[documents]):
            raise Skip(f"the states that {bench.adapter.card.name} hands out are not those of its vectors, one by one")
        return cls(probe, bench, parts, documents, of_queries, _at(states, documents, len(bench.documents)))

    @property
    def dims(self) -> tuple[int, int]:
        """Width of the states, and of the model's own vectors."""
        return self.of_documents.dim, self.bench.documents.dim

    def own(self) -> Array:
        """Return nDCG@10 of the model as it is, on the same documents."""
        learner = HeadLearner(self.bench.queries, self.bench.documents, lambda _: nn.Identity(), unit=False)
        exam = Exam(self.bench, learner, self.parts.held_out, (MaxSim(),))
        return self._spread(exam.ndcg(nn.Identity(), self.documents)[MaxSim()])

    def train(self, make: Callable[[torch.Generator], nn.Module], *, one_matrix: bool) -> _Outcome:
        """Train a head once per seed; its learning rate is chosen with the first, by the loss on validation queries."""
        learner = HeadLearner(self.of_queries, self.of_documents, make)
        recipe = Recipe(
            MaxSim(),
            _RATES[1],
            self.probe.steps,
            self.probe.batch,
            schedule="linear",
            warm_up=0.1,
            teacher=self._teacher(self.parts.training),
        )

        def loss(rate: float) -> float:
            network = fine_tune(learner, self.parts.training, replace(recipe, learning_rate=rate), self._seed(0))
            exam = Exam(self.bench, learner, self.parts.validation, (MaxSim(),))
            return -float(exam.ndcg(network, self.documents)[MaxSim()].mean())

        recipe = replace(recipe, learning_rate=min(_RATES, key=loss))
        outcome = _Outcome(recipe.learning_rate)
        for seed in range(self.probe.seeds):
            network = fine_tune(learner, self.parts.training, recipe, self._seed(seed))
            self._judge(outcome, learner, network, one_matrix=one_matrix)
        return outcome

    @torch.no_grad()
    def _judge(self, outcome: _Outcome, learner: HeadLearner, network: nn.Module, *, one_matrix: bool) -> None:
        exam = Exam(self.bench, learner, self.parts.held_out, (MaxSim(),))
        ndcg = exam.ndcg(network, self.documents)[MaxSim()]
        outcome.ndcg.append(self._spread(ndcg))
        if one_matrix:
            matrix = from_matrix(collapsed(network, self.dims[0]))
            outcome.collapse.append(float(np.abs(exam.ndcg(matrix, self.documents)[MaxSim()] - ndcg).max()))
        pairs = zip(learner.queries(network, exam.pairs.queries), learner.documents(network, exam.pairs.documents), strict=True)
        outcome.rows.setdefault("peak", []).append(self._spread(np.array([peak(query, document) for query, document in pairs])))
        share = exam.gradients(network)[MaxSim()]["gradient_share"]
        outcome.rows.setdefault("gradient_share", []).append(self._spread(share))
        for measure, value in spectrum(network, self.of_queries.vectors.float()).items():
            outcome.spectra.setdefault(measure, []).append(value)

    def _teacher(self, pairs: Pairs) -> Tensor | None:
        """Return the model's own scores of the training pairs, (pairs, pairs), where they are to be met."""
        if self.probe.loss == "infonce":
            return None
        with torch.no_grad():
            return batch_scores(self.bench.queries.select(list(pairs.queries)), self.bench.documents.select(pairs.documents), MaxSim())

    def _seed(self, seed: int) -> int:
        return int(self.bench.rng(f"projection-heads {seed}").integers(2**62))

    def _spread(self, values: Array) -> Array:
        whole = np.full(len(self.bench), np.nan)
        whole[list(self.parts.held_out.queries)] = values
        return whole


def _rivals(head: Head) -> list[str]:
    """Return what a head is compared with: lines, and the same head without its residual or its bend."""
    if head == _LINEAR:
        return []
    plain, straight = replace(head, residual=False), replace(head, activation="identity")
    return ["linear", f"linear, same start as {head}", *(str(other) for other in dict.fromkeys((plain, straight)) if other != head)]


def _made(head: Head, dims: tuple[int, int], generator: torch.Generator) -> nn.Module:
    return head.make(*dims, generator)


def _same_start(head: Head, dims: tuple[int, int], generator: torch.Generator) -> nn.Module:
    return from_matrix(collapsed(head.make(*dims, generator), dims[0]))


def _at(states: MultiVectors, documents: list[int], n: int) -> MultiVectors:
    """Give the states of some documents their places among all n; the others have none."""
    lengths = torch.zeros(n, dtype=torch.int64)
    lengths[documents] = states.lengths
    return MultiVectors(states.vectors, torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0))))


def _compare(found: Findings, a: _Outcome, b: _Outcome, at: dict[str, Coordinate]) -> None:
    found.crossed("nDCG@10_gain", at, np.array(a.ndcg) - np.array(b.ndcg))
    estimate = stats.mean_interval(np.array(a.spectra["effective_rank"]) - np.array(b.spectra["effective_rank"]))
    found.number(
        "effective_rank_difference", at, estimate.value, n=estimate.n, unit_of_n="seeds", low=estimate.low, high=estimate.high,
        no_interval=estimate.no_interval,
    )  # fmt: skip


def _say(found: Findings, probe: ProjectionHeads, study: _Study, heads: list[Head], rates: dict[str, float]) -> None:
    found.say(
        "training",
        f"{probe.steps} steps of {probe.batch} queries by {probe.loss}, {probe.seeds} seeds; {len(study.parts.training.queries)} queries train, "
        f"{len(study.parts.held_out.queries)} judge, on {len(study.documents)} documents.",
        learning_rates=rates,
    )
    for gain in [m for m in found.measurements if m.name == "nDCG@10_gain"]:
        word, sense = gain_in_words(gain)
        crossing = "significant" if gain.low is not None and gain.high is not None and not gain.low <= 0 <= gain.high else "not significant"
        text = f"{gain.at['head']} is {sense} {gain.at['than']}: nDCG@10 {gain.value:+.4f}{reach(gain)}, {crossing} at 5 %."
        if parse(str(gain.at["head"])).is_linear:
            text += " It is one matrix in the end, so that only the way of training can make a difference."
        found.say("head", text, verdict=word, **gain.at)
    if len(heads) > 1:
        ranks = ", ".join(f"{head} {found.get('effective_rank', {'head': str(head)}).value:.1f}" for head in heads)
        found.say("spectrum", f"Effective rank of {study.dims[1]}: {ranks}.")
