"""MaxSim in two steps on the processor, compiled by Numba: a coarse product names the candidates, and only they are computed.

Products of 8-bit integers leave a few rows of a document that may hold a query token's maximum; the rest lie below it by more than
all rounding together. A candidate is computed as the BLAS computes it in fp32: one fused multiply-add after another, from the
first dimension to the last. So the result has the very bits of the pass over fp32 similarities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from lidiag.coarse_kernels import LANES, Integers, Tokens, multiply, prepared
from lidiag.kernels import Doubles, Floats, Indices, add_up, strictly_compiled, strictly_kept_on_disk
from lidiag.llvm import FLOAT, WORD, Code, word

# ruff: noqa: PLR0913, PLR0917, ARG001 - see kernels; the arguments of an intrinsic are types, and it names them for the caller

WIDTH = 8  # dimensions multiplied at a time
LONG = 256  # rows of a document whose coarse products are in the cache together
GROUP = 16  # candidates computed side by side: two vectors of eight
ROOM = LONG * LANES + GROUP  # for the candidates of a strip in so many rows

_LANES, _FOUR, _EIGHT = (ir.VectorType(FLOAT, number) for number in (LANES, 4, WIDTH))


@intrinsic
def _reaching(_: Any, block: Any, row: Any, thresholds: Any) -> Any:
    """Return a bit for each of the LANES values of a row: whether it is not below its threshold."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder, signature, arguments)
        values, bounds = code.load(code.address(0, arguments[1], word(0)), _LANES), code.load(code.address(2, word(0)), _LANES)
        return builder.bitcast(builder.fcmp_unordered(">=", values, bounds), WORD)

    return types.uint64(block, types.int64, thresholds), generate


