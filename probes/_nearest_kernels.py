"""The nearest vectors of many query tokens, kept while similarities go by; compiled by Numba.

A similarity and its position are one whole number, the key: a float's bits, read as an integer, keep its order (mirrored below
0), and of two equal similarities the one of the lower position has the greater key.
"""

from __future__ import annotations

import numpy as np

from lidiag.candidate_kernels import GROUP, LONG, ROOM, candidates, dots, largest_bounds, thresholds
from lidiag.coarse_kernels import LANES as STRIP
from lidiag.coarse_kernels import Tokens, multiply, prepared
from lidiag.kernels import Floats, Indices, strictly_compiled, strictly_kept_on_disk

LANES = 16  # similarities compared at once: a row has a multiple of it
POSITIONS = 2**32  # so many positions have a key
_MIRROR, _LOW = np.int32(0x7FFFFFFF), np.int64(POSITIONS - 1)


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
        row, bits, least = similarities[t], similarities[t].view(np.int32), best[t]
        for left in range(0, len(row), LANES):
            above = 0
            for c in range(left, left + LANES):
                above += row[c] > least
            if above == 0:
                continue
            for c in range(left, left + LANES):
                if row[c] > least:
                    least = _offer(row[c], bits[c], first + c, t, group, bounds, ranges, least, keys, filled, count)
        best[t] = least


@strictly_kept_on_disk
def search(  # noqa: PLR0913, PLR0917
    documents: Floats, tokens: Tokens, first: int, group: Indices, bounds: Indices, ranges: Indices,
    best: Floats, keys: Indices, filled: Indices, count: int,
) -> int:  # fmt: skip
    """Do as `keep` does with the similarities of (rows, dim) documents, and compute but those that may be above `best`.

    Arguments are those of `keep`.

    Returns:
        The number of similarities computed; -1 where nothing was done, as something might overflow.
    """
    integers, sums = np.empty(documents.shape, np.int8), np.empty(len(documents), np.int32)
    of_rows, row_bounds = np.empty((4, len(documents)), np.float32), np.empty((2, len(documents)), np.float64)
    if not prepared(documents, tokens, integers, sums, of_rows, row_bounds):
        return -1
    block, threshold = np.empty((LONG, STRIP), np.float32), np.empty(STRIP, np.float32)
    unused, nothing = np.empty(STRIP, np.int32), np.full(STRIP, -1, np.int32)
    rows, columns, products = np.empty(ROOM, np.int64), np.empty(ROOM, np.int64), np.empty(ROOM, np.float32)
    reached, reaching, off = np.empty(LONG + 1, np.int64), np.empty(LONG + 1, np.uint64), np.empty(len(row_bounds), np.float64)
    bits, computed = products.view(np.int32), 0
    for begin in range(0, len(documents), LONG):
        end = min(begin + LONG, len(documents))
        largest_bounds(row_bounds, begin, end, off)
        for strip in range(len(tokens.packed)):
            left = strip * STRIP
            multiply(tokens.packed, strip, tokens.constants, integers, sums, of_rows, begin, end, block, unused)  # pyright: ignore[reportCallIssue]
            thresholds(tokens, off, left, best, threshold)
            n = candidates(block, begin, end, left, threshold, nothing, reached, reaching, rows, columns)
            rows[n : n + GROUP], columns[n : n + GROUP] = 0, 0
            dots(documents, rows, tokens.vectors, columns, n, products)
            computed += n
            for i in range(n):
                t = columns[i]
                if products[i] > best[t]:
                    best[t] = _offer(products[i], bits[i], first + rows[i], t, group, bounds, ranges, best[t], keys, filled, count)
    return computed


@strictly_compiled
def _offer(  # noqa: PLR0913, PLR0917
    similarity: np.float32, bits: np.int32, position: int, t: int, group: Indices, bounds: Indices, ranges: Indices, least: np.float32,
    keys: Indices, filled: Indices, count: int,
) -> np.float32:  # fmt: skip
    """Keep one similarity above `least`, and return what later ones have to be above."""
    if _within(position, ranges, np.int64(bounds[group[t]]), np.int64(bounds[group[t] + 1])):
        return least
    room = keys[t]
    value = bits if similarity != 0 else np.int32(0)  # 0 and -0 are equal
    room[filled[t]] = (np.int64(value if value >= 0 else value ^ _MIRROR) << 32) + (_LOW - position)
    filled[t] += 1
    if filled[t] < len(room):
        return least
    room[:count] = np.partition(room, len(room) - count)[len(room) - count :]
    filled[t] = count
    return _value(room[:count].min())


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
