"""How unequally a total is spread over its parts: gradients over document vectors, wins over vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def gini(values: ArrayLike) -> Array:
    """Return the Gini coefficient over the last axis of (..., m) values, none negative: (...,), from 0 to 1 - 1/m.

    NaN where a row sums to 0 or is empty: nothing is spread there. Raises ValueError for a negative or non-finite value.
    """
    rising = np.sort(_checked(values), axis=-1)
    m = rising.shape[-1]
    weights = 2 * np.arange(1, m + 1) - m - 1
    return _divide((rising * weights).sum(-1), m * rising.sum(-1))


def gini_paper(values: ArrayLike) -> Array:
    """Return 1 - 2 / (m * sum g) * sum over j of the j smallest, over the last axis: `gini` - 1/m.

    Source: Spike Hijacking in Late-Interaction Retrieval (arXiv 2604.05253).
    """
    data = _checked(values)
    return gini(data) - 1 / max(data.shape[-1], 1)


def n_eff(values: ArrayLike) -> Array:
    """Return the effective number of parts, (sum g)^2 / sum g^2, over the last axis; NaN where a row sums to 0."""
    data = _checked(values)
    scale = data.max(-1, keepdims=True, initial=0.0)
    data = np.divide(data, scale, out=np.zeros_like(data), where=scale > 0)  # squares of tiny gradients would underflow
    return _divide(data.sum(-1) ** 2, (data**2).sum(-1))


def _checked(values: ArrayLike) -> Array:
    data = np.asarray(values, dtype=np.float64)
    if not np.isfinite(data).all() or (data < 0).any():
        raise ValueError("parts of a total must be finite and not negative")
    return data


def _divide(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=b > 0)
