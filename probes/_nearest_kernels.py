"""The nearest vectors of many query tokens, kept while similarities go by; compiled by Numba.

A similarity and its position are one whole number, the key: a float's bits, read as an integer, keep its order (mirrored below
0), and of two equal similarities the one of the lower position has the greater key.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidiag.kernels import strictly_kept_on_disk

LANES = 16  # similarities compared at once: a row has a multiple of it
POSITIONS = 2**32  # so many positions have a key
_MIRROR, _LOW = np.int32(0x7FFFFFFF), np.int64(POSITIONS - 1)

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


@strictly_kept_on_disk
def keep(  # noqa: PLR0913, PLR0917
    similarities: Floats,
    first: int,
    group: Indices,
    bounds: Indices,
    ranges: Indices,
    best: Floats,
    keys: Indices,
    filled: Indices,
    count: int,
) -> None:
    """Put into `keys` (tokens, room) what may be among the `count` greatest of each of (tokens, columns) similarities.

    Column 0 has position `first`, and positions rise from call to call. Token t is of group[t], for which the positions in
    ranges[bounds[g]:bounds[g + 1]], rows of (start, end) in rising order, are out of reach. `filled` counts a token's keys;
    when its room is full, the least are dropped, and `best` becomes what later similarities have to be above.
    """
    for t in range(len(similarities)):
        row, bits, room = similarities[t], similarities[t].view(np.int32), keys[t]
        least, low, high = best[t], np.int64(bounds[group[t]]), np.int64(bounds[group[t] + 1])
        for left in range(0, len(row), LANES):
            above = 0
            for c in range(left, left + LANES):
                above += row[c] > least
            if above == 0:
                continue
            for c in range(left, left + LANES):
                if not row[c] > least or _within(first + c, ranges, low, high):
                    continue
                value = bits[c] if row[c] != 0 else np.int32(0)  # 0 and -0 are equal
                room[filled[t]] = (np.int64(value if value >= 0 else value ^ _MIRROR) << 32) + (_LOW - (first + c))
                filled[t] += 1
                if filled[t] == len(room):
                    room[:count] = np.partition(room, len(room) - count)[len(room) - count :]
                    filled[t] = count
                    least = _value(room[:count].min())
        best[t] = least


@strictly_kept_on_disk
def read(keys: Indices, filled: Indices, similarities: Floats, positions: Indices) -> None:
    """Write the greatest of each token's keys in falling order, as (tokens, count) similarities and positions."""
    count = similarities.shape[1]
    for t in range(len(keys)):
        falling = np.sort(keys[t, : filled[t]])[::-1][:count]
        for i in range(count):
            similarities[t, i] = _value(falling[i])
            positions[t, i] = _LOW - (falling[i] & _LOW)


@strictly_kept_on_disk
def _value(key: np.int64) -> np.float32:
    bits = np.empty(1, np.int32)
    bits[0] = np.int32(key >> 32)
    if bits[0] < 0:
        bits[0] ^= _MIRROR
    return bits.view(np.float32)[0]


@strictly_kept_on_disk
def _within(position: int, ranges: Indices, low: np.int64, high: np.int64) -> np.bool_:
    """Tell whether a position is in one of ranges[low:high], which rise and do not overlap."""
    end = high
    while low < high:
        middle = (low + high) // 2
        if ranges[middle, 1] <= position:
            low = middle + 1
        else:
            high = middle
    return low < end and ranges[low, 0] <= position
