"""Many states merged into each document's, one after another; compiled by Numba.

`lidiag.pooling` defines what is computed here, and the tests hold each against the other. Only the score at each growth is
written, summed over query tokens: no merged state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidiag.kernels import kept_on_disk, power_of_two
from lidiag.pooling import MaxSim, Mean, Pooling, Softmax, TopK

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]

_ZERO, _ONE, _NOTHING = np.float32(0), np.float32(1), np.float32(-np.inf)
_LOG2_E = np.log2(np.e)


def totals(pooling: Pooling, state: Any, filler: Any, chosen: Positions, growth: Sequence[int]) -> NDArray[np.float64] | None:
    """Return every document's score, summed over query tokens, (growth, documents); None for a pooling not compiled.

    `state` is (tokens, documents), `filler` (tokens, fillers), `chosen` (documents, most) the fillers that each document
    takes, none of them empty; at growth n it has taken the first n - 1.
    """
    out = np.zeros((len(growth), len(chosen)))
    order = np.ascontiguousarray(chosen.T)
    taken = np.array(growth, dtype=np.int64) - 1
    n, m = (part.n.numpy().astype(np.float32) for part in (state, filler))
    match pooling:
        case MaxSim():
            _maximum(*_planes(state, filler, lambda s: s.maximum), order, taken, out)
        case TopK():
            _top(*_planes(state, filler, lambda s: s.values), n, m, order, taken, out)
        case Softmax(t):
            parts = (_planes(state, filler, lambda s, name=name: getattr(s, name)) for name in ("maximum", "mass", "weighted"))
            own, others = (np.stack(side) for side in zip(*parts, strict=True))
            _softmax(own, others, order, taken, np.float32(_LOG2_E / t), out)
        case Mean():
            _mean(*_planes(state, filler, lambda s: s.total), n, m, order, taken, out)
        case _:
            return None
    return out


def _planes(state: Any, filler: Any, part: Callable[[Any], Any]) -> tuple[Floats, Floats]:
    own, others = (np.ascontiguousarray(part(s).numpy(), dtype=np.float32) for s in (state, filler))
    return own, others


@kept_on_disk
def _maximum(own: Floats, others: Floats, order: Positions, taken: Positions, out: NDArray[np.float64]) -> None:
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
    own: Floats, others: Floats, n: Floats, m: Floats, order: Positions, taken: Positions, out: NDArray[np.float64]
) -> None:
    k = np.float32(own.shape[2])
    last = own.shape[2] - 1
    best = np.empty(last + 1, np.float32)
    for t in range(len(own)):
        for d in range(own.shape[1]):
            best[:] = own[t, d]
            size, done = n[d], 0
            for g in range(len(taken)):
                for c in range(done, taken[g]):
                    size += m[order[c, d]]
                    for value in others[t, order[c, d]]:
                        if value <= best[last]:
                            break
                        place = last
                        while place > 0 and best[place - 1] < value:
                            best[place] = best[place - 1]
                            place -= 1
                        best[place] = value
                done = max(done, taken[g])
                out[g, d] += _total(best) / min(k, size)


@kept_on_disk
def _total(best: Floats) -> np.float32:
    total = _ZERO
    for value in best:
        if value > _NOTHING:
            total += value
    return total


@kept_on_disk
def _softmax(  # noqa: PLR0913, PLR0917 - arrays one by one
    own: Floats, others: Floats, order: Positions, taken: Positions, scale: np.float32, out: NDArray[np.float64]
) -> None:
    # Both sides hold maximum, mass and weighted sum; scale = log2(e) / temperature.
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
    own: Floats, others: Floats, n: Floats, m: Floats, order: Positions, taken: Positions, out: NDArray[np.float64]
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
