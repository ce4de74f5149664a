"""Intervals of means, shares and ratios over independent units: closed forms, so the same report byte for byte.

Where most queries give 0, the plain 95 % t interval of 50 queries covers the truth 87 times in 100. Stretched on the side of
the long tail it covers 93 to 97 times, for what is measured here; the tests simulate it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
Clusters = NDArray[np.int64]
_ROUNDING = 1e-12
_LARGEST_EXPONENT = 50.0  # a ratio of 10^21 says nothing


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, n independent units, and why there is no interval where there is none."""

    value: float
    low: float | None
    high: float | None
    n: int
    no_interval: str | None = None


def mean_interval(values: Array, *, clusters: Clusters | None = None, share: bool = False, level: float = 0.95) -> Estimate:
    """Return the mean of (n,) values with its interval; `clusters` (n,) names the group that each value shares facts with.

    The units are the values, or the clusters: then the mean is a ratio of cluster totals with jackknifed errors and
    clusters - 1 degrees of freedom. The t interval is stretched on its long-tailed side (see `_stretched`).

    A `share` lies in [0, 1], and so does its interval. It has at least Wilson's width with the effective sample size (Kott and
    Carr 1997, Journal of Official Statistics 13(2)) and, exactly at 0 or 1, the Clopper-Pearson bound with n units.

    One unit, or equal values that are no share at 0 or 1, have no interval.
    Raises ValueError where there is no value, one is not finite, or a share's value is outside [0, 1].
    """
    _check(values)
    if share and (values.min() < 0 or values.max() > 1):
        raise ValueError(f"a share lies in [0, 1], and these values in [{values.min():g}, {values.max():g}]")
    total, size = unit_totals(values, clusters), unit_totals(np.ones_like(values), clusters)
    mean, n = float(values.mean()), len(total)
    if share and (values.max() <= _ROUNDING or values.min() >= 1 - _ROUNDING):
        low, high = clopper_pearson(round(mean) * n, n, level=level)
        return Estimate(mean, low, high, n)
    if n == 1:
        return Estimate(mean, None, None, n, "one unit shows no spread")
    errors = jackknife(total, size, mean)
    if _standard_error(errors) <= _ROUNDING * np.abs(values).max():
        return Estimate(mean, None, None, n, f"all {n} units have the same value, so they show no spread")
    low, high = _stretched(mean, errors, level)
    if not share:
        return Estimate(mean, low, high, n)
    least, most = _wilson(mean, _standard_error(errors), n, level)
    if np.all((values == 0) | (values == 1)):
        return Estimate(mean, least, most, n)
    return Estimate(mean, max(0.0, min(low, least)), min(1.0, max(high, most)), n)


def ratio_interval(values: Array, base: Array, *, clusters: Clusters | None = None, level: float = 0.95) -> Estimate:
    """Return sum(values) / sum(base), both (n,), with its interval; `clusters` (n,) as in `mean_interval`.

    Log-delta t interval: the errors y - ratio * x, jackknifed, stand for those of the logarithm, stretched like a mean's but for
    the skewness that the logarithm itself has taken away. Where few units hold the values, that is all of it.
    Where a value is negative there is no logarithm to take, and the same errors give an interval on the ratio's own scale.

    Where every value is 0, or every value is its base (nothing was kept, nothing has changed), there is no spread to see: the
    Clopper-Pearson bound says how large a share of the base could behave otherwise, with the units whose base is not 0 as n.

    Raises ValueError where there is no value, one is not finite, or the base does not sum to more than 0.
    """
    _check(values)
    _check(base)
    if not base.sum() > 0:
        raise ValueError(f"the base of a ratio must sum to more than 0, and sums to {base.sum():g} over {len(base)} values")
    y, x = unit_totals(values, clusters), unit_totals(base, clusters)
    ratio, n = float(values.sum() / base.sum()), len(y)
    if np.all(values == 0) or np.array_equal(values, base):
        _, reach = clopper_pearson(0, int(np.count_nonzero(x)), level=level)
        return Estimate(ratio, max(0.0, ratio - reach), ratio + reach, n)
    if why := _no_spread(y, x, ratio):
        return Estimate(ratio, None, None, n, why)
    errors = jackknife(y, x, ratio)
    if y.min() < 0:
        return Estimate(ratio, *_stretched(ratio, errors, level), n)
    relative = errors / ratio
    low, high = _stretched(0.0, relative, level, bend=float(relative.std(ddof=1)))
    if high > _LARGEST_EXPONENT:
        return Estimate(ratio, None, None, n, "so few units hold the base that the interval has no upper end")
    return Estimate(ratio, ratio * float(np.exp(low)), ratio * float(np.exp(high)), n)


def _no_spread(y: Array, x: Array, ratio: float) -> str | None:
    if len(y) == 1:
        return "one unit shows no spread"
    if (x.sum() - x).min() <= _ROUNDING * x.sum():
        return "one unit holds the whole base"
    if _standard_error(jackknife(y, x, ratio)) <= _ROUNDING * abs(ratio):
        return f"all {len(y)} units have the same ratio, so they show no spread"
    return None


