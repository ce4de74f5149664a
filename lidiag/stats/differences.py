"""Paired differences: how large, how likely by chance, and how small one could have been seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lidiag.stats.intervals import Array, Clusters, Estimate, jackknife, mean_interval, unit_totals
from lidiag.stats.many import sign_flip_ps


@dataclass(frozen=True)
class Difference:
    """A paired difference: its estimate, its two-sided p, and what would have been seen 4 times in 5 (None for one unit)."""

    estimate: Estimate
    p: float
    detectable: float | None


def paired_difference(a: Array, b: Array, *, rng: np.random.Generator, clusters: Clusters | None = None, draws: int = 9_999) -> Difference:
    """Compare (n,) values of `a` and `b` on the same queries: the mean of a - b, with its interval and p.

    Raises ValueError where the shapes differ, there is no value, or one is not finite.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired values must match: {a.shape} and {b.shape}")
    differences = a - b
    estimate = mean_interval(differences, clusters=clusters)
    detectable = None if estimate.n == 1 else minimum_detectable_effect(differences, clusters=clusters)
    return Difference(estimate, sign_flip_p(differences, rng=rng, clusters=clusters, draws=draws), detectable)


def sign_flip_p(differences: Array, *, rng: np.random.Generator, clusters: Clusters | None = None, draws: int = 9_999) -> float:
    """Return the two-sided p of a mean of (n,) paired differences under random signs, one sign per cluster; never 0.

    Exact where all signs number at most `draws` + 1; else (b + 1) / (draws + 1) (Phipson and Smyth 2010).
    """
    totals = unit_totals(differences, clusters)
    totals = totals[totals != 0]
    if not len(totals):
        return 1.0
    return float(sign_flip_ps(totals[:, None], rng=rng, draws=draws)[0])


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Return (m,) p values adjusted for the false discovery rate (Benjamini and Hochberg 1995), in the order given.

    Raises ValueError where one is not between 0 and 1.
    """
    given = np.asarray(p, dtype=np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError("p values lie between 0 and 1")
    falling = np.argsort(-given)
    scaled = given[falling] * len(given) / np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[falling] = np.minimum.accumulate(scaled)
    return adjusted


def minimum_detectable_effect(differences: Array, *, power: float = 0.8, clusters: Clusters | None = None, level: float = 0.95) -> float:
    """Return the mean difference that these (n,) queries would show with `power`: 2.80 sd / sqrt(n) at 80 %, 3.60 at 95 %.

    Raises ValueError where there are fewer than two units.
    """
    totals, sizes = unit_totals(differences, clusters), unit_totals(np.ones_like(differences), clusters)
    if len(totals) < 2:  # noqa: PLR2004 - a spread takes two
        raise ValueError(f"{len(totals)} unit shows no spread, so what it could detect is unknown")
    errors = jackknife(totals, sizes, float(differences.mean()))
    return float((special.ndtri((1 + level) / 2) + special.ndtri(power)) * errors.std(ddof=1) / np.sqrt(len(errors)))
