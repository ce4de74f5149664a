"""States of injected vectors merged into states of documents, many sets at once; compiled by Numba.

`lidiag.pooling` defines what is computed here (merge, score and share), and the tests hold each against the other. Only
what a sweep over injections keeps is written: sums over query tokens, no merged state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidiag.kernels import kept_on_disk, power_of_two
from lidiag.pooling import MaxSim, Mean, Pooling, Softmax, TopK

from ._growth_kernels import Lanes

_LANES = 512  # documents merged at a time: their sums stay in the first-level cache, their states in the second-level one
_ZERO, _ONE, _NOTHING = np.float32(0), np.float32(1), np.float32(-np.inf)
_LOG2_E = np.log2(np.e)

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Merged:
    """Sums over the query's `tokens`: `sums` (3, sets, documents) holds `gained`, `positive` and `share`."""

    tokens: int
    sums: Floats

    @property
    def gained(self) -> Floats:
        """Phi with the set - phi without."""
        return self.sums[0]

    @property
    def positive(self) -> Floats:
        """The same, of gains above 0 only."""
        return self.sums[1]

    @property
    def share(self) -> Floats:
        """The share of the pooled weight that is on the set."""
        return self.sums[2]


@dataclass(frozen=True, eq=False)
class Documents:
    """States of documents, none empty, laid out for the kernels: `n` (documents,) and `own`, (..., tokens, documents)."""

    pooling: Pooling
    n: Floats
    own: Floats

    @classmethod
    def of(cls, pooling: Pooling, state: Any, documents: NDArray[np.int64]) -> Documents:
        """Lay out the `documents` of a state (tokens, documents).

        Raises:
            TypeError: the pooling has no compiled merge.
        """
        lanes = Lanes.of(pooling, state, documents)
        return cls(pooling, lanes.n, lanes.parts[0] if isinstance(pooling, (MaxSim, Mean)) else lanes.parts)

    def merged(self, sets: Any) -> Merged:
        """Merge each of the sets, a state (tokens, sets), into every document."""
        laid_out = Documents.of(self.pooling, sets, np.arange(len(sets.n)))
        part, m = laid_out.own, laid_out.n
        out = np.zeros((3, len(m), len(self.n)), dtype=np.float32)
        match self.pooling:
            case MaxSim():
                _maximum(self.own, part, out)
            case TopK():
                _top(self.own, self.n, part, m, out)
            case Softmax(t):
                _softmax(self.own, part, np.float32(_LOG2_E / t), out)
            case _:
                _mean(self.own, self.n, part, m, out)
        return Merged(self.own.shape[-2], out)


@kept_on_disk
def _maximum(own: Floats, part: Floats, out: Floats) -> None:
    for left in range(0, own.shape[1], _LANES):
        right = min(left + _LANES, own.shape[1])
        for c in range(part.shape[1]):
            sums, wins = out[0, c, left:right], out[2, c, left:right]
            for t in range(len(own)):
                s, row = part[t, c], own[t, left:right]
                for d in range(right - left):
                    sums[d] += max(s - row[d], _ZERO)
                    wins[d] += _ONE if s > row[d] else _ZERO
    out[1] = out[0]


@kept_on_disk
def _top(own: Floats, n: Floats, part: Floats, m: Floats, out: Floats) -> None:
    k, tokens = np.float32(len(own)), own.shape[1]
    nothing = np.full(len(own), _NOTHING)
    before = np.empty((tokens, _LANES), np.float32)
    after, taken = np.empty(_LANES, np.float32), np.empty(_LANES, np.float32)
    for left in range(0, len(n), _LANES):
        right = min(left + _LANES, len(n))
        size = n[left:right]
        full = size.min() >= k
        for t in range(tokens):
            _best(own, t, left, size, nothing, _ZERO, before[t], taken, full)
        for c in range(len(m)):
            sums, above, wins = out[0, c, left:right], out[1, c, left:right], out[2, c, left:right]
            for t in range(tokens):
                _best(own, t, left, size, part[:, t, c], m[c], after, taken, full)
                row = before[t]
                for d in range(right - left):
                    gain = after[d] - row[d]
                    sums[d] += gain
                    above[d] += max(gain, _ZERO)
                    wins[d] += taken[d]
        if full:
            out[:, :, left:right] /= k


