"""Statistics of ranks and slopes, over the last axis of many rows at once. A mask (True: counts) leaves columns out by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_ROUNDING = 1e-12


def average_ranks(values: ArrayLike, mask: ArrayLike | None = None) -> Array:
    """Return the ranks 1..n of (..., n) values over the last axis, ties sharing their mean rank; 0 where masked out.

    Raises ValueError where a value that counts is NaN or +inf (-inf, the score of an empty document, ranks last).
    """
    data, counts = _checked(values, mask)
    order = np.argsort(np.where(counts, data, np.inf), axis=-1)
    rising = np.take_along_axis(data, order, axis=-1)
    position = np.broadcast_to(np.arange(data.shape[-1]), data.shape)
    starts = np.ones(data.shape, dtype=bool)
    starts[..., 1:] = rising[..., 1:] != rising[..., :-1]
    # What is left out sorts behind what counts, and must not be tied with it.
    starts |= position == counts.sum(-1, keepdims=True)
    ends = np.ones(data.shape, dtype=bool)
    ends[..., :-1] = starts[..., 1:]
    first = np.maximum.accumulate(np.where(starts, position, 0), axis=-1)
    last = np.flip(np.minimum.accumulate(np.flip(np.where(ends, position, data.shape[-1]), -1), axis=-1), -1)
    ranks = np.empty(data.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=-1)
    return np.where(counts, ranks, 0.0)


def spearman(a: ArrayLike, b: ArrayLike, mask: ArrayLike | None = None) -> Array:
    """Return the rank correlation of (..., n) `a` and `b` over the last axis, ties with mean ranks: (...,).

    `a`, `b` and `mask` broadcast against each other. NaN where one of both is constant or fewer than two columns count.
    Raises ValueError where a value that counts is NaN or +inf.
    """
    shape = np.broadcast_shapes(np.shape(a), np.shape(b), () if mask is None else np.shape(mask))
    counts = np.broadcast_to(np.ones((), dtype=bool) if mask is None else np.asarray(mask, dtype=bool), shape)
    x, y = (_centred(average_ranks(np.broadcast_to(np.asarray(v), shape), counts), counts) for v in (a, b))
    return _divide((x * y).sum(-1), np.sqrt((x**2).sum(-1) * (y**2).sum(-1)))


def auc(scores: ArrayLike, positive: ArrayLike, mask: ArrayLike | None = None) -> Array:
    """Return how often a positive outscores a negative of its row (ties count half): (..., n) -> (...,), Mann-Whitney.

    For one pooled value, pass flat arrays. NaN where a row has no positive or no negative.
    Raises ValueError where a score that counts is NaN or +inf.
    """
    data, counts = _checked(scores, mask)
    hits = np.broadcast_to(np.asarray(positive, dtype=bool), data.shape) & counts
    n_hits, n = hits.sum(-1), counts.sum(-1)
    wins = (average_ranks(data, counts) * hits).sum(-1) - n_hits * (n_hits + 1) / 2
    return _divide(wins, n_hits * (n - n_hits))


def slope_per_doubling(lengths: ArrayLike, values: ArrayLike, mask: ArrayLike | None = None) -> Array:
    """Return the least-squares slope of (..., n) `values` against log2 of `lengths`, over the last axis: (...,).

    All three arguments broadcast against each other. NaN where all lengths that count are equal.
    Raises ValueError where a length that counts is not above 0, or a value that counts is not finite.
    """
    shape = np.broadcast_shapes(np.shape(lengths), np.shape(values), () if mask is None else np.shape(mask))
    size, counts = _checked(np.broadcast_to(np.asarray(lengths, dtype=np.float64), shape), mask)
    data, _ = _checked(np.broadcast_to(np.asarray(values, dtype=np.float64), shape), mask)
    if (counts & ((size <= 0) | np.isinf(data))).any():
        raise ValueError("a slope per doubling takes lengths above 0 and finite values")
    x = _centred(np.log2(np.where(counts, size, 1.0)), counts)
    return _divide((x * np.where(counts, data, 0.0)).sum(-1), (x**2).sum(-1))


def _checked(values: ArrayLike, mask: ArrayLike | None) -> tuple[Array, Mask]:
    data = np.asarray(values, dtype=np.float64)
    counts = np.ones(data.shape, dtype=bool) if mask is None else np.broadcast_to(np.asarray(mask, dtype=bool), data.shape)
    if (counts & (np.isnan(data) | np.isposinf(data))).any():
        raise ValueError("a value that counts is NaN or +inf; mask it out if it is missing")
    return data, counts


def _centred(values: Array, counts: Mask) -> Array:
    """Subtract the mean of what counts; 0 elsewhere, and in rows that are constant but for rounding."""
    kept = np.where(counts, values, 0.0)
    mean = kept.sum(-1, keepdims=True) / np.maximum(counts.sum(-1, keepdims=True), 1)
    deviations = np.where(counts, kept - mean, 0.0)
    size, spread = (np.abs(part).max(-1, keepdims=True, initial=0.0) for part in (kept, deviations))
    return np.where(spread <= _ROUNDING * size, 0.0, deviations)


def _divide(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=np.asarray(b) > 0)
