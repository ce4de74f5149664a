"""Reports compared query by query: what differs, by how much, how sure that is, and what cannot be told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lidiag import report as reports
from lidiag import samples as stored
from lidiag import stats, values
from lidiag.errors import LidiagError
from lidiag.measurement import Coordinate, Measurement
from lidiag.ranking import LEVEL, on_common_queries, pseudo_values, ranks
from lidiag.report import Report
from lidiag.samples import Key, Sample
from lidiag.stats.many import sign_flip_ps

FLOOR = 0.01
"""Differences below this are called negligible, however sure they are."""


@dataclass(frozen=True)
class Side:
    """One report to compare: a name that is unique among them, and its values by query."""

    name: str
    report: Report
    samples: dict[Key, Sample]


@dataclass(frozen=True)
class Row:
    """One measurement of two reports: `difference` is other - baseline over the common queries."""

    dataset: str
    probe: str
    name: str
    at: dict[str, Coordinate]
    better: str
    baseline: str
    other: str
    baseline_value: float
    other_value: float
    difference: float
    low: float | None
    high: float | None
    n: int
    p: float
    adjusted_p: float
    detectable: float | None
    verdict: str


@dataclass(frozen=True)
class Ranked:
    """The models by one headline measurement: equal ranks cannot be told apart."""

    dataset: str
    probe: str
    name: str
    at: dict[str, Coordinate]
    order: tuple[tuple[int, str, float], ...]  # rank, model, value


@dataclass(frozen=True)
class Comparison:
    """What came out of comparing the first report with each of the others."""

    models: tuple[str, ...]
    floor: float
    rows: tuple[Row, ...]
    ranked: tuple[Ranked, ...]
    left_out: tuple[str, ...]

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def load(paths: Sequence[Path]) -> list[Side]:
    """Read reports (or their folders) with their values by query.

    Raises:
        LidiagError: one cannot be read, or its values are missing or not its own.
    """
    read = [reports.read(path) for path in paths]
    names = [report.model.name for report in read]
    if len(set(names)) < len(names):
        names = [f"{report.model.name}@{report.model.revision[:8]}" for report in read]
    if len(set(names)) < len(names):
        names = [f"{name} ({path})" for name, path in zip(names, paths, strict=True)]
    return [
        Side(name, report, stored.read(stored.beside(path), report)) for name, report, path in zip(names, read, paths, strict=True)
    ]  # fmt: skip


def load_alone(path: Path) -> list[Side]:
    """Read one report without its values by query, which only a comparison needs."""
    report = reports.read(path)
    return [Side(report.model.name, report, {})]


def compare(sides: Sequence[Side], *, floor: float = FLOOR, seed: int = 0) -> Comparison:
    """Compare the first side with each of the others, measurement by measurement.

    Raises:
        LidiagError: there are fewer than two, or they did not measure the same things.
    """
    if len(sides) < 2:  # noqa: PLR2004 - a comparison takes two
        raise LidiagError("A comparison takes two reports.", "Name another one.")
    baseline, *others = sides
    for other in others:
        refuse_incomparable(baseline, other)
    left_out: list[str] = []
    rows = [row for other in others for row in _pairs(baseline, other, left_out, np.random.default_rng([seed, 1]))]
    adjusted = stats.benjamini_hochberg([row["p"] for row in rows]) if rows else []
    judged = [Row(**row, adjusted_p=float(p), verdict=_verdict(row, float(p), floor)) for row, p in zip(rows, adjusted, strict=True)]
    return Comparison(tuple(side.name for side in sides), floor, tuple(judged), tuple(_ranked(sides)), tuple(dict.fromkeys(left_out)))


def refuse_incomparable(a: Side, b: Side) -> None:
    """Raise LidiagError, naming each difference, unless both measured the same things in the same way on the same data."""
    parts = (
        (
            "suite",
            {s.name: f"v{s.version} {s.digest[:12]}" for s in a.report.suites},
            {s.name: f"v{s.version} {s.digest[:12]}" for s in b.report.suites},
        ),
        ("data", {d.name: d.fingerprint[:12] for d in a.report.data}, {d.name: d.fingerprint[:12] for d in b.report.data}),
        ("probe", {r.probe: f"version {r.version}" for r in a.report.results}, {r.probe: f"version {r.version}" for r in b.report.results}),
    )
    faults = [
        f"{kind} {name} is {x.get(name, 'absent')} in {a.name} and {y.get(name, 'absent')} in {b.name}"
        for kind, x, y in parts
        for name in dict.fromkeys([*x, *y])
        if x.get(name) != y.get(name)
    ]
    if faults:
        raise LidiagError(
            f"{a.name} and {b.name} cannot be compared: {'; '.join(faults)}.", "Run both with the same suite, data and lidiag."
        )


def _pairs(a: Side, b: Side, left_out: list[str], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return a row, still without its verdict, for every measurement that both sides have by query."""
    rows: list[dict[str, Any]] = []
    columns: dict[tuple[str, ...], list[int]] = {}
    paired: list[np.ndarray] = []
    for key, m in _measured(a.report):
        if m.aggregate is None:
            left_out.append(f"{key.probe} {m.name} has no values by query")
            continue
        both = [side.samples.get(key) for side in (a, b)]
        if both[0] is None or both[1] is None:
            left_out.append(f"{key.probe} {m.name}{key.at} on {key.dataset} is missing in {(a if both[0] is None else b).name}")
            continue
        x, y = on_common_queries([both[0], both[1]])
        if not _has_units(x) or not _has_units(y):
            left_out.append(f"{key.probe} {m.name}{key.at} on {key.dataset}: the common queries have nothing to divide by")
            continue
        ours, theirs = pseudo_values(x), pseudo_values(y)
        estimate = stats.mean_interval(theirs - ours)
        columns.setdefault(tuple(x.queries.tolist()), []).append(len(rows))
        paired.append(theirs - ours)
        detectable = None if estimate.n == 1 else stats.minimum_detectable_effect(theirs - ours)
        rows.append({
            "dataset": key.dataset, "probe": key.probe, "name": m.name, "at": m.at, "better": m.better, "baseline": a.name, "other": b.name,
            "baseline_value": float(ours.mean()), "other_value": float(theirs.mean()), "difference": estimate.value, "low": estimate.low,
            "high": estimate.high, "n": estimate.n, "detectable": detectable,
        })  # fmt: skip
    for members in columns.values():
        for place, p in zip(members, sign_flip_ps(np.stack([paired[i] for i in members], axis=1), rng=rng), strict=True):
            rows[place]["p"] = float(p)
    return rows