@kept_on_disk
def _best(own: Floats, t: int, left: int, n: Floats, part: Floats, m: np.float32, total: Floats, taken: Floats, full: bool) -> None:  # noqa: PLR0913, PLR0917
    """Write the sums of the k best of both, and how many the set gives; their means, unless all documents are `full`."""
    # Of two falling rows of k the set gives its place j where it beats the document's place k - 1 - j.
    k, whole = len(own), len(own) // 4 * 4 if full else 0
    total[:], taken[:] = _ZERO, _ZERO
    for i in range(0, whole, 4):  # four at a time: the sums are loaded and stored once
        right = left + len(n)
        r0, r1, r2, r3 = own[i, t, left:right], own[i + 1, t, left:right], own[i + 2, t, left:right], own[i + 3, t, left:right]
        y0, y1, y2, y3 = part[k - 1 - i], part[k - 2 - i], part[k - 3 - i], part[k - 4 - i]
        for d in range(len(n)):
            total[d] += (max(y0, r0[d]) + max(y1, r1[d])) + (max(y2, r2[d]) + max(y3, r3[d]))
            taken[d] += (
                (_ONE if y0 > r0[d] else _ZERO)
                + (_ONE if y1 > r1[d] else _ZERO)
                + (_ONE if y2 > r2[d] else _ZERO)
                + (_ONE if y3 > r3[d] else _ZERO)
            )
    for i in range(whole, k):
        y, row = part[k - 1 - i], own[i, t, left : left + len(n)]
        for d in range(len(n)):
            best = max(y, row[d])
            total[d] += best if best > _NOTHING else _ZERO
            taken[d] += _ONE if y > row[d] else _ZERO
    if not full:
        for d in range(len(n)):
            kept = min(np.float32(k), n[d] + m)
            total[d] /= kept
            taken[d] /= kept


@kept_on_disk
def _softmax(own: Floats, part: Floats, scale: np.float32, out: Floats) -> None:
    # `own` and `part` hold maximum, mass and weighted sum; scale = log2(e) / temperature.
    before = np.empty((own.shape[1], _LANES), np.float32)
    for left in range(0, own.shape[2], _LANES):
        right = min(left + _LANES, own.shape[2])
        for t in range(own.shape[1]):
            before[t, : right - left] = own[2, t, left:right] / own[1, t, left:right]
        for c in range(part.shape[2]):
            sums, above, weight = out[0, c, left:right], out[1, c, left:right], out[2, c, left:right]
            for t in range(own.shape[1]):
                top, a, b, row = own[0, t, left:right], own[1, t, left:right], own[2, t, left:right], before[t]
                s, x, y = part[0, t, c], part[1, t, c], part[2, t, c]
                for d in range(right - left):
                    # The side with the lower maximum is scaled down to the other's.
                    lower = s <= top[d]
                    ratio = power_of_two((s - top[d] if lower else top[d] - s) * scale)
                    ours, theirs = _ONE if lower else ratio, ratio if lower else _ONE
                    mass = a[d] * ours + x * theirs
                    gain = (b[d] * ours + y * theirs) / mass - row[d]
                    sums[d] += gain
                    above[d] += max(gain, _ZERO)
                    weight[d] += x * theirs / mass


@kept_on_disk
def _mean(own: Floats, n: Floats, part: Floats, m: Floats, out: Floats) -> None:
    for t in range(len(own)):
        for c in range(len(m)):
            for d in range(len(n)):
                after = n[d] + m[c]
                gain = (own[t, d] + part[t, c]) / after - own[t, d] / n[d]
                out[0, c, d] += gain
                out[1, c, d] += max(gain, _ZERO)
                out[2, c, d] += m[c] / after