@intrinsic
def _lowest_bit(_: Any, __: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def _number_of_bits(_: Any, __: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


def _dimensions(code: Code, addresses: list[Any]) -> list[Any]:
    """Return eight vectors, one for each dimension, of the numbers at eight addresses."""
    joined = list(range(WIDTH))
    rows: list[list[Any]] = []  # the first four dimensions of vectors i and i + 4, and the last four
    for i in range(4):
        halves = [[code.load(code.builder.add(addresses[j], word(off)), _FOUR) for j in (i, i + 4)] for off in (0, 16)]
        rows.append([code.shuffled(a, b, joined) for a, b in halves])
    low, high = (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)
    first, second = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
    found: list[Any] = []
    for a, b, c, d in zip(*rows, strict=True):
        for pattern in (low, high):
            x, y = code.shuffled(a, b, pattern), code.shuffled(c, d, pattern)
            found += [code.shuffled(x, y, first), code.shuffled(x, y, second)]
    return found


@intrinsic
def _group(_: Any, documents: Any, rows: Any, tokens: Any, columns: Any, first: Any, dim: Any, out: Any) -> Any:
    """Write out[i] = documents[rows[i]] . tokens[columns[i]] for GROUP numbers i from `first`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, (first, dim) = Code(context, builder, signature, arguments), arguments[4:6]
        fma = builder.module.declare_intrinsic("llvm.fma.v8f32", (), ir.FunctionType(_EIGHT, [_EIGHT] * 3))
        each = [builder.add(first, word(i)) for i in range(GROUP)]
        sides = [[code.address(array, code.load(code.address(array + 1, i), WORD), word(0)) for i in each] for array in (0, 2)]
        halves = [slice(0, WIDTH), slice(WIDTH, GROUP)]
        sums = [cgutils.alloca_once_value(builder, ir.Constant(_EIGHT, [0.0] * WIDTH)) for _ in halves]
        with cgutils.for_range_slice(builder, word(0), builder.mul(dim, word(4)), word(4 * WIDTH)) as (offset, _):
            for half, place in zip(halves, sums, strict=True):
                a, b = (_dimensions(code, [builder.add(p, offset) for p in side[half]]) for side in sides)
                total = builder.load(place)
                for x, y in zip(a, b, strict=True):
                    total = builder.call(fma, [x, y, total])
                builder.store(total, place)
        for half, place in zip(halves, sums, strict=True):
            code.store(builder.load(place), code.address(6, each[half][0]))
        return context.get_dummy_value()

    return types.void(documents, rows, tokens, columns, types.int64, types.int64, out), generate


@strictly_kept_on_disk
def dots(documents: Floats, rows: Indices, tokens: Floats, columns: Indices, n: int, out: Floats) -> None:
    """Write the first n products of documents[rows[i]] with tokens[columns[i]], by fused multiply-adds in order.

    The vectors are contiguous, with a multiple of WIDTH dimensions. `rows`, `columns` and `out` have room for a multiple of
    GROUP numbers, and what stands there behind the first n are valid rows and columns.
    """
    for first in range(0, n, GROUP):
        _group(documents, rows, tokens, columns, first, documents.shape[1], out)  # pyright: ignore[reportCallIssue]


@strictly_compiled
def _take(
    documents: Floats, rows: Indices, tokens: Floats, columns: Indices, n: int, products: Floats,
    start: int, maximum: Floats, position: Indices,
) -> None:  # fmt: skip
    """Compute n candidates, and keep the best, the first of equals."""
    rows[n : n + GROUP], columns[n : n + GROUP] = start, 0
    dots(documents, rows, tokens, columns, n, products)
    for i in range(n):
        t, at = columns[i], rows[i] - start
        if products[i] > maximum[t] or (products[i] == maximum[t] and at < position[t]):
            maximum[t], position[t] = products[i], at


@strictly_compiled
def thresholds(tokens: Tokens, bounds: Doubles, left: int, wanted: Floats, threshold: Floats) -> None:
    """Write the least that `multiply` says of similarities that come up to those `wanted`, for the strip of tokens that begins with `left`.

    A coarse similarity, without the token's level, is off by at most the sum of four products: of numbers of the row and the token
    in `of_rows` and the tokens' constants, in units of the token's step, which it contains already, and in `bounds` and theirs.
    """
    threshold[:] = np.float32(np.inf)
    for t in range(left, min(left + LANES, len(wanted))):
        off = bounds[0] * tokens.bounds[0, t] + bounds[1] * tokens.bounds[1, t]
        value = (wanted[t] - tokens.levels[t] - off) * tokens.constants[0, t]
        threshold[t - left] = np.float32(value - abs(value) * 2.0**-22)


@strictly_compiled
def candidates(
    block: Floats, begin: int, end: int, left: int, threshold: Floats, without: Integers,
    reached: Indices, reaching: NDArray[np.uint64], rows: Indices, columns: Indices,
) -> int:  # fmt: skip
    """Write the rows and tokens that reach the threshold, but each token's row `without`, and return their number."""
    some, count = 0, 0
    for row in range(begin, end):
        found = _reaching(block, row - begin, threshold)  # pyright: ignore[reportCallIssue]
        reached[some], reaching[some] = row, found
        some += found != 0
        count += _number_of_bits(found)  # pyright: ignore[reportCallIssue]
    n, at, found = 0, 0, reaching[0]
    for _ in range(count):  # without a jump that the processor would have to guess
        t = _lowest_bit(found)  # pyright: ignore[reportCallIssue]
        rows[n], columns[n] = reached[at], left + t
        n += without[t] != reached[at]
        found &= found - np.uint64(1)
        at += found == 0
        found = reaching[at] if found == 0 else found
    return n


@strictly_compiled
def _reach(
    block: Floats, best: Integers, begin: int, end: int, documents: Floats, tokens: Tokens, bounds: Doubles,
    start: int, left: int, maximum: Floats, position: Indices, threshold: Floats,
    reached: Indices, reaching: NDArray[np.uint64], rows: Indices, columns: Indices, products: Floats,
) -> int:  # fmt: skip
    """Bring the maxima of a strip of query tokens from the rows before `begin` to those before `end`.

    Returns:
        The number of candidates computed.
    """
    width = min(LANES, len(tokens.vectors) - left)
    for t in range(width):
        rows[t], columns[t] = best[t], left + t
    _take(documents, rows, tokens.vectors, columns, width, products, start, maximum, position)
    thresholds(tokens, bounds, left, maximum, threshold)
    n = candidates(block, begin, end, left, threshold, best, reached, reaching, rows, columns)
    _take(documents, rows, tokens.vectors, columns, n, products, start, maximum, position)
    return width + n


@strictly_compiled
def largest_bounds(row_bounds: Doubles, start: int, end: int, bounds: Doubles) -> None:
    """Write the largest of the bounds of rows."""
    bounds[:] = 0
    for j in range(len(bounds)):
        for row in range(start, end):
            bounds[j] = max(bounds[j], row_bounds[j, row])


@strictly_kept_on_disk
def pool(
    documents: Floats, tokens: Tokens, first: int, starts: Indices, ends: Indices, offsets: Indices, most: int,
    one: Floats, states: Floats, positions: Indices, scores: Floats,
) -> bool:  # fmt: skip
    """Find each document's maxima, and score it; stop after more than `most` candidates, or before what might overflow, and tell of it.

    Args:
        documents: (rows, dim).
        tokens: the query vectors.
        first: the number of the first document; the others follow it.
        starts: (documents,) the first row of each document.
        ends: (parts, documents) the row after the last of each part; the same where it is empty. Parts grow, and the last is the whole.
        offsets: (queries + 1,) bounds of each query's tokens.
        most: number of candidates there may be.
        one: (1, 1, tokens) to be written: the maxima of one document at a time.
        states: (1, documents, tokens) to be written with those of every whole document, or (1, 0, tokens).
        positions: (documents, tokens) to be written with the maxima's first positions, or (0, 0).
        scores: (parts, 1, queries, documents) to be written.

    Returns:
        Whether all was written.
    """
    integers, sums = np.empty(documents.shape, np.int8), np.empty(len(documents), np.int32)
    of_rows, row_bounds = np.empty((4, len(documents)), np.float32), np.empty((2, len(documents)), np.float64)
    if not prepared(documents, tokens, integers, sums, of_rows, row_bounds):
        return False
    block, threshold, best = np.empty((LONG, LANES), np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.int32)
    rows, columns, products = np.empty(ROOM, np.int64), np.empty(ROOM, np.int64), np.empty(ROOM, np.float32)
    reached, reaching = np.empty(LONG + 1, np.int64), np.empty(LONG + 1, np.uint64)
    maximum, position, bounds = one[0, 0], np.empty(len(tokens.vectors), np.int64), np.empty(len(row_bounds), np.float64)
    for i in range(len(starts)):
        start, document = starts[i], first + i
        maximum[:], position[:] = np.float32(-np.inf), -1
        largest_bounds(row_bounds, start, ends[-1, i], bounds)
        begin = start
        for part in range(len(ends)):
            while begin < ends[part, i]:
                end = min(begin + LONG, ends[part, i])
                for strip in range(len(tokens.packed)):
                    multiply(tokens.packed, strip, tokens.constants, integers, sums, of_rows, begin, end, block, best)  # pyright: ignore[reportCallIssue]
                    most -= _reach(
                        block, best, begin, end, documents, tokens, bounds, start, strip * LANES,
                        maximum, position, threshold, reached, reaching, rows, columns, products,
                    )  # fmt: skip
                    if most < 0:
                        return False
                begin = end
            add_up(maximum, offsets, document, scores[part, 0])
        if states.shape[1]:
            states[0, document] = maximum
        if len(positions):
            positions[document] = position
    return True
