"""Pooling advice: what each pooling gives on clean data, what an attack leaves of it, and what growing documents leave.

One pooling *dominates* another where it is nowhere worse and somewhere better by more than is negligible, by the values as
measured. What is not dominated is a choice; what is dominated is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from lidiag.measurement import Coordinate, Measurement
from lidiag.report import Report, Result

_INJECTED = 100
_ATTACKS = ("targeted", "passage")
_NEGLIGIBLE = 0.01  # of nDCG@10


@dataclass(frozen=True)
class Axis:
    """One thing to want of a pooling: nDCG@10 under a condition, by pooling; `missing` says why there is none."""

    name: str
    meaning: str
    values: dict[str, float]
    missing: str = ""


@dataclass(frozen=True)
class Advice:
    """The poolings of one model on one collection, along the axes that were measured."""

    dataset: str
    poolings: tuple[str, ...]
    clean: dict[str, Measurement]
    axes: tuple[Axis, ...]

    @property
    def complete(self) -> tuple[Axis, ...]:
        """The axes with a value for every pooling: only these can be compared."""
        return tuple(axis for axis in self.axes if all(pooling in axis.values for pooling in self.poolings))

    def best(self) -> tuple[str, ...]:
        """Return the poolings that no other dominates, in the report's order."""
        points = {pooling: tuple(axis.values[pooling] for axis in self.complete) for pooling in self.poolings}
        return tuple(pooling for pooling, point in points.items() if not any(_dominates(other, point) for other in points.values()))

    def words(self) -> tuple[str, ...]:
        """Return what to choose, how to read the table, and what is missing."""
        how = f"* (a choice): no other pooling is nowhere worse and somewhere better by {_NEGLIGIBLE:g} or more, by the values as measured."
        meanings = "; ".join(f"{axis.name}: {axis.meaning}" for axis in self.complete)
        return (self.sentence(), f"nDCG@10, {meanings}.", how, *(f"Not compared - {missing}." for missing in self.missing()))

    def sentence(self) -> str:
        """Say in words what to choose."""
        best = self.best()
        counts = "by clean nDCG@10, all that was measured" if len(self.complete) == 1 else "on every count that was measured"
        if len(best) == 1:
            text = f"{best[0]} is best {counts}."
        elif len(self.complete) == 1:
            text = f"By clean nDCG@10, all that was measured, nothing decides between {', '.join(best)}."
        else:
            leaders = (f"{max(self.poolings, key=axis.values.__getitem__)} {axis.name}" for axis in self.complete)
            text = f"No pooling is best on every count. Highest nDCG@10: {', '.join(leaders)}."
        lost = [pooling for pooling in self.poolings if pooling not in best]
        if lost:
            text += f" Nothing speaks for {', '.join(lost)}: another is nowhere worse, and somewhere clearly better."
        return text

    def missing(self) -> tuple[str, ...]:
        """Return what could not be compared, and why."""
        return tuple(_lacks(axis, self.poolings) for axis in self.axes if axis not in self.complete)


def advise(report: Report, dataset: str) -> Advice | None:
    """Compare the poolings of a report on one collection; None where fewer than two were measured by `retrieval`."""
    results = {result.probe: result for result in report.results if result.dataset == dataset}
    clean = _by_pooling(results.get("retrieval"), "nDCG@10", {})
    if len(clean) < 2:  # noqa: PLR2004 - one is no choice
        return None
    axes = [Axis("clean", "nothing done to the collection", {pooling: m.value for pooling, m in clean.items()})]
    axes += [_attacked(results.get("distractor-hijacking"), kind, clean) for kind in _ATTACKS]
    axes.append(_grown(results.get("length-sweep"), clean))
    return Advice(dataset, tuple(clean), clean, tuple(axes))


def table(advice: Advice) -> str:
    """Return the table as text: nDCG@10 by pooling and condition."""
    best = advice.best()
    header = ("pooling", *(axis.name for axis in advice.complete), "")
    rows = [(p, *(f"{axis.values[p]:.3f}" for axis in advice.complete), "*" if p in best else "") for p in advice.poolings]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def _attacked(result: Result | None, kind: str, clean: dict[str, Measurement]) -> Axis:
    kept = _by_pooling(result, "ndcg_retained", {"distractor": kind, "k": _INJECTED})
    missing = _why_missing(result, "distractor-hijacking", f"k={_INJECTED}, distractor={kind}")
    return Axis(kind, f"{_INJECTED} {kind} vectors in every non-relevant document", _times(clean, kept), missing)


def _grown(result: Result | None, clean: dict[str, Measurement]) -> Axis:
    """Take the largest growth, and of the fillers the one that costs most over all poolings."""
    found = [
        m
        for m in _measurements(result)
        if m.name == "ndcg_retained" and m.at.get("grown") == "non-relevant" and _is_real(m.at.get("growth"))
    ]
    largest = max((float(m.at["growth"]) for m in found), default=None)
    if largest is None:
        return Axis("grown", "", {}, _why_missing(result, "length-sweep", "grown=non-relevant"))
    fillers = dict.fromkeys(m.at.get("filler") for m in found if m.at["growth"] == largest)
    choices = [_by_pooling(result, "ndcg_retained", _grown_at(largest, filler)) for filler in fillers]
    worst = min(choices, key=lambda kept: sum(m.value for m in kept.values()) / len(kept))
    filler = next(iter(worst.values())).at.get("filler")
    meaning = f"non-relevant documents {largest:g} times as long" + ("" if filler is None else f", filled with: {filler}")
    return Axis(f"grown x{largest:g}", meaning, _times(clean, worst), _why_missing(result, "length-sweep", f"growth={largest:g}"))


def _grown_at(growth: float, filler: Coordinate | None) -> dict[str, Coordinate]:
    return {"grown": "non-relevant", "growth": growth} | ({} if filler is None else {"filler": filler})


def _is_real(value: Coordinate | None) -> bool:
    return isinstance(value, int | float)


def _measurements(result: Result | None) -> Sequence[Measurement]:
    return () if result is None else result.measurements


def _by_pooling(result: Result | None, name: str, at: dict[str, Coordinate]) -> dict[str, Measurement]:
    found = (m for m in _measurements(result) if m.name == name and "pooling" in m.at)
    return {str(m.at["pooling"]): m for m in found if {key: v for key, v in m.at.items() if key != "pooling"} == at}


def _times(clean: dict[str, Measurement], kept: dict[str, Measurement]) -> dict[str, float]:
    return {pooling: m.value * kept[pooling].value for pooling, m in clean.items() if pooling in kept}


def _why_missing(result: Result | None, probe: str, where: str) -> str:
    if result is None:
        return f"{probe} did not run"
    if result.status in {"skipped", "broken"}:
        return f"{probe} was {result.status}: {result.reason}"
    return f"{probe} has no ndcg_retained at {where}"


def _lacks(axis: Axis, poolings: Sequence[str]) -> str:
    without = [pooling for pooling in poolings if pooling not in axis.values]
    who = "" if len(without) == len(poolings) else f" for {', '.join(without)}"
    return f"{axis.name}: {axis.missing}{who}"


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    pairs = list(zip(a, b, strict=True))
    return all(x >= y for x, y in pairs) and any(x - y >= _NEGLIGIBLE for x, y in pairs)