def crossed_interval(values: Array, *, level: float = 0.95) -> Estimate:
    """Return the mean of (seeds, queries) values where both are drawn: n is the number of seeds.

    Two-way analysis of variance, Var = (MS_seeds + MS_queries - MS_rest) / (seeds * queries), with Satterthwaite's degrees of
    freedom. With 3 seeds that differ, a crossed percentile bootstrap covers 71 to 80 % where this
    covers 91 to 95 %.

    Without two seeds and two queries there is no interval. Raises ValueError where a value is missing or not finite.
    """
    _check(values.ravel())
    mean, (seeds, queries) = float(values.mean()), values.shape
    if min(seeds, queries) < 2:  # noqa: PLR2004 - a spread takes two
        return Estimate(mean, None, None, seeds, f"{seeds} x {queries} (seeds x queries) show no spread of one or both")
    by_seed, by_query = values.mean(1), values.mean(0)
    rest = values - by_seed[:, None] - by_query + mean
    freedom = np.array([seeds - 1, queries - 1, (seeds - 1) * (queries - 1)])
    squares = np.array([queries * by_seed.var(ddof=1), seeds * by_query.var(ddof=1), (rest**2).sum() / freedom[2]])
    variance = max(squares[0] + squares[1] - squares[2], squares[0], squares[1])
    if variance <= (_ROUNDING * np.abs(values).max()) ** 2:
        return Estimate(mean, None, None, seeds, "all values are the same, so they show no spread")
    reach = _t(max(1.0, variance**2 / (squares**2 / freedom).sum()), level) * float(np.sqrt(variance / values.size))
    return Estimate(mean, mean - reach, mean + reach, seeds)


def clopper_pearson(successes: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share: `successes` out of `n` (Clopper and Pearson 1934)."""
    tail = (1 - level) / 2
    low = 0.0 if successes <= 0 else float(special.betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes >= n else float(special.betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def unit_totals(values: Array, clusters: Clusters | None) -> Array:
    """Return the sum of (n,) values by cluster, in the clusters' order: (units,); the values themselves without clusters."""
    if clusters is None:
        return values
    return np.bincount(np.unique(clusters, return_inverse=True)[1], weights=values).astype(np.float64, copy=False)


def jackknife(y: Array, x: Array, ratio: float) -> Array:
    """Return what each unit adds to the error of `ratio` = sum(y) / sum(x): (units,), with sd / sqrt(units) the standard error.

    It is (units - 1) * (ratio - ratio without the unit): value - mean for a plain mean. Leaving the unit out of the
    denominator, too, is what keeps few or uneven clusters honest.
    """
    return (y - ratio * x) * (len(x) - 1) / (x.sum() - x)


def _stretched(center: float, errors: Array, level: float, *, bend: float = 0.0) -> tuple[float, float]:
    """Return the t interval of `center`, its long-tailed side stretched by the skewness of the units' errors.

    Johnson (1978, JASA 73) shifts the interval by skewness * (1 + 2 t^2) / (6 sqrt(n)) standard errors. A shift takes from the
    short side what skewness, being estimated itself, may not warrant; so that side stays, and the other grows by
    exp(asinh(shift / t)): the shift's own size where it is small, and finite where it is large (ours).

    On a logarithmic scale the t statistic is larger by `bend` * t^2 / (2 sqrt(n)), to first order and with `bend` the coefficient
    of variation of a unit (log(1 + x) (1 + x) / x = 1 + x / 2 + ...), which comes off the shift.
    """
    n = len(errors)
    t = _t(n - 1, level)
    deviations = (errors - errors.mean()) / errors.std()
    shift = ((deviations**3).mean() * (1 + 2 * t * t) / 6 - bend * t * t / 2) / np.sqrt(n)
    stretch = float(np.arcsinh(shift / t))
    reach = t * _standard_error(errors)
    return center - reach * float(np.exp(max(0.0, -stretch))), center + reach * float(np.exp(max(0.0, stretch)))


def _wilson(share: float, error: float, n: int, level: float) -> tuple[float, float]:
    effective, t = share * (1 - share) / error**2, _t(n - 1, level)
    center = (share + t * t / (2 * effective)) / (1 + t * t / effective)
    reach = t / (1 + t * t / effective) * float(np.sqrt(share * (1 - share) / effective + (t / (2 * effective)) ** 2))
    return max(0.0, center - reach), min(1.0, center + reach)


def _standard_error(errors: Array) -> float:
    return float(errors.std(ddof=1) / np.sqrt(len(errors)))


def _t(freedom: float, level: float) -> float:
    return float(special.stdtrit(freedom, (1 + level) / 2))


def _check(values: Array) -> None:
    if not values.size:
        raise ValueError("there is no value to estimate from")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(values))} of {values.size} values are not finite")
