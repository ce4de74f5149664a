"""How scores go with the lengths of documents, query by query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lidiag.bench import Bench
from lidiag.pooling import Hybrid, Scoring, Single
from lidiag.similarity import Block

from . import _length_kernels as kernels

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_REACHED_BY = 0.2  # of the documents, so that what is said of prefixes is not said of a few giants
_SHORTEST = 8


def prefixes(lengths: NDArray[np.int64], longest: int) -> tuple[int, ...]:
    """Return p / 4, p / 2 and p, with p the longest of `longest`, its half, its quarter ... that a fifth of the documents reach.

    Empty where even 8 vectors are too many.
    """
    while longest >= _SHORTEST:
        if (lengths >= longest).mean() >= _REACHED_BY:
            return longest // 4, longest // 2, longest
        longest //= 2
    return ()


def has_prefixes(scoring: Scoring) -> bool:
    """Say whether a document's first vectors have a score of their own: not where a vector of the whole is part of it."""
    return not isinstance(scoring, (Single, Hybrid))


def not_relevant(bench: Bench, queries: range) -> Mask:
    """Return (queries, documents): neither empty nor relevant to the query."""
    mask = np.repeat((bench.lengths > 0)[None], len(queries), 0)
    for row, query in enumerate(queries):
        mask[row, bench.relevant[query]] = False
    return mask


@dataclass(frozen=True, eq=False)
class Lengths:
    """Documents of (n,) `lengths`, and the prefixes at which they are cut: three that double, or none."""

    lengths: NDArray[np.int64]
    prefixes: tuple[int, ...]

    def effects(self, block: Block, scoring: Scoring, mask: Mask) -> dict[str, Array]:
        """Measure every query of a block over the documents in `mask` (queries, documents); NaN where there is no spread.

        `rho`, the rank correlation of score and length; the scores' `sd`; `slope_between` and `slope_within`, per doubling of
        length and query token; `rho_topic`, the rank correlation of the middle prefix's score and the full length.
        """
        tokens = np.maximum(block.offsets.diff().numpy(), 1)
        scores = _floats(block.scores(scoring))
        shortest = self.prefixes[0] if self.prefixes else 1
        means, deviations = kernels.spread(scores, mask)
        if np.isinf(means).any() or (np.isnan(means) & mask.any(1)).any():
            raise ValueError("a score that counts is not finite")
        found = {
            "rho": kernels.spearman(scores, self.lengths, self._classes, mask, 0),
            "sd": deviations,
            "slope_between": kernels.slope(scores, self._doublings, self.lengths, mask, shortest) / tokens,
        }
        if self.prefixes and has_prefixes(scoring):
            first, middle, last = (_floats(block.prefixes[prefix].scores(scoring)) for prefix in self.prefixes)
            _, half, whole = self.prefixes
            # Over three points a doubling apart this is the least-squares slope.
            found["slope_within"] = kernels.gain(first, last, self.lengths, mask, whole) / 2 / tokens
            found["rho_topic"] = kernels.spearman(middle, self.lengths, self._classes, mask, half)
        return found

    @cached_property
    def _classes(self) -> NDArray[np.int64]:
        return np.unique(self.lengths, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def _doublings(self) -> Array:
        return np.log2(np.maximum(self.lengths, 1))


def _floats(scores: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(scores.numpy(), dtype=np.float32)


def mean(values: Array, mask: Mask) -> Array:
    """Return the mean of each row's values in the mask; NaN where there is none."""
    n = mask.sum(1)
    return np.divide(np.where(mask, values, 0.0).sum(1), n, out=np.full(len(values), np.nan), where=n > 0)
