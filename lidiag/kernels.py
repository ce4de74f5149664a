"""Pooling of a block of similarities on the processor, compiled by Numba.

Similarities come as (document tokens, query tokens): the lanes of a vector register are query tokens, so a reduction over a
document runs down the rows without a horizontal step. Documents are pooled one by one, in strips of query tokens that stay
in the second-level cache while one pooling after another sweeps over them.

`lidiag.pooling` defines what is computed here; the tests hold each against the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

# ruff: noqa: PLR0913, PLR0917 - compiled functions take arrays and bounds one by one: a view of both axes hides from the
# compiler that rows are contiguous, and it would not vectorise

Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
_Function = TypeVar("_Function", bound=Callable[..., Any])

STRIP = 512  # query tokens pooled at a time
ROWS = 32  # similarities summed in fp32 before they are added up in float64

_NOTHING = np.float32(-np.inf)
_LOG2_E = math.log2(math.e)
# 2**f = sum of (f ln 2)**i / i! for f in [-1/2, 1/2]; the first term left out is below 1e-8.
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(math.log(2) ** i / math.factorial(i)) for i in range(1, 8))
_ONE, _HALF = np.float32(1), np.float32(0.5)
_LOWEST = np.float32(-126)  # 2**-126 is the smallest normal number

# Sums keep their order: reassociation is not among the liberties. Nothing is compiled before the first call.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"nnan", "nsz", "contract"}}
_STRICT: dict[str, Any] = {**_OPTIONS, "fastmath": False}
_LOOSE: dict[str, Any] = {**_OPTIONS, "fastmath": {"reassoc", "nsz", "contract"}}


def _compiled(function: _Function) -> _Function:
    return cast(_Function, numba.njit(**_OPTIONS)(function))


def _kept_on_disk(function: _Function, options: dict[str, Any]) -> _Function:
    # Compiling takes seconds: once per machine, unless there is no folder to keep the result in.
    try:
        return cast(_Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:
        return cast(_Function, numba.njit(**options)(function))


def kept_on_disk(function: _Function) -> _Function:
    """Compile at the first call, and keep the result."""
    return _kept_on_disk(function, _OPTIONS)


def strictly_compiled(function: _Function) -> _Function:
    """Compile with arithmetic as written, NaN and infinities included."""
    return cast(_Function, numba.njit(**_STRICT)(function))


def strictly_kept_on_disk(function: _Function) -> _Function:
    """Compile likewise at the first call, and keep the result."""
    return _kept_on_disk(function, _STRICT)


def loosely_kept_on_disk(function: _Function) -> _Function:
    """Compile at the first call with sums in any order, and keep the result."""
    return _kept_on_disk(function, _LOOSE)


@intrinsic
def _float_of_bits(_: Any, bits: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(bits), generate


@_compiled
def _larger(a: np.float32, b: np.float32) -> np.float32:
    return a if a > b else b  # noqa: FURB136 - `max` minds NaN, for which a vector has no one instruction


@_compiled
def _smaller(a: np.float32, b: np.float32) -> np.float32:
    return a if a < b else b  # noqa: FURB136


@_compiled
def power_of_two(x: np.float32) -> np.float32:
    """Return 2**x in fp32 for x <= 0, to two units in the last place; below -126 it stays at 2**-126."""
    x = _larger(x, _LOWEST)
    whole = np.int32(x - _HALF)
    f = x - np.float32(whole)
    series = ((((((_C7 * f + _C6) * f + _C5) * f + _C4) * f + _C3) * f + _C2) * f + _C1) * f + _ONE
    exponent = np.int32((whole + np.int32(127)) << np.int32(23))
    return series * _float_of_bits(exponent)  # pyright: ignore[reportCallIssue] - compiled code does not pass the typing context


@_compiled
def _maximum(block: Floats, start: int, begin: int, end: int, left: int, right: int, maximum: Floats, position: NDArray[np.int32]) -> None:
    # `maximum` holds that of the rows before `begin` already; `position` holds nothing then, and what it is given is no position.
    width = right - left
    if begin == start:
        for t in range(width):
            maximum[t], position[t] = _NOTHING, -1
    row = begin
    while row + 4 <= end:  # four rows share one load and one store of the running maximum
        a, b, c, d = block[row, left:right], block[row + 1, left:right], block[row + 2, left:right], block[row + 3, left:right]
        at = np.int32(row - start)
        for t in range(width):
            best, where = maximum[t], position[t]
            where = at if a[t] > best else where
            best = _larger(a[t], best)
            where = at + np.int32(1) if b[t] > best else where
            best = _larger(b[t], best)
            where = at + np.int32(2) if c[t] > best else where
            best = _larger(c[t], best)
            where = at + np.int32(3) if d[t] > best else where
            maximum[t] = _larger(d[t], best)
            position[t] = where
        row += 4
    for last in range(row, end):
        a, at = block[last, left:right], np.int32(last - start)
        for t in range(width):
            position[t] = at if a[t] > maximum[t] else position[t]
            maximum[t] = _larger(a[t], maximum[t])


@_compiled
def _top(block: Floats, start: int, begin: int, end: int, left: int, right: int, states: Floats, slot: int, k: int, rest: Floats) -> None:
    # `states` holds those of the rows before `begin` already. Four rows go down the k places together; every place keeps the larger value and passes the smaller one on.
    width = right - left
    if begin == start:
        for place in range(k):
            states[1 + place, slot, left:right] = _NOTHING
    w, x, y, z = rest[0], rest[1], rest[2], rest[3]
    for first in range(begin, end, 4):
        for i in range(4):
            passing = rest[i]
            if first + i < end:
                row = block[first + i, left:right]
                for t in range(width):
                    passing[t] = row[t]
            else:
                passing[:width] = _NOTHING
        for place in range(k):
            kept = states[1 + place, slot, left:right]
            for t in range(width):
                best = kept[t]
                w[t], best = _smaller(best, w[t]), _larger(best, w[t])
                x[t], best = _smaller(best, x[t]), _larger(best, x[t])
                y[t], best = _smaller(best, y[t]), _larger(best, y[t])
                z[t], kept[t] = _smaller(best, z[t]), _larger(best, z[t])


@_compiled
def _softmax(
    block: Floats,
    start: int,
    end: int,
    left: int,
    right: int,
    scale: np.float32,
    maximum: Floats,
    mass: Floats,
    weighted: Floats,
    some: Floats,
    total: Doubles,
) -> None:
    # scale = log2(e) / temperature; `some` holds the fp32 sums of a few rows and `total` the float64 sums, both (2, strip).
    width = right - left
    some_mass, some_weighted, total_mass, total_weighted = some[0], some[1], total[0], total[1]
    total[:, :width] = 0
    for first in range(start, end, ROWS):
        some[:, :width] = 0
        for row in range(first, min(first + ROWS, end)):
            a = block[row, left:right]
            for t in range(width):
                weight = power_of_two((a[t] - maximum[t]) * scale)
                some_mass[t] += weight
                some_weighted[t] += weight * a[t]
        for t in range(width):
            total_mass[t] += some_mass[t]
            total_weighted[t] += some_weighted[t]
    for t in range(width):
        mass[t] = np.float32(total_mass[t])
        weighted[t] = np.float32(total_weighted[t])


@_compiled
def _sum(block: Floats, start: int, end: int, left: int, right: int, out: Floats, some: Floats, total: Doubles) -> None:
    width = right - left
    total[0, :width] = 0
    for first in range(start, end, ROWS):
        some[0, :width] = 0
        for row in range(first, min(first + ROWS, end)):
            a = block[row, left:right]
            for t in range(width):
                some[0, t] += a[t]
        for t in range(width):
            total[0, t] += some[0, t]
    for t in range(width):
        out[t] = np.float32(total[0, t])


@_compiled
def add_up(values: Floats, offsets: Indices, document: int, scores: Floats) -> None:
    """Write the document's scores, (queries, documents): the sums of values over each query's tokens, in float64."""
    for query in range(len(offsets) - 1):
        total = 0.0
        for t in range(offsets[query], offsets[query + 1]):
            total += values[t]
        scores[query, document] = np.float32(total)


@_compiled
def _score(
    states: Floats,
    slot: int,
    n: int,
    document: int,
    offsets: Indices,
    ks: Indices,
    temperatures: Doubles,
    mean: bool,
    scores: Floats,
    values: Floats,
) -> None:
    add_up(states[0, slot], offsets, document, scores[0])
    for i in range(len(ks)):
        kept = min(ks[i], n)
        values[:] = 0 if n else _NOTHING
        for place in range(kept):
            top = states[1 + place, slot]
            for t in range(len(values)):
                values[t] += top[t]
        for t in range(len(values)):
            values[t] /= np.float32(max(kept, 1))
        add_up(values, offsets, document, scores[1 + i])
    k = ks[-1] if len(ks) else 0
    for i in range(len(temperatures)):
        mass, weighted = states[1 + k + 2 * i, slot], states[2 + k + 2 * i, slot]
        for t in range(len(values)):
            values[t] = weighted[t] / mass[t] if n else _NOTHING
        add_up(values, offsets, document, scores[1 + len(ks) + i])
    if mean:
        total = states[-1, slot]
        for t in range(len(values)):
            values[t] = total[t] / np.float32(n) if n else _NOTHING
        add_up(values, offsets, document, scores[-1])


@_compiled
def _reach(
    block: Floats,
    start: int,
    begin: int,
    end: int,
    tokens: int,
    ks: Indices,
    temperatures: Doubles,
    mean: bool,
    states: Floats,
    positions: Indices,
    position: NDArray[np.int32],
    rest: Floats,
    some: Floats,
    total: Doubles,
) -> None:
    """Bring the state of a document's rows start..begin, where there are any, to start..end; positions only from the start."""
    k = ks[-1] if len(ks) else 0
    for left in range(0, tokens, STRIP):
        right = min(left + STRIP, tokens)
        maximum = states[0, 0, left:right]
        _maximum(block, start, begin, end, left, right, maximum, position)
        if len(positions):
            positions[0, left:right] = position[: right - left]
        if k:
            _top(block, start, begin, end, left, right, states, 0, k, rest)
        for j in range(len(temperatures)):
            scale, plane = np.float32(_LOG2_E / temperatures[j]), 1 + k + 2 * j
            mass, weighted = states[plane, 0, left:right], states[plane + 1, 0, left:right]
            _softmax(block, start, end, left, right, scale, maximum, mass, weighted, some, total)
        if mean:
            _sum(block, start, end, left, right, states[-1, 0, left:right], some, total)


