"""Many states merged into each document's, one after another; compiled by Numba.

`lidiag.pooling` defines what is computed here, and the tests hold each against the other. Only the score at each growth is
written, summed over query tokens: no merged state. The lanes of a vector register are documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidiag.kernels import kept_on_disk, power_of_two
from lidiag.pooling import MaxSim, Mean, Pooling, Softmax, TopK

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]
Order = NDArray[np.uint32]  # as no position is below 0, none has to be looked at before it is used

_LANES = 256  # documents merged at a time: what they hold stays in the first-level cache
_TILE = 32
_ZERO, _ONE, _NOTHING = np.float32(0), np.float32(1), np.float32(-np.inf)
LOG2_E = np.log2(np.e)
_REACH = 100.0  # 2**-100 times a mass, which is 1 at least, is a normal number


@dataclass(frozen=True, eq=False)
class Lanes:
    """A (tokens, documents) state laid out for merging: its `parts` (parts, tokens, documents), and `n` vectors per document.

    `aligned` says that all maxima of a token are the same, here and in what is merged with it: masses then only add up.
    """

    parts: Floats
    n: Floats
    aligned: bool = False

    @classmethod
    def of(cls, pooling: Pooling, state: Any, documents: Positions) -> Lanes:
        """Lay out the state of the `documents`, none of them empty."""
        match pooling:
            case MaxSim():
                sources = [state.maximum]
            case TopK():
                sources = state.values.unbind(-1)
            case Softmax():
                sources = [state.maximum, state.mass, state.weighted]
            case Mean():
                sources = [state.total]
            case _:
                raise TypeError(f"{pooling!r} has no compiled merge")
        parts = np.empty((len(sources), len(sources[0]), len(documents)), np.float32)
        for source, part in zip(sources, parts, strict=True):
            _lay_out(source.T.numpy(), documents, part)
        return cls(parts, state.n.numpy()[documents].astype(np.float32))


def aligned(pooling: Pooling, sides: Sequence[Lanes]) -> list[Lanes]:
    """Bring the masses of a softmax's states to one maximum for each query token, where none becomes too small for fp32."""
    if not isinstance(pooling, Softmax):
        return list(sides)
    scale = np.float32(LOG2_E / pooling.t)
    top = np.max([side.parts[0].max(1) for side in sides], 0)
    low = np.min([side.parts[0].min(1) for side in sides], 0)
    if ((top.astype(np.float64) - low) * scale > _REACH).any():
        return list(sides)
    for side in sides:
        _align(side.parts, top, scale)
    return [Lanes(side.parts, side.n, aligned=True) for side in sides]


def totals(pooling: Pooling, own: Lanes, others: Lanes, chosen: NDArray[np.int32], growth: Sequence[int]) -> NDArray[np.float64]:
    """Return every document's score, summed over query tokens, (growth, documents), for rising growths.

    `chosen` (documents, most) are the fillers that each document takes, as positions in `others`; at growth n it has taken the
    first n - 1. The sums are made anew and alike at every growth: documents that owe their whole score to the same filler are
    tied exactly.
    """
    out = np.zeros((len(growth), len(chosen)))
    order = np.ascontiguousarray(chosen.T, dtype=np.uint32)
    taken = np.array(growth, dtype=np.int64) - 1
    match pooling:
        case TopK():
            _top(own.parts, others.parts, own.n, others.n, order, taken, out)
        case Softmax() if own.aligned and others.aligned:
            _masses(own.parts, others.parts, order, taken, out)
        case Softmax(t):
            _softmax(own.parts, others.parts, order, taken, np.float32(LOG2_E / t), out)
        case Mean():
            _mean(own.parts[0], others.parts[0], own.n, others.n, order, taken, out)
        case _:
            _maximum(own.parts[0], others.parts[0], order, taken, out)
    return out


@kept_on_disk
def _lay_out(source: Floats, documents: Positions, out: Floats) -> None:
    # Tile by tile, for a document's tokens lie side by side in `source` and its documents in `out`.
    for left in range(0, len(documents), _TILE):
        right = min(left + _TILE, len(documents))
        for t in range(len(out)):
            row = out[t]
            for d in range(left, right):
                row[d] = source[documents[d], t]


@kept_on_disk
def _align(parts: Floats, top: Floats, scale: np.float32) -> None:
    for t in range(len(top)):
        maximum, mass, weighted = parts[0, t], parts[1, t], parts[2, t]
        for d in range(len(maximum)):
            ratio = power_of_two((maximum[d] - top[t]) * scale)
            mass[d] *= ratio
            weighted[d] *= ratio
            maximum[d] = top[t]


@kept_on_disk
def _maximum(own: Floats, others: Floats, order: Order, taken: Positions, out: NDArray[np.float64]) -> None:
    documents = own.shape[1]
    best = np.empty(documents, np.float32)
    for t in range(len(own)):
        best[:] = own[t]
        done = 0
        for g in range(len(taken)):
            for c in range(done, taken[g]):
                for d in range(documents):
                    best[d] = max(best[d], others[t, order[c, d]])
            done = max(done, taken[g])
            for d in range(documents):
                out[g, d] += best[d]


