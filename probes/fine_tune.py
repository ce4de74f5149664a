"""What does a short fine-tune do: where does its gradient go, and which rankings does it change?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lidiag.adapter import Trainable
from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Coordinate, Measurement, Paper, Skip
from lidiag.pooling import Hybrid, Pooling, Single, parse
from lidiag.probe import Measuring

from ._exam import Exam
from ._fine_tuning import Recipe, fine_tune, matched_scale
from ._gains import gain_in_words, reach
from ._learners import HeadLearner, Learner, NetworkLearner, identity_head
from ._pairs import Split, split
from ._rankings import collection

# Per mode: a head of fresh weights bears a hundred times the rate of a whole network.
_RATES = {"head": (3e-4, 1e-3, 3e-3), "lora": (5e-5, 2e-4, 1e-3), "full": (5e-6, 2e-5, 1e-4)}
_ARMS = {
    "": "scores scaled so that a batch's have standard deviation 1 at first, learning rate chosen per operator by held-out loss",
    "_as_published": "scores as they are, one learning rate for all operators",
}
_RANK = 16

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FineTune:
    """In-batch InfoNCE with every pooling as the training operator, and every pooling as the one that is looked at.

    `mode` head trains a linear head, at first the identity, on the frozen vectors of any model; lora and full train a copy of
    the network: the model and its checkpoint stay as they are. Queries are split into training, validation and held-out ones;
    initialisation and batches are the same for all operators of a seed. `documents` is the most that nDCG@10 is judged on.
    """

    mode: str = "head"
    poolings: tuple[str, ...] = ("maxsim", "topk(4)", "softmax(0.1)")
    steps: int = 40
    batch: int = 16
    seeds: int = 3
    learning_rates: tuple[float, ...] = ()
    documents: int = 2000

    name: ClassVar[str] = "fine-tune"
    version: ClassVar[int] = 1
    question: ClassVar[str] = "What does a short fine-tune do: where does its gradient go, and which rankings does it change?"
    source: ClassVar[Paper | None] = Paper(title="Spike Hijacking in Late-Interaction Retrieval", arxiv="2604.05253")
    primary: ClassVar[str] = "nDCG@10_change"
    formulas: ClassVar[dict[str, str]] = {
        f"{name}{arm}": f"{formula}; {how}"
        for arm, how in _ARMS.items()
        for name, formula in {
            "gini_by_step": "Gini of |d S / d d_j| of a held-out query's own document by eval_pooling, after so many steps with train_pooling; ours",
            "gini_paper_by_step": "the same by the paper's formula, gini - 1/M (arXiv 2604.05253)",
            "gini_change": "gini_by_step after the last step less that before the first, paired; ours",
            "R@1_by_step": "share of held-out queries whose own document is first among the held-out queries' documents, by eval_pooling (arXiv 2604.05253)",
            "loss_by_step": "InfoNCE of held-out queries over the held-out queries' documents, by train_pooling; ours",
            "nDCG@10_change": "nDCG@10 of held-out queries on the collection by eval_pooling, after the last step less before the first, paired; ours",
        }.items()
    } | {"nDCG@10_before": "nDCG@10 of held-out queries on the collection before training; ours"}  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse an unknown mode, what has no token similarities, and numbers that train nothing."""
        for text in self.poolings:
            if isinstance(parse(text), (Single, Hybrid)):
                raise LidiagError(f"{self.name}: {text} pools no token similarities.", "Leave it out.")
        if self.mode not in _RATES:
            raise LidiagError(f"{self.name}: there is no mode {self.mode!r}.", f"Choose one of {', '.join(_RATES)}.")
        if not self.poolings or min(self.steps, self.seeds) < 1 or self.batch < 2 or not all(rate > 0 for rate in self.learning_rates):  # noqa: PLR2004 - a negative takes two
            raise LidiagError(
                f"{self.name}: poolings = {list(self.poolings)}, steps = {self.steps}, batch = {self.batch}, seeds = {self.seeds}, "
                f"learning_rates = {list(self.learning_rates)}.",
                "Give a pooling, a step, a seed, a batch of 2 or more, and learning rates above 0.",
            )

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to choose from, rising."""
        return tuple(sorted(self.learning_rates)) or _RATES[self.mode]

    def measure(self, bench: Bench) -> Measuring:
        """Train on a part of the queries, and look at the others."""
        found = bench.findings()
        parts, learner = split(bench), self._learner(bench)
        poolings: tuple[Pooling, ...] = tuple(dict.fromkeys(parse(text) for text in self.poolings))  # pyright: ignore[reportAssignmentType] - others are refused
        exam = Exam(bench, learner, parts.held_out, poolings)
        documents = collection(bench, parts.held_out.queries, self.documents)
        steps = tuple(dict.fromkeys(round(self.steps * quarter / 4) for quarter in range(5)))
        chosen: dict[str, dict[str, float]] = {}
        before: dict[Pooling, Array] = {}
        for arm in _ARMS:
            for pooling in poolings:
                recipe = self._recipe(pooling, arm, learner, parts, bench)
                chosen[f"{pooling!r}{arm}"] = {"learning_rate": recipe.learning_rate, "scale": recipe.scale}
                seats = _Seats(exam, recipe, documents, steps)
                for seed in range(self.seeds):
                    fine_tune(learner, parts.training, recipe, self._seed(bench, seed), seats.sit)
                    seats.next_seed()
                before = seats.report(found, arm)
        for pooling, values in before.items():
            found.mean("nDCG@10_before", {"eval_pooling": repr(pooling)}, _spread(values, exam), share=True)
        _say(found, self, parts, chosen, (len(documents), len(bench.documents)))
        return found
        yield from ()

    def _learner(self, bench: Bench) -> Learner:
        if self.mode == "head":
            return HeadLearner(bench.queries, bench.documents, identity_head(bench.documents.dim), bench.adapter.card.unit_rows)
        if not isinstance(bench.adapter, Trainable):
            raise Skip(
                f"mode {self.mode} trains a copy of the network, and {bench.adapter.card.name} offers none; mode head fits every model"
            )
        return NetworkLearner(bench, bench.adapter, self.batch, _RANK if self.mode == "lora" else 0)

    def _recipe(self, pooling: Pooling, arm: str, learner: Learner, parts: Split, bench: Bench) -> Recipe:
        """Return how to train with a pooling in one arm; the choice is made with the first seed, on validation queries."""
        rates = self.rates
        recipe = Recipe(pooling, rates[len(rates) // 2], self.steps, self.batch)
        if arm:
            return recipe
        seed = self._seed(bench, 0)
        recipe = replace(recipe, scale=matched_scale(learner, parts.training, recipe, seed))
        exam = Exam(bench, learner, parts.validation, (pooling,))

        def loss(rate: float) -> float:
            network = fine_tune(learner, parts.training, replace(recipe, learning_rate=rate), seed)
            return float(exam.contest(network, {pooling: recipe.scale})[pooling]["loss"].mean())

        return replace(recipe, learning_rate=min(rates, key=loss)) if len(rates) > 1 else recipe

    def _seed(self, bench: Bench, seed: int) -> int:
        return int(bench.rng(f"fine-tune {seed}").integers(2**62))


class _Seats:
    """What one training operator's networks did in the exam: values by seed, each (held-out queries,)."""

    def __init__(self, exam: Exam, recipe: Recipe, documents: Sequence[int], steps: Sequence[int]) -> None:
        self._exam = exam
        self._recipe = recipe
        self._documents = documents
        self._steps = steps
        self._values: dict[tuple[str, Pooling | None, int | None], list[Array]] = {}
        self._before: dict[Pooling, Array] = {}

    def sit(self, step: int, network: nn.Module) -> None:
        if step not in self._steps:
            return
        trained = self._recipe.pooling
        for pooling, values in self._exam.gradients(network).items():
            for name in ("gini", "gini_paper"):
                self._put(f"{name}_by_step", pooling, step, values[name])
        for pooling, values in self._exam.contest(network, {trained: self._recipe.scale}).items():
            self._put("R@1_by_step", pooling, step, values["R@1"])
            if pooling == trained:
                self._put("loss_by_step", None, step, values["loss"])
        if step == 0 and self._before:
            return  # every seed begins with the model as it is
        if step in {0, self._steps[-1]}:
            ndcg = self._exam.ndcg(network, self._documents)
            if step == 0:
                self._before = ndcg
            for pooling, values in ndcg.items() if step else ():
                self._put("nDCG@10_change", pooling, None, values - self._before[pooling])

    def next_seed(self) -> None:
        """Note what the seed that has just been trained changed."""
        for pooling in self._exam.poolings:
            first, last = (self._values["gini_by_step", pooling, step][-1] for step in (0, self._steps[-1]))
            self._put("gini_change", pooling, None, last - first)

    def report(self, found: Findings, arm: str) -> dict[Pooling, Array]:
        """Add all measurements; return nDCG@10 before training."""
        for (name, pooling, step), by_seed in self._values.items():
            at: dict[str, Coordinate] = {"train_pooling": repr(self._recipe.pooling)}
            at |= {} if pooling is None else {"eval_pooling": repr(pooling)}
            at |= {} if step is None else {"step": step}
            values = np.array([_spread(values, self._exam) for values in by_seed])
            found.crossed(f"{name}{arm}", at, values, share=name.startswith(("R@1", "gini_by")))
        return self._before

    def _put(self, name: str, pooling: Pooling | None, step: int | None, values: Array) -> None:
        self._values.setdefault((name, pooling, step), []).append(values)


