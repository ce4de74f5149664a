"""How scores go with the lengths of documents, query by query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lidiag import stats
from lidiag.bench import Bench
from lidiag.pooling import Hybrid, Scoring, Single
from lidiag.similarity import Block

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
        scores = _finite(block.scores(scoring), mask)
        first, middle, last = self.prefixes or (1, 1, 1)
        found = {
            "rho": stats.spearman(scores, self.lengths, mask),
            "sd": _spread(scores, mask),
            "slope_between": stats.slope_per_doubling(np.maximum(self.lengths, 1), scores, mask & (self.lengths >= first)) / tokens,
        }
        if self.prefixes and has_prefixes(scoring):
            cut = {prefix: _finite(block.prefixes[prefix].scores(scoring), mask) for prefix in self.prefixes}
            # Over three points a doubling apart this is the least-squares slope.
            found["slope_within"] = mean((cut[last] - cut[first]) / 2, mask & (self.lengths >= last)) / tokens
            found["rho_topic"] = stats.spearman(cut[middle], self.lengths, mask & (self.lengths >= middle))
        return found


def _finite(scores: Tensor, mask: Mask) -> Array:
    return np.where(mask, scores.double().numpy(), 0.0)


def mean(values: Array, mask: Mask) -> Array:
    """Return the mean of each row's values in the mask; NaN where there is none."""
    n = mask.sum(1)
    return np.divide(np.where(mask, values, 0.0).sum(1), n, out=np.full(len(values), np.nan), where=n > 0)


def _spread(values: Array, mask: Mask) -> Array:
    centred = np.where(mask, values - mean(values, mask)[:, None], 0.0)
    deviation = np.sqrt((centred**2).sum(1) / np.maximum(mask.sum(1) - 1, 1))
    return np.where(deviation > 0, deviation, np.nan)
