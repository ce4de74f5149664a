"""The synthetic world of Spike Hijacking: where does training send its gradient, and what do longer documents cost?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Coordinate, Measurement, Paper
from lidiag.pooling import Hybrid, Pooling, Single, parse
from lidiag.probe import Measuring

from . import _routing_world as world
from ._batch_scores import batch_scores
from ._gradients import document_gradients

Array = NDArray[np.float64]

# Written before the figures, in logit per doubling: a tenth is negligible; half of it takes R@1 from 0.30 to 0.21.
NEGLIGIBLE, STRONG = 0.1, 0.5

_EVERY = 5  # epochs; [published]
_VARIANTS = {
    "": "trained anew for every m, with hard negatives",
    "_evaluated": "trained at the reference m only, with hard negatives",
    "_easy": "trained anew for every m, without hard negatives",
    "_easy_evaluated": "trained at the reference m only, without hard negatives",
}
_CANDIDATES = f"of {world.BATCH} queries' documents at a time, hard negatives included"


@dataclass(frozen=True)
class SyntheticRouting:
    """No model is needed: a small encoder is trained in a world of concepts, once per seed, pooling and document length.

    `m` is the number of patches at which Gini and R@1 are compared with the published ones, `lengths` those of the sweep;
    `retrained` trains anew for every length, and `easy` does it all without hard negatives too.
    """

    poolings: tuple[str, ...] = ("maxsim", "topk(4)", "softmax(1)")
    m: int = 64
    lengths: tuple[int, ...] = (32, 64, 128, 256)
    retrained: bool = True
    easy: bool = True
    epochs: int = 30
    seeds: int = 5

    name: ClassVar[str] = "synthetic-routing"
    needs_collection: ClassVar[bool] = False
    version: ClassVar[int] = 1
    question: ClassVar[str] = "In a world made for it, where does training send its gradient, and what do longer documents cost?"
    source: ClassVar[Paper | None] = Paper(title="Spike Hijacking in Late-Interaction Retrieval", arxiv="2604.05253")
    primary: ClassVar[str] = "slope_difference"
    formulas: ClassVar[dict[str, str]] = {
        "gini_paper": "Gini of |d S / d d_j| over a document's encoded patches by the paper's formula, mean over held-out queries, each with its own "
        "positive (arXiv 2604.05253)",
        "gini_by_epoch": "gini_paper after so many epochs (arXiv 2604.05253)",
        "R@1": f"share of held-out queries that rank their own document first, {_CANDIDATES} (arXiv 2604.05253; the candidates are ours)",
        "R@1_difference": "R@1 of a pooling less that of another, paired by seed; ours",
        "seeds_above": "share of seeds in which a pooling's R@1 is above another's; ours",
        "chance_R@1": "R@1 of a random order; ours",
    } | {
        name: formula
        for variant, how in _VARIANTS.items()
        for name, formula in {
            f"R@1_by_length{variant}": f"R@1 with documents of m patches, {how} (arXiv 2604.05253)",
            f"gini_by_length{variant}": f"gini_paper with documents of m patches, {how}; ours",
            f"slope{variant}": f"slope of logit(R@1) per doubling of m, by least squares, {how}; R@1 smoothed by half a query; ours",
            f"slope_difference{variant}": f"slope of a pooling less that of another, paired by seed, {how}; below 0 where the first falls faster; ours",
        }.items()
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse what has no token similarities, and too few seeds for an interval."""
        for text in self.poolings:
            if isinstance(parse(text), (Single, Hybrid)):
                raise LidiagError(f"{self.name}: {text} pools no token similarities.", "Leave it out.")
        least = max(world.SUPPORT, world.SHARED + 1)
        if len(self.poolings) < 2 or self.seeds < 2 or self.epochs < 1 or min(self.m, *self.lengths) < least:  # noqa: PLR2004 - a spread takes two
            raise LidiagError(
                f"{self.name}: poolings = {list(self.poolings)}, seeds = {self.seeds}, epochs = {self.epochs}, m = {self.m}, lengths = {list(self.lengths)}.",
                f"Give two poolings, two seeds or more, an epoch or more, and lengths of {least} or more.",
            )

    def measure(self, bench: Bench) -> Measuring:
        """Train and measure; the bench gives nothing but the seed."""
        found = bench.findings()
        poolings: tuple[Pooling, ...] = tuple(parse(text) for text in self.poolings)  # pyright: ignore[reportAssignmentType] - others are refused
        table = _Table(found, self.seeds)
        for seed in range(self.seeds):
            for hard in (True, False)[: 1 + self.easy]:
                for pooling in poolings:
                    _Trial(self, bench, seed, hard, pooling).run(table)
        table.report(self.lengths)
        _say(found, poolings, self)
        return found
        yield from ()