def _spread(values: Array, exam: Exam) -> Array:
    """Put the values of held-out queries at their places among all queries."""
    whole = np.full(len(exam.bench), np.nan)
    whole[list(exam.pairs.queries)] = values
    return whole


def _say(found: Findings, probe: FineTune, parts: Split, chosen: dict[str, dict[str, float]], documents: tuple[int, int]) -> None:
    trained, choosing, judging = (len(part.queries) for part in (parts.training, parts.validation, parts.held_out))
    found.say(
        "training",
        f"{probe.steps} steps of {min(probe.batch, trained)} queries, mode {probe.mode}, {probe.seeds} seeds; {trained} queries train, {choosing} choose, "
        f"{judging} judge, on {documents[0]} of {documents[1]} documents.",
        recipes=chosen,
    )
    for m in _own(found):
        operator = m.at["train_pooling"]
        word, sense = gain_in_words(m)
        gini = found.get("gini_change", m.at)
        text = (
            f"Trained and read with {operator}, the model is {sense} before: nDCG@10 {m.value:+.4f}{reach(m)}; the gradient's Gini changes by "
            f"{gini.value:+.3f}{reach(gini)}."
        )
        found.say("change", text, verdict=word, pooling=operator)


def _own(found: Findings) -> Iterator[Measurement]:
    """Yield what training with an operator changes for that operator."""
    yield from [m for m in found.measurements if m.name == "nDCG@10_change" and m.at["train_pooling"] == m.at["eval_pooling"]]
