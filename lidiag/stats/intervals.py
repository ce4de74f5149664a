"""Intervals of means, shares and ratios over independent units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
Clusters = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, n independent units, and why there is no interval where there is none."""

    value: float
    low: float | None
    high: float | None
    n: int
    no_interval: str | None = None


def mean_interval(values: Array, *, clusters: Clusters | None = None, share: bool = False, level: float = 0.95) -> Estimate:
    """Return the mean of (n,) values with a t interval, clustered where `clusters` (n,) says so.

    A share at exactly 0 or 1 gets the Clopper-Pearson bound with n units, and no share's interval leaves [0, 1].
    Raises ValueError where there is no value.
    """
    if not len(values):
        raise ValueError("no value to take a mean of")
    total, size = _totals(values, clusters), _totals(np.ones_like(values), clusters)
    mean, n = float(values.mean()), len(total)
    if share and (np.all(values == 0) or np.all(values == 1)):
        low, high = clopper_pearson(round(mean * n), n, level=level)
        return Estimate(mean, low, high, n)
    if n == 1:
        return Estimate(mean, None, None, n, "one unit has no spread")
    error = _standard_error((total - mean * size) / size.mean())
    if error <= 1e-12 * np.abs(values).max():
        return Estimate(mean, None, None, n, f"all {n} values are equal")
    reach = float(special.stdtrit(n - 1, (1 + level) / 2)) * error
    low, high = mean - reach, mean + reach
    return Estimate(mean, max(low, 0.0), min(high, 1.0), n) if share else Estimate(mean, low, high, n)


def ratio_interval(values: Array, base: Array, *, clusters: Clusters | None = None, level: float = 0.95) -> Estimate:
    """Return sum(values) / sum(base) with the log-delta t interval of e = y / mean(y) - x / mean(x).

    Raises ValueError where there is no value, or where the base does not sum to more than 0.
    """
    if not len(values):
        raise ValueError("no value to take a ratio of")
    if not base.sum() > 0:
        raise ValueError(f"the base of a ratio must sum to more than 0, and sums to {base.sum():g} over {len(base)} values")
    y, x = _totals(values, clusters), _totals(base, clusters)
    ratio, n = float(y.sum() / x.sum()), len(y)
    if n == 1:
        return Estimate(ratio, None, None, n, "one unit has no spread")
    if np.all(values == 0) or np.array_equal(values, base):
        bound = clopper_pearson(0, n, level=level)[1]
        return Estimate(ratio, max(0.0, ratio - bound), ratio + bound, n)
    quantile = float(special.stdtrit(n - 1, (1 + level) / 2))
    error = _standard_error((y - ratio * x) / x.mean())
    if error <= 1e-12 * abs(ratio):
        return Estimate(ratio, None, None, n, f"all {n} ratios are equal")
    if ratio <= 0:
        return Estimate(ratio, ratio - quantile * error, ratio + quantile * error, n)
    reach = float(np.exp(quantile * error / ratio))
    return Estimate(ratio, ratio / reach, ratio * reach, n)


def clopper_pearson(successes: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share: `successes` out of `n` (Clopper and Pearson 1934)."""
    tail = (1 - level) / 2
    low = 0.0 if successes <= 0 else float(special.betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes >= n else float(special.betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def _totals(values: Array, clusters: Clusters | None) -> Array:
    if clusters is None:
        return values
    return np.bincount(np.unique(clusters, return_inverse=True)[1], weights=values)


def _standard_error(influence: Array) -> float:
    return float(influence.std(ddof=1) / np.sqrt(len(influence)))