@kept_on_disk
def pool(
    block: Floats,
    first: int,
    starts: Indices,
    ends: Indices,
    offsets: Indices,
    ks: Indices,
    temperatures: Doubles,
    mean: bool,
    one: Floats,
    states: Floats,
    positions: Indices,
    scores: Floats,
) -> None:
    """Pool the documents whose similarities are in `block`, and score them and their first rows.

    Args:
        block: (rows, columns) similarities; the query tokens are its first offsets[-1] columns.
        first: the number of the first document; the others follow it.
        starts: (documents,) the first row of each document in `block`.
        ends: (parts, documents) the row after the last of each part; the same where it is empty. Parts grow, and the last is the whole.
        offsets: (queries + 1,) bounds of each query's tokens.
        ks: rising values of k for TopK; may be empty.
        temperatures: temperatures for Softmax; may be empty.
        mean: whether Mean is wanted.
        one: (P, 1, tokens) to be written: the state of one document at a time.
        states: (P, documents, tokens) to be written with those of every whole document, or (P, 0, tokens): the maximum, the
            max(ks) largest values, mass and weighted sum for each temperature, the total for Mean.
        positions: (documents, tokens) to be written with the maximum's position, or (0, 0).
        scores: (parts, R, queries, documents) to be written: MaxSim, every k, every temperature, Mean.
    """
    tokens, parts = offsets[-1], len(ends)
    values = np.empty(tokens, np.float32)
    position, rest = np.empty(STRIP, np.int32), np.empty((4, STRIP), np.float32)
    some, total = np.empty((2, STRIP), np.float32), np.empty((2, STRIP), np.float64)
    for i in range(len(starts)):
        start, begin, document = starts[i], starts[i], first + i
        for part in range(parts):
            end, where = ends[part, i], positions[:0]
            if part == parts - 1 and len(positions):
                begin, where = start, positions[document : document + 1]
            if start < begin == end:  # no more rows than the part before, so the same scores
                scores[part, :, :, document] = scores[part - 1, :, :, document]
            else:
                _reach(block, start, begin, end, tokens, ks, temperatures, mean, one, where, position, rest, some, total)
                _score(one, 0, end - start, document, offsets, ks, temperatures, mean, scores[part], values)
            begin = end
        if states.shape[1]:
            states[:, document] = one[:, 0]
