"""Ranks that say what the data can: models that cannot be told apart share one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lidiag.samples import Sample
from lidiag.stats import benjamini_hochberg
from lidiag.stats.intervals import Array, unit_totals

LEVEL = 0.05


def pseudo_values(sample: Sample) -> Array:
    """Return (units,) numbers whose mean is the measurement's value and whose spread is its error's (ours).

    With y and x the totals of a unit's values and base (1 for a mean): ratio + (y - ratio * x) / mean(x). For the mean of
    independent queries these are the values themselves. A ratio or a cluster becomes comparable pair by pair.
    """
    base = np.ones_like(sample.values) if sample.base is None else sample.base
    y, x = unit_totals(sample.values, sample.clusters), unit_totals(base, sample.clusters)
    ratio = y.sum() / x.sum()
    return ratio + (y - ratio * x) / x.mean()


def on_common_queries(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples cut to the queries that all have, in one order, with the first one's clusters."""
    common = sorted(set.intersection(*(set(sample.queries.tolist()) for sample in samples)))
    places = [dict(zip(sample.queries.tolist(), range(len(sample.queries)), strict=True)) for sample in samples]
    rows = [np.array([place[query] for query in common], dtype=np.int64) for place in places]
    clusters = None if samples[0].clusters is None else samples[0].clusters[rows[0]]
    return [
        Sample(sample.queries[row], sample.values[row], None if sample.base is None else sample.base[row], clusters)
        for sample, row in zip(samples, rows, strict=True)
    ]


def ranks(values: Array, *, falling: bool = True) -> NDArray[np.int64]:
    """Return (models,) ranks from (units, models) pseudo-values: 1 + the number of models that are shown to be better.

    Shown: a paired t test, two-sided, with Benjamini and Hochberg's adjustment over all pairs at 5 %. `falling`: high is good.
    """
    units, models = values.shape
    if models == 1 or units == 1:
        return np.ones(models, dtype=np.int64)
    means = values.mean(axis=0)
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    spread = np.diag(covariance)[:, None] + np.diag(covariance)[None, :] - 2 * covariance
    gap = means[:, None] - means[None, :] if falling else means[None, :] - means[:, None]
    error = np.sqrt(np.maximum(spread, 1e-15) / units)
    p = 2 * special.stdtr(units - 1, -np.abs(gap) / error)
    upper = np.triu_indices(models, 1)
    adjusted = np.ones((models, models))
    adjusted[upper] = benjamini_hochberg(np.minimum(1.0, p[upper]))
    adjusted = np.minimum(adjusted, adjusted.T)
    beaten = (adjusted < LEVEL) & (gap < 0)
    return 1 + beaten.sum(axis=1)