@kept_on_disk
def _top(  # noqa: PLR0913, PLR0917 - arrays one by one
    own: Floats, others: Floats, n: Floats, m: Floats, order: Order, taken: Positions, out: NDArray[np.float64]
) -> None:
    k = len(own)
    best, passing = np.empty((k, _LANES), np.float32), np.empty(_LANES, np.float32)
    size, total = np.empty(_LANES, np.float32), np.empty(_LANES, np.float32)
    for left in range(0, len(n), _LANES):
        width = min(_LANES, len(n) - left)
        for t in range(own.shape[1]):
            best[:, :width] = own[:, t, left : left + width]
            size[:width] = n[left : left + width]
            done = 0
            for g in range(len(taken)):
                for c in range(done, taken[g]):
                    fillers = order[c, left : left + width]
                    for d in range(width):
                        size[d] += m[fillers[d]]
                    _take(others, t, fillers, best, passing)
                done = max(done, taken[g])
                total[:] = _ZERO
                for i in range(k):
                    for d in range(width):
                        total[d] += best[i, d] if best[i, d] > _NOTHING else _ZERO
                for d in range(width):
                    out[g, left + d] += total[d] / min(np.float32(k), size[d])


@kept_on_disk
def _take(others: Floats, t: int, fillers: Order, best: Floats, passing: Floats) -> None:
    # A place keeps the larger value and passes the smaller one on. As a filler's values fall, its second cannot reach the
    # first place, nor its third the second; and where none reaches the last place, the lower ones do not either.
    last = best[len(best) - 1]
    for i in range(len(best)):
        values, above = others[i, t], 0
        for d in range(len(fillers)):
            passing[d] = values[fillers[d]]
            above |= passing[d] > last[d]
        if not above:
            break
        for place in range(i, len(best)):
            kept = best[place]
            for d in range(len(fillers)):
                a, b = kept[d], passing[d]
                kept[d], passing[d] = a if a > b else b, b if a > b else a  # noqa: FURB136 - `max` minds NaN


@kept_on_disk
def _masses(own: Floats, others: Floats, order: Order, taken: Positions, out: NDArray[np.float64]) -> None:
    # Both sides hold maximum, mass and weighted sum, and all maxima of a token are the same.
    mass, weighted = np.empty(_LANES, np.float32), np.empty(_LANES, np.float32)
    for left in range(0, own.shape[2], _LANES):
        width = min(_LANES, own.shape[2] - left)
        for t in range(own.shape[1]):
            mass[:width], weighted[:width] = own[1, t, left : left + width], own[2, t, left : left + width]
            a, b = others[1, t], others[2, t]
            done = 0
            for g in range(len(taken)):
                for c in range(done, taken[g]):
                    fillers = order[c, left : left + width]
                    for d in range(width):
                        mass[d] += a[fillers[d]]
                        weighted[d] += b[fillers[d]]
                done = max(done, taken[g])
                sums = out[g, left : left + width]
                for d in range(width):
                    sums[d] += weighted[d] / mass[d]


@kept_on_disk
def _softmax(  # noqa: PLR0913, PLR0917 - arrays one by one
    own: Floats, others: Floats, order: Order, taken: Positions, scale: np.float32, out: NDArray[np.float64]
) -> None:
    # As above, but each with a maximum of its own; scale = log2(e) / temperature.
    documents = own.shape[2]
    top, mass, weighted = np.empty(documents, np.float32), np.empty(documents, np.float32), np.empty(documents, np.float32)
    for t in range(own.shape[1]):
        top[:], mass[:], weighted[:] = own[0, t], own[1, t], own[2, t]
        done = 0
        for g in range(len(taken)):
            for c in range(done, taken[g]):
                for d in range(documents):
                    filler = order[c, d]
                    other = others[0, t, filler]
                    # The side with the lower maximum is scaled down to the other's.
                    lower = other <= top[d]
                    ratio = power_of_two((other - top[d] if lower else top[d] - other) * scale)
                    ours, theirs = _ONE if lower else ratio, ratio if lower else _ONE
                    top[d] = top[d] if lower else other
                    mass[d] = mass[d] * ours + others[1, t, filler] * theirs
                    weighted[d] = weighted[d] * ours + others[2, t, filler] * theirs
            done = max(done, taken[g])
            for d in range(documents):
                out[g, d] += weighted[d] / mass[d]


@kept_on_disk
def _mean(  # noqa: PLR0913, PLR0917 - arrays one by one
    own: Floats, others: Floats, n: Floats, m: Floats, order: Order, taken: Positions, out: NDArray[np.float64]
) -> None:
    for t in range(len(own)):
        for d in range(own.shape[1]):
            total, size, done = own[t, d], n[d], 0
            for g in range(len(taken)):
                for c in range(done, taken[g]):
                    total += others[t, order[c, d]]
                    size += m[order[c, d]]
                done = max(done, taken[g])
                out[g, d] += total / size