class _Table:
    """Values by seed, of measurements by name and coordinates."""

    def __init__(self, found: Findings, seeds: int) -> None:
        self._found = found
        self._seeds = seeds
        self._values: dict[tuple[str, str, int], Array] = {}

    def put(self, name: str, pooling: Pooling, at: int, seed: int, value: float) -> None:
        self._values.setdefault((name, repr(pooling), at), np.full(self._seeds, np.nan))[seed] = value

    def report(self, lengths: Sequence[int]) -> None:
        """Add everything, the slopes and the differences last."""
        for (name, pooling, at), values in self._values.items():
            place: dict[str, Coordinate] = {"pooling": pooling}
            if at:
                place["epoch" if name == "gini_by_epoch" else "m"] = at
            self._add(name, place, values)
        self._compare("R@1_difference", {pooling: values for (name, pooling, _), values in self._values.items() if name == "R@1"})
        for variant in _VARIANTS:
            self._slopes(variant, sorted(set(lengths)))
        candidates = 2 * world.BATCH
        self._found.number("chance_R@1", {}, 1 / candidates, n=candidates, unit_of_n="documents", no_interval="it is known")

    def _slopes(self, variant: str, lengths: Sequence[int]) -> None:
        slopes: dict[str, Array] = {}
        for pooling in dict.fromkeys(pooling for _, pooling, _ in self._values):
            rows = [(m, self._values.get((f"R@1_by_length{variant}", pooling, m))) for m in lengths]
            there = [(m, row) for m, row in rows if row is not None]
            if len(there) > 1:
                smoothed = (np.array([row for _, row in there]) * world.HELD_OUT + 0.5) / (world.HELD_OUT + 1)
                slopes[pooling] = np.polyfit(np.log2([m for m, _ in there]), np.log(smoothed / (1 - smoothed)), 1)[0]
        for pooling, values in slopes.items():
            self._add(f"slope{variant}", {"pooling": pooling}, values)
        self._compare(f"slope_difference{variant}", slopes)

    def _compare(self, name: str, values: Mapping[str, Array]) -> None:
        for (a, of_a), (b, of_b) in combinations(values.items(), 2):
            self._add(name, {"pooling": a, "than": b}, of_a - of_b)
            if name == "R@1_difference":
                above = int((of_a > of_b).sum())
                low, high = stats.clopper_pearson(above, self._seeds)
                at: dict[str, Coordinate] = {"pooling": a, "than": b}
                self._found.number("seeds_above", at, above / self._seeds, n=self._seeds, unit_of_n="seeds", low=low, high=high)

    def _add(self, name: str, at: Mapping[str, Coordinate], values: Array) -> None:
        estimate = stats.mean_interval(values, share=name == "R@1" or name.startswith("R@1_by"))
        self._found.number(
            name, at, estimate.value, n=self._seeds, unit_of_n="seeds", low=estimate.low, high=estimate.high, no_interval=estimate.no_interval
        )  # fmt: skip


