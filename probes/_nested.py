"""States of the first k vectors of a set, for many k at once: one walk over the set instead of one per k; compiled by Numba.

`lidiag.pooling` defines what a state is, and the tests hold each against the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.kernels import kept_on_disk, loosely_kept_on_disk, power_of_two
from lidiag.pooling import MaxSim, MaxState, Mean, MeanState, Pooling, Softmax, SoftState, TopK, TopState

_ZERO, _NOTHING = np.float32(0), np.float32(-np.inf)
_LOG2_E = np.log2(np.e)

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


def nested(pooling: Pooling, similarities: Tensor, sizes: Sequence[int]) -> Any:
    """Pool the first `sizes` (rising, 0 allowed) of each set of (tokens, sets, most) similarities in fp32.

    Returns a state (tokens, sets * sizes), the sizes of one set beside each other, with `n` (sets * sizes,).

    Raises:
        TypeError: the pooling has no compiled form.
    """
    rows, ks = np.ascontiguousarray(similarities.numpy()), np.array(sizes, dtype=np.int64)
    tokens, sets = rows.shape[:2]
    shape = (tokens, sets, len(ks))
    n = torch.tensor(sizes).repeat(sets)

    def columns(values: Floats) -> Tensor:
        return torch.from_numpy(values.reshape(*values.shape[:-2], sets * len(ks)))

    match pooling:
        case MaxSim():
            _maximum(rows, ks, maximum := np.empty(shape, np.float32))
            return MaxState(n, columns(maximum))
        case TopK(k):
            _top(rows, ks, values := np.empty((k, *shape), np.float32))
            return TopState(n, columns(values).movedim(0, -1))
        case Softmax(t):
            _softmax(rows, ks, np.float32(_LOG2_E / t), parts := np.empty((3, *shape), np.float32))
            return SoftState(n, *columns(parts))
        case Mean():
            _total(rows, ks, total := np.empty(shape, np.float32))
            return MeanState(n, columns(total))
        case _:
            raise TypeError(f"{pooling!r} has no compiled form")


@kept_on_disk
def _maximum(rows: Floats, ks: Indices, out: Floats) -> None:
    for t in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            best, done = _NOTHING, 0
            for i in range(len(ks)):
                for j in range(done, ks[i]):
                    best = max(best, rows[t, c, j])
                done = ks[i]
                out[t, c, i] = best


@kept_on_disk
def _top(rows: Floats, ks: Indices, out: Floats) -> None:
    last = len(out) - 1
    best = np.empty(len(out), np.float32)
    for t in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            best[:] = _NOTHING
            done = 0
            for i in range(len(ks)):
                for j in range(done, ks[i]):
                    value = rows[t, c, j]
                    if value <= best[last]:
                        continue
                    place = last
                    while place > 0 and best[place - 1] < value:
                        best[place] = best[place - 1]
                        place -= 1
                    best[place] = value
                done = ks[i]
                out[:, t, c, i] = best


@loosely_kept_on_disk
def _softmax(rows: Floats, ks: Indices, scale: np.float32, out: Floats) -> None:
    # scale = log2(e) / temperature. Every stretch between two sizes has a maximum first, to which what came before is scaled down.
    for t in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            top, mass, weighted, done = _NOTHING, _ZERO, _ZERO, 0
            for i in range(len(ks)):
                row, done = rows[t, c, done : ks[i]], ks[i]
                best = top
                for j in range(len(row)):
                    best = max(best, row[j])
                if best > top and mass > _ZERO:
                    down = power_of_two((top - best) * scale)
                    mass, weighted = mass * down, weighted * down
                top = best
                for j in range(len(row)):
                    weight = power_of_two((row[j] - top) * scale)
                    mass += weight
                    weighted += weight * row[j]
                out[0, t, c, i], out[1, t, c, i], out[2, t, c, i] = top, mass, weighted


@loosely_kept_on_disk
def _total(rows: Floats, ks: Indices, out: Floats) -> None:
    for t in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            total, done = _ZERO, 0
            for i in range(len(ks)):
                row, done = rows[t, c, done : ks[i]], ks[i]
                for j in range(len(row)):
                    total += row[j]
                out[t, c, i] = total
