"""Statistics: seeded, vectorised, no torch. The unit is the query, or a cluster of queries that share a fact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, n units, and why there is no interval where there is none."""

    value: float
    low: float | None
    high: float | None
    n: int
    no_interval: str | None = None


def mean_interval(values: Array, *, clusters: NDArray[np.int64] | None = None, share: bool = False, level: float = 0.95) -> Estimate:
    """Return the mean of (n,) values with a t interval, clustered where `clusters` (n,) says so.

    A share at exactly 0 or 1 gets the Clopper-Pearson bound with n units, and no share's interval leaves [0, 1].
    """
    raise NotImplementedError


def ratio_interval(values: Array, base: Array, *, clusters: NDArray[np.int64] | None = None, level: float = 0.95) -> Estimate:
    """Return sum(values) / sum(base) with the log-delta t interval of e = y / mean(y) - x / mean(x)."""
    raise NotImplementedError