@dataclass(frozen=True)
class _Trial:
    """One seed of one pooling, with or without hard negatives: the same world, initialisation and batches for every pooling."""

    probe: SyntheticRouting
    bench: Bench
    seed: int
    hard: bool
    pooling: Pooling

    def run(self, table: _Table) -> None:
        probe, easy = self.probe, "" if self.hard else "_easy"
        reference = self._train(probe.m, table if self.hard else None)
        for m in dict.fromkeys((probe.m, *probe.lengths)):
            held_out = self._draw("held out", world.HELD_OUT, m)
            evaluated = self._evaluate(reference, held_out)
            anew = evaluated
            if m != probe.m and probe.retrained:
                anew = self._evaluate(self._train(m), held_out)
            if m == probe.m and self.hard:
                table.put("R@1", self.pooling, 0, self.seed, evaluated[0])
                table.put("gini_paper", self.pooling, 0, self.seed, evaluated[1])
            if m in probe.lengths:
                for variant, values in ((f"{easy}_evaluated", evaluated), (easy, anew)):
                    if variant.endswith("_evaluated") or probe.retrained:
                        table.put(f"R@1_by_length{variant}", self.pooling, m, self.seed, values[0])
                        table.put(f"gini_by_length{variant}", self.pooling, m, self.seed, values[1])

    def _train(self, m: int, table: _Table | None = None) -> nn.Module:
        held_out = self._draw("held out", world.HELD_OUT, m)

        def after(epoch: int, encoder: nn.Module) -> None:
            if table and (epoch % _EVERY == 0 or epoch == 1):
                table.put("gini_by_epoch", self.pooling, epoch, self.seed, self._gini(encoder, held_out))

        training = self._draw("training", world.QUERIES, m)
        return world.train(self.pooling, training, self.probe.epochs, self.bench.torch_rng(f"synthetic training {self.seed}"), after)

    def _draw(self, part: str, n: int, m: int) -> world.World:
        concepts = world.concepts(self.bench.torch_rng(f"synthetic concepts {self.seed}"))
        generator = self.bench.torch_rng(f"synthetic {part} {self.seed} {m}")
        return world.World.draw(n, m, hard=self.hard, concepts=concepts, generator=generator)

    @torch.no_grad()
    def _evaluate(self, encoder: nn.Module, held_out: world.World) -> tuple[float, float]:
        hits = 0
        for chosen in torch.arange(len(held_out)).split(world.BATCH):
            group = held_out.select(chosen)
            scores = batch_scores(world.encode(encoder, group.queries), world.encode(encoder, group.documents), self.pooling)
            hits += int((scores.argmax(1) == torch.arange(len(group))).sum())
        return hits / len(held_out), self._gini(encoder, held_out)

    @torch.no_grad()
    def _gini(self, encoder: nn.Module, held_out: world.World) -> float:
        queries, documents = world.encode(encoder, held_out.queries), world.encode(encoder, held_out.positives)
        norms = [document_gradients(self.pooling, q, d).norm(dim=1).numpy() for q, d in zip(queries, documents, strict=True)]
        return float(stats.gini_paper(np.stack(norms)).mean())


def _say(found: Findings, poolings: Sequence[Pooling], probe: SyntheticRouting) -> None:
    ginis = ", ".join(f"{p!r} {found.get('gini_paper', {'pooling': repr(p)}).value:.3f}" for p in poolings)
    recalls = ", ".join(f"{p!r} {found.get('R@1', {'pooling': repr(p)}).value:.3f}" for p in poolings)
    found.say(
        "gradient",
        f"At {probe.m} patches the gradient's Gini is {ginis}; R@1 is {recalls}, where a random order gives {1 / (2 * world.BATCH):.4f} "
        f"({probe.seeds} seeds).",
    )
    not_published = {
        "queries": world.QUERIES, "support patches": world.SUPPORT, "learning rate": world.LEARNING_RATE, "width": world.WIDTH,
        "activation": "ReLU", "shared concepts of a hard negative": world.SHARED, "concepts in a spike": world.SPIKE, "epochs": probe.epochs,
    }  # fmt: skip
    found.say(
        "world",
        "Not published, and chosen here: "
        + ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in not_published.items())
        + ". The level of R@1 depends on them.",
        **{name.replace(" ", "_"): value for name, value in not_published.items()},
    )
    for m in found.measurements:
        if m.name.startswith("slope_difference") and m.at == {"pooling": repr(poolings[0]), "than": repr(poolings[1])}:
            _say_length(found, m)


def _say_length(found: Findings, m: Measurement) -> None:
    # A loss is below 0, and the rule for words wants larger to be worse.
    word = stats.verdict(None if m.high is None else -m.high, None if m.low is None else -m.low, NEGLIGIBLE, STRONG)
    sense = {
        "strong": "much faster than",
        "shown": "faster than",
        "none": "as fast as",
        "cannot tell": "faster or slower, these seeds cannot tell, than",
    }[word]
    reach = "" if m.low is None or m.high is None else f" ({m.low:+.3f} to {m.high:+.3f})"
    how = _VARIANTS[m.name.removeprefix("slope_difference")]
    text = f"With longer documents {m.at['pooling']} loses R@1 {sense} {m.at['than']}: {m.value:+.3f}{reach} in logit per doubling, {how}."
    found.say("length", text, verdict=word, variant=how)