def _measured(report: Report) -> Iterator[tuple[Key, Measurement]]:
    for result in report.results:
        for m in result.measurements:
            yield Key(result.dataset, result.probe, m.name, values.coordinates(m.at)), m


def _has_units(sample: Sample) -> bool:
    return len(sample.values) > 0 and (sample.base is None or sample.base.sum() > 0)


def _verdict(row: dict[str, Any], adjusted: float, floor: float) -> str:
    difference, low, high = row["difference"], row["low"], row["high"]
    if adjusted < LEVEL and abs(difference) >= floor:
        if row["better"] == "neither":
            return "higher" if difference > 0 else "lower"
        return "better" if (difference > 0) == (row["better"] == "higher") else "worse"
    if adjusted < LEVEL:
        return "negligible"
    if difference == 0 or (low is not None and high is not None and -floor <= low and high <= floor):
        return "same"
    return "cannot tell"


def _ranked(sides: Sequence[Side]) -> Iterator[Ranked]:
    """Rank by each probe's primary measurement, as the model's own scorer pools, where one end of it is better."""
    primary = {result.probe: result.primary for result in sides[0].report.results}
    for key, m in _measured(sides[0].report):
        if (
            m.name != primary[key.probe]
            or m.better == "neither"
            or not set(m.at) <= {"pooling"}
            or m.at.get("pooling", "maxsim") != "maxsim"
        ):
            continue
        found = [side.samples.get(key) for side in sides]
        complete = [sample for sample in found if sample is not None]
        if len(complete) < len(sides):
            continue
        common = on_common_queries(complete)
        if not all(_has_units(sample) for sample in common):
            continue
        matrix = np.stack([pseudo_values(sample) for sample in common], axis=1)
        falling = m.better == "higher"
        places = ranks(matrix, falling=falling).tolist()
        means = matrix.mean(axis=0).tolist()
        order = sorted(range(len(sides)), key=lambda i: (places[i], -means[i] if falling else means[i]))
        yield Ranked(key.dataset, key.probe, m.name, m.at, tuple((places[i], sides[i].name, means[i]) for i in order))
