"""What a probe collects while it measures: measurements with their intervals, words, and the values of each query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidiag import stats
from lidiag.measurement import Better, Coordinate, Finding, Measurement

Array = NDArray[np.float64]
_ROUNDING = 1e-6  # sums of fp32 weights may pass 1 by so much
_WHERE_EXPECTED = "Where that can happen, say `unmade` instead, or raise Skip if the probe does not apply."


@dataclass(frozen=True)
class PerQuery:
    """The values of one measurement by query; `base` is the denominator where the aggregate is a ratio of sums."""

    name: str
    at: Mapping[str, Coordinate]
    values: Array
    base: Array | None = None


@dataclass
class Findings:
    """Collects what one probe says. Values are given for all queries; NaN leaves a query out of that measurement."""

    queries: Sequence[str]
    clusters: NDArray[np.int64] | None = None
    measurements: list[Measurement] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    per_query: list[PerQuery] = field(default_factory=list)

    def mean(  # noqa: PLR0913 - mirrors Measurement
        self, name: str, at: Mapping[str, Coordinate], values: ArrayLike, *, unit: str = "", better: Better = "neither", share: bool = False
    ) -> Measurement:
        """Add the mean of (queries,) values with its 95 % interval.

        Set `share` for whatever lies in [0, 1] by definition (a rate, recall, nDCG): its interval stays there, and is exact
        at 0 and 1. Raises ValueError where no query has a value (see `unmade`), one is infinite, or a share is outside [0, 1].
        """
        data = self._checked(name, at, values)
        if share:
            data = _as_share(name, at, data)
        kept = self._kept(name, at, np.isfinite(data))
        clusters = None if self.clusters is None else self.clusters[kept]
        estimate = stats.mean_interval(data[kept], clusters=clusters, share=share)
        return self._add(PerQuery(name, _plain(at), data), estimate, unit, better)

    def ratio(  # noqa: PLR0913 - mirrors Measurement
        self, name: str, at: Mapping[str, Coordinate], values: ArrayLike, base: ArrayLike, *, unit: str = "", better: Better = "neither"
    ) -> Measurement:
        """Add sum(values) / sum(base) of (queries,) pairs, with the 95 % interval of both varying together.

        Raises ValueError where no query has both (see `unmade`), one is infinite, or the base does not sum to more than 0.
        """
        data, divisor = self._checked(name, at, values), self._checked(name, at, base)
        kept = self._kept(name, at, np.isfinite(data) & np.isfinite(divisor))
        if not divisor[kept].sum() > 0:
            total = f"the base sums to {divisor[kept].sum():g} over {kept.sum()} queries"
            raise ValueError(f"{_place(name, at)}: {total}, so there is no ratio. {_WHERE_EXPECTED}")
        clusters = None if self.clusters is None else self.clusters[kept]
        estimate = stats.ratio_interval(data[kept], divisor[kept], clusters=clusters)
        held = PerQuery(name, _plain(at), np.where(kept, data, np.nan), np.where(kept, divisor, np.nan))
        return self._add(held, estimate, unit, better)

    def crossed(  # noqa: PLR0913 - mirrors Measurement
        self, name: str, at: Mapping[str, Coordinate], values: ArrayLike, *, unit: str = "", better: Better = "neither", share: bool = False
    ) -> Measurement:
        """Add the mean of (seeds, queries) values where seeds were drawn too: the interval speaks of other queries and other seeds.

        A query is left out by NaN in every seed. With one seed it is the `mean` over queries. The values kept by query are means
        over seeds. Raises ValueError as `mean` does.
        """
        data = np.array(values, dtype=np.float64)
        if len(data) == 1:
            return self.mean(name, at, data[0], unit=unit, better=better, share=share)
        for row in data:
            self._checked(name, at, row)
        mean = data.mean(0)
        if share:
            mean = _as_share(name, at, mean)
        kept = self._kept(name, at, np.isfinite(mean))
        table = data[:, kept]
        if self.clusters is not None:
            table = np.stack([_by_cluster(row, self.clusters[kept]) for row in table])
        estimate = stats.crossed_interval(table)
        if estimate.low is None and share:  # at 0 or 1 in every seed: exact, of the queries alone
            return self.mean(name, at, mean, unit=unit, better=better, share=True)
        if estimate.low is not None and estimate.high is not None and share:
            estimate = replace(estimate, low=max(0.0, estimate.low), high=min(1.0, estimate.high))
        return self._add(
            PerQuery(name, _plain(at), mean), replace(estimate, value=float(mean[kept].mean()), n=table.shape[1]), unit, better
        )

    def number(  # noqa: PLR0913 - mirrors Measurement
        self,
        name: str,
        at: Mapping[str, Coordinate],
        value: float,
        *,
        n: int,
        unit_of_n: str,
        low: float | None = None,
        high: float | None = None,
        no_interval: str | None = None,
        unit: str = "",
        better: Better = "neither",
    ) -> Measurement:
        """Add a number that is no mean over queries; without an interval, say why.

        Raises ValueError where an end and the reason for its absence are both missing or both given, or low is above high.
        """
        self._must_be_new(name, at)
        if (low is None or high is None) != bool(no_interval):
            raise ValueError(f"{_place(name, at)}: give low and high, or the reason why one is missing")
        if low is not None and high is not None and low > high:
            raise ValueError(f"{_place(name, at)}: low {low:g} is above high {high:g}")
        measurement = Measurement(
            name=name, at=_plain(at), value=float(value), low=None if low is None else float(low), high=None if high is None else float(high),
            n=int(n), unit_of_n=unit_of_n, unit=unit, better=better, aggregate=None, no_interval=no_interval,
        )  # fmt: skip
        self.measurements.append(measurement)
        return measurement

    def say(self, name: str, text: str, **data: object) -> None:
        """Add a statement in words."""
        self.findings.append(Finding(name=name, text=text, data=data))

    def warn(self, name: str, text: str, **data: object) -> None:
        """Add a statement that the reader should act on, though this run's figures stand."""
        self.findings.append(Finding(name=name, text=text, severity="warning", data=data))

    def fault(self, name: str, text: str, **data: object) -> None:
        """Say that the vectors or weights are wrong: a run stops here, as no figure of this model would mean anything."""
        self.findings.append(Finding(name=name, text=text, severity="fault", data=data))

    @property
    def faults(self) -> list[Finding]:
        """What was said to be a fault."""
        return [finding for finding in self.findings if finding.severity == "fault"]

    def unmade(self, name: str, at: Mapping[str, Coordinate], why: str) -> None:
        """Say that a measurement could not be made here, and why; a gate on it is then broken, never passed."""
        self.say(name, f"{_place(name, at)} was not measured: {why}", at=_plain(at))

    def get(self, name: str, at: Mapping[str, Coordinate]) -> Measurement:
        """Return a measurement made before; raises KeyError, with the coordinates there are, where it was not."""
        found = self._find(name, at)
        if found is None:
            known = ", ".join(_place(m.name, m.at) for m in self.measurements if m.name == name) or "none of that name"
            raise KeyError(f"{_place(name, at)} was not measured; there is {known}")
        return found

    def _find(self, name: str, at: Mapping[str, Coordinate]) -> Measurement | None:
        return next((m for m in self.measurements if m.name == name and m.at == dict(at)), None)

    def _must_be_new(self, name: str, at: Mapping[str, Coordinate]) -> None:
        if self._find(name, at) is not None:
            raise ValueError(f"{_place(name, at)} was measured twice")

    def _checked(self, name: str, at: Mapping[str, Coordinate], values: ArrayLike) -> Array:
        self._must_be_new(name, at)
        data = np.array(values, dtype=np.float64)
        if data.shape != (len(self.queries),):
            raise ValueError(f"{_place(name, at)}: values of shape {data.shape} for {len(self.queries)} queries")
        if np.isinf(data).any():
            raise ValueError(f"{_place(name, at)}: an infinite value for query {self.queries[int(np.isinf(data).argmax())]!r}")
        return data

    def _kept(self, name: str, at: Mapping[str, Coordinate], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if not kept.any():
            raise ValueError(f"{_place(name, at)}: none of {len(kept)} queries has a value. {_WHERE_EXPECTED}")
        return kept

    def _add(self, held: PerQuery, estimate: stats.Estimate, unit: str, better: Better) -> Measurement:
        measurement = Measurement(
            name=held.name, at=dict(held.at), value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n,
            unit_of_n="queries" if self.clusters is None else "groups of queries", unit=unit, better=better,
            aggregate="mean" if held.base is None else "ratio", no_interval=estimate.no_interval,
        )  # fmt: skip
        self.measurements.append(measurement)
        self.per_query.append(held)
        return measurement


def _by_cluster(values: Array, clusters: NDArray[np.int64]) -> Array:
    """Return every cluster's total as a share of an average cluster's size, so that their mean is the values' mean."""
    names, seats = np.unique(clusters, return_inverse=True)
    return np.bincount(seats, values) / (len(values) / len(names))


def _as_share(name: str, at: Mapping[str, Coordinate], data: Array) -> Array:
    outside = (data < -_ROUNDING) | (data > 1 + _ROUNDING)
    if outside.any():
        raise ValueError(f"{_place(name, at)}: a share lies in [0, 1], and {data[outside][0]:g} does not")
    return np.clip(data, 0.0, 1.0)


def _plain(at: Mapping[str, Coordinate]) -> dict[str, Coordinate]:
    """Return the coordinates in Python's own types: numpy's 4 would be written as 4.0."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in at.items()}


def _place(name: str, at: Mapping[str, Coordinate]) -> str:
    return f"{name}[{', '.join(f'{key}={value}' for key, value in at.items())}]" if at else name
