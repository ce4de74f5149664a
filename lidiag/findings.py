"""What a probe collects while it measures: measurements with their intervals, words, and the values of each query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidiag import stats
from lidiag.measurement import Better, Claim, Coordinate, Finding, Measurement


@dataclass(frozen=True)
class PerQuery:
    """The values of one measurement by query; `base` is the denominator where the aggregate is a ratio of sums."""

    name: str
    at: Mapping[str, Coordinate]
    values: NDArray[np.float64]
    base: NDArray[np.float64] | None = None


@dataclass
class Findings:
    """Collects what one probe says. Values are given for all queries; NaN leaves a query out of that measurement."""

    queries: Sequence[str]
    clusters: NDArray[np.int64] | None = None
    measurements: list[Measurement] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    per_query: list[PerQuery] = field(default_factory=list)

    def mean(
        self, name: str, at: Mapping[str, Coordinate], values: ArrayLike, *, unit: str = "", better: Better = "neither", share: bool = False
    ) -> Measurement:
        """Add the mean over queries with its 95 % interval; `share` bounds it to [0, 1], with an exact interval at 0 and 1."""
        data = self._checked(name, values)
        kept = np.isfinite(data)
        clusters = None if self.clusters is None else self.clusters[kept]
        estimate = stats.mean_interval(data[kept], clusters=clusters, share=share)
        self.per_query.append(PerQuery(name, dict(at), data))
        return self._add(name, at, estimate, unit, better, "mean")

    def ratio(  # noqa: PLR0913 - mirrors Measurement
        self, name: str, at: Mapping[str, Coordinate], values: ArrayLike, base: ArrayLike, *, unit: str = "", better: Better = "neither"
    ) -> Measurement:
        """Add sum(values) / sum(base) over queries, both resampled together."""
        data, divisor = self._checked(name, values), self._checked(name, base)
        kept = np.isfinite(data) & np.isfinite(divisor)
        clusters = None if self.clusters is None else self.clusters[kept]
        estimate = stats.ratio_interval(data[kept], divisor[kept], clusters=clusters)
        self.per_query.append(PerQuery(name, dict(at), np.where(kept, data, np.nan), np.where(kept, divisor, np.nan)))
        return self._add(name, at, estimate, unit, better, "ratio")

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
        """Add a number that is no mean over queries; without an interval, say why."""
        if (low is None or high is None) and not no_interval:
            raise ValueError(f"{name} has no interval and no reason for that")
        measurement = Measurement(
            name=name, at=dict(at), value=float(value), low=low, high=high, n=n, unit_of_n=unit_of_n, unit=unit, better=better,
            no_interval=no_interval,
        )  # fmt: skip
        self.measurements.append(measurement)
        return measurement

    def say(self, name: str, text: str, **data: object) -> None:
        """Add a statement in words."""
        self.findings.append(Finding(name=name, text=text, data=data))

    def get(self, name: str, at: Mapping[str, Coordinate]) -> Measurement:
        """Return a measurement made before."""
        return next(m for m in self.measurements if m.name == name and m.at == dict(at))

    def _checked(self, name: str, values: ArrayLike) -> NDArray[np.float64]:
        data = np.asarray(values, dtype=np.float64)
        if data.shape != (len(self.queries),):
            raise ValueError(f"{name}: {data.shape} values for {len(self.queries)} queries")
        if np.isinf(data).any():
            raise ValueError(f"{name}: an infinite value for query {self.queries[int(np.isinf(data).argmax())]!r}")
        return data

    def _add(self, name: str, at: Mapping[str, Coordinate], estimate: stats.Estimate, unit: str, better: Better, aggregate: str) -> Measurement:  # noqa: PLR0913
        measurement = Measurement.model_validate({
            "name": name, "at": dict(at), "value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n,
            "unit_of_n": "queries", "unit": unit, "better": better, "aggregate": aggregate, "no_interval": estimate.no_interval,
        })  # fmt: skip
        self.measurements.append(measurement)
        return measurement
