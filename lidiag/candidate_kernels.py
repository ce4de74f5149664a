"""MaxSim in two steps on the processor, compiled by Numba: a coarse product names the candidates, and only they are computed.

Similarities in bf16 leave a few rows of a document that may hold a query token's maximum; the rest lie below it by more than
all rounding together. A candidate is computed as the BLAS computes it in fp32: one fused multiply-add after another, from the
first dimension to the last. So the result has the very bits of the pass over fp32 similarities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from lidiag.kernels import Doubles, Floats, Indices, add_up, loosely_kept_on_disk, strictly_compiled, strictly_kept_on_disk

# ruff: noqa: PLR0913, PLR0917, ARG001 - see kernels; the arguments of an intrinsic are types, and it names them for the caller

LANES = 64  # query tokens compared at a time: as many bits as a word has
STRIP = 128  # query tokens whose candidates are collected at a time
WIDTH = 8  # dimensions multiplied at a time
_GROUP = 16  # candidates computed side by side: two vectors of eight
_ROOM = 2**13  # candidates computed at a time, at most

# A bf16 number has 8 significant bits; rounding to nearest is off by half of the last one.
_HALF_ULP = 2.0**-9 * 1.01

_Bits = NDArray[np.uint16]
_FLOAT, _WORD, _INDEX = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_NUMBERS, _FLOATS = ir.VectorType(_INDEX, LANES), ir.VectorType(_FLOAT, LANES)
_EIGHT = ir.VectorType(_FLOAT, WIDTH)


def _address(context: Any, builder: Any, kind: Any, value: Any, *index: Any) -> Any:
    """Return the address of an element of an array, by its row, where it has rows, and its place in the row."""
    array = context.make_array(kind)(context, builder, value)
    address = builder.ptrtoint(array.data, _WORD)
    if len(index) == 2:  # noqa: PLR2004 - rows and columns
        address = builder.add(address, builder.mul(index[0], builder.extract_value(array.strides, 0)))
    return builder.add(address, builder.mul(index[-1], ir.Constant(_WORD, kind.dtype.bitwidth // 8)))


def _load(builder: Any, address: Any, element: Any, lanes: int) -> Any:
    return builder.load(builder.inttoptr(address, ir.VectorType(element, lanes).as_pointer()), align=2 if element == ir.IntType(16) else 4)


def _shuffled(builder: Any, a: Any, b: Any, places: Sequence[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INDEX, len(places)), list(places)))


def _row(context: Any, builder: Any, kind: Any, block: Any, row: Any, column: Any) -> Any:
    """Return the bits of LANES columns of a row, as those of fp32."""
    bits = _load(builder, _address(context, builder, kind, block, row, column), ir.IntType(16), LANES)
    return builder.shl(builder.zext(bits, _NUMBERS), ir.Constant(_NUMBERS, [16] * LANES))


def _shifted(builder: Any, bits: Any, shift: Any) -> Any:
    nothing = ir.Constant(_FLOATS, ir.Undefined)
    shifts = _shuffled(builder, builder.insert_element(nothing, shift, ir.Constant(_INDEX, 0)), nothing, [0] * LANES)
    return builder.fadd(builder.bitcast(bits, _FLOATS), shifts)


@intrinsic
def _largest(_: Any, block: Any, shifts: Any, start: Any, end: Any, column: Any, maximum: Any, size: Any, at: Any) -> Any:
    """Write the largest of value plus shift for each of LANES columns, and the largest absolute value."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block, shifts, start, end, column, maximum, size, at = arguments
        kinds, one = signature.args, ir.Constant(_WORD, 1)
        best = cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, [float("-inf")] * LANES))
        large = cgutils.alloca_once_value(builder, ir.Constant(_NUMBERS, [0] * LANES))
        with cgutils.for_range_slice(builder, start, end, one) as (row, _):
            bits = _row(context, builder, kinds[0], block, row, column)
            shift = builder.load(builder.inttoptr(_address(context, builder, kinds[1], shifts, row), _FLOAT.as_pointer()))
            values, known = _shifted(builder, bits, shift), builder.load(best)
            builder.store(builder.select(builder.fcmp_ordered(">", values, known), values, known), best)
            bits, known = builder.and_(bits, ir.Constant(_NUMBERS, [0x7FFFFFFF] * LANES)), builder.load(large)
            builder.store(builder.select(builder.icmp_signed(">", bits, known), bits, known), large)
        for kind, array, found in ((kinds[5], maximum, best), (kinds[6], size, large)):
            address = builder.inttoptr(_address(context, builder, kind, array, at), _FLOATS.as_pointer())
            builder.store(builder.bitcast(builder.load(found), _FLOATS), address, align=4)
        return context.get_dummy_value()

    return types.void(block, shifts, types.int64, types.int64, types.int64, maximum, size, types.int64), generate


@intrinsic
def _reaching(_: Any, block: Any, row: Any, column: Any, shift: Any, thresholds: Any, at: Any) -> Any:
    """Return a bit for each of LANES columns: whether its value plus `shift` is not below its threshold."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block, row, column, shift, thresholds, at = arguments
        values = _shifted(builder, _row(context, builder, signature.args[0], block, row, column), shift)
        bounds = _load(builder, _address(context, builder, signature.args[4], thresholds, at), _FLOAT, LANES)
        return builder.bitcast(builder.fcmp_unordered(">=", values, bounds), _WORD)

    return types.uint64(block, types.int64, types.int64, types.float32, thresholds, types.int64), generate


@intrinsic
def _lowest_bit(_: Any, __: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def _widened(_: Any, bits: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.shl(builder.zext(arguments[0], _INDEX), ir.Constant(_INDEX, 16)), _FLOAT)

    return types.float32(bits), generate


def _dimensions(builder: Any, addresses: list[Any]) -> list[Any]:
    """Return eight vectors, one for each dimension, of the numbers at eight addresses."""
    joined = list(range(WIDTH))
    rows: list[list[Any]] = []  # the first four dimensions of vectors i and i + 4, and the last four
    for i in range(4):
        halves = [[builder.add(addresses[j], ir.Constant(_WORD, off)) for j in (i, i + 4)] for off in (0, 16)]
        rows.append([_shuffled(builder, _load(builder, a, _FLOAT, 4), _load(builder, b, _FLOAT, 4), joined) for a, b in halves])
    low, high = (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)
    first, second = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
    found: list[Any] = []
    for a, b, c, d in zip(*rows, strict=True):
        for pattern in (low, high):
            x, y = _shuffled(builder, a, b, pattern), _shuffled(builder, c, d, pattern)
            found += [_shuffled(builder, x, y, first), _shuffled(builder, x, y, second)]
    return found


@intrinsic
def _group(_: Any, documents: Any, rows: Any, tokens: Any, columns: Any, first: Any, dim: Any, out: Any) -> Any:
    """Write out[i] = documents[rows[i]] . tokens[columns[i]] for _GROUP numbers i from `first`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        documents, rows, tokens, columns, first, dim, out = arguments
        kinds = signature.args
        fma = builder.module.declare_intrinsic("llvm.fma.v8f32", (), ir.FunctionType(_EIGHT, [_EIGHT] * 3))
        each = [builder.add(first, ir.Constant(_WORD, i)) for i in range(_GROUP)]

        def vectors(kind: Any, array: Any, index_kind: Any, index: Any) -> list[Any]:
            found = (builder.inttoptr(_address(context, builder, index_kind, index, i), _WORD.as_pointer()) for i in each)
            return [_address(context, builder, kind, array, builder.load(row), ir.Constant(_WORD, 0)) for row in found]

        sides = vectors(kinds[0], documents, kinds[1], rows), vectors(kinds[2], tokens, kinds[3], columns)
        halves = [slice(0, WIDTH), slice(WIDTH, _GROUP)]
        sums = [cgutils.alloca_once_value(builder, ir.Constant(_EIGHT, [0.0] * WIDTH)) for _ in halves]
        start, end, step = ir.Constant(_WORD, 0), builder.mul(dim, ir.Constant(_WORD, 4)), ir.Constant(_WORD, 4 * WIDTH)
        with cgutils.for_range_slice(builder, start, end, step) as (offset, _):
            for half, place in zip(halves, sums, strict=True):
                a, b = (_dimensions(builder, [builder.add(p, offset) for p in side[half]]) for side in sides)
                total = builder.load(place)
                for x, y in zip(a, b, strict=True):
                    total = builder.call(fma, [x, y, total])
                builder.store(total, place)
        for half, place in zip(halves, sums, strict=True):
            address = _address(context, builder, kinds[6], out, each[half][0])
            builder.store(builder.load(place), builder.inttoptr(address, _EIGHT.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(documents, rows, tokens, columns, types.int64, types.int64, out), generate


@intrinsic
def _bits(_: Any, number: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _INDEX)

    return types.uint32(number), generate


@loosely_kept_on_disk
def centred(vectors: Floats, centre: Floats, other: Floats, coarse: _Bits, shifts: Floats, norms: Doubles) -> None:
    """Round centred vectors to bf16.

    Args:
        vectors: (rows, dim).
        centre: (dim,) what is taken off.
        other: (dim,) the other side's centre.
        coarse: (rows, dim) to be written with the bits of bf16.
        shifts: (rows,) to be written with vectors . other, summed up in any order.
        norms: (3, rows) to be written with the norms of the vectors, of the centred ones, and of what rounding took off them.
    """
    for row in range(len(vectors)):
        vector, target = vectors[row], coarse[row]
        shift, whole, left, off = np.float32(0), 0.0, 0.0, 0.0
        for i in range(len(centre)):
            x = vector[i]
            y = x - centre[i]
            bits = _bits(y)  # pyright: ignore[reportCallIssue]
            bits = np.uint32(bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            target[i] = np.uint16(bits)
            lost = np.float64(y) - np.float64(_widened(np.uint16(bits)))  # pyright: ignore[reportCallIssue]
            shift += x * other[i]
            whole += np.float64(x) * np.float64(x)
            left += np.float64(y) * np.float64(y)
            off += lost * lost
        shifts[row], norms[0, row], norms[1, row], norms[2, row] = shift, np.sqrt(whole), np.sqrt(left), np.sqrt(off)


@strictly_kept_on_disk
def dots(documents: Floats, rows: Indices, tokens: Floats, columns: Indices, n: int, out: Floats) -> None:
    """Write the first n products of documents[rows[i]] with tokens[columns[i]], by fused multiply-adds in order.

    The vectors are contiguous, with a multiple of WIDTH dimensions. `rows`, `columns` and `out` have room for a multiple of
    _GROUP numbers, and what stands there behind the first n are valid rows and columns.
    """
    for first in range(0, n, _GROUP):
        _group(documents, rows, tokens, columns, first, documents.shape[1], out)  # pyright: ignore[reportCallIssue]


@strictly_compiled
def _lower(maximum: Floats, size: Floats, left: int, right: int, tokens: int, token_bounds: Doubles, bounds: Doubles) -> None:
    """Turn maxima into the least values that candidates have; there are none beyond the last query token."""
    for t in range(left, right):
        if t >= tokens:
            maximum[t - left] = np.float32(np.inf)
            continue
        off = 0.0
        for i in range(len(bounds)):
            off += token_bounds[i, t] * bounds[i]
        least = maximum[t - left] - 2 * (off + _HALF_ULP * size[t - left])
        maximum[t - left] = np.float32(least - abs(least) * 2.0**-22)


@strictly_compiled
def _take(
    documents: Floats, rows: Indices, tokens: Floats, columns: Indices, n: int, products: Floats,
    start: int, maximum: Floats, position: Indices,
) -> None:  # fmt: skip
    """Compute n candidates, in the order of their rows, and keep the best."""
    rows[n : n + _GROUP], columns[n : n + _GROUP] = 0, 0
    dots(documents, rows, tokens, columns, n, products)
    for i in range(n):
        t = columns[i]
        if products[i] > maximum[t]:
            maximum[t], position[t] = products[i], rows[i] - start


@strictly_compiled
def _document(
    block: _Bits, shifts: Floats, start: int, end: int, documents: Floats, tokens: Floats, token_bounds: Doubles, bounds: Doubles,
    most: int, maximum: Floats, position: Indices, rows: Indices, columns: Indices, products: Floats,
    threshold: Floats, size: Floats,
) -> int:  # fmt: skip
    """Write a document's maxima and their first rows; return how many more candidates there may be, below 0 where not all was done."""
    maximum[:], position[:] = np.float32(-np.inf), -1
    padded = block.shape[1]
    for left in range(0, padded, STRIP):
        right, n = min(left + STRIP, padded), 0
        for column in range(left, right, LANES):
            _largest(block, shifts, start, end, column, threshold, size, column - left)  # pyright: ignore[reportCallIssue]
        _lower(threshold, size, left, right, len(tokens), token_bounds, bounds)
        for row in range(start, end):
            if n + STRIP + _GROUP > _ROOM:
                most -= n
                if most < 0:
                    return most
                _take(documents, rows, tokens, columns, n, products, start, maximum, position)
                n = 0
            for column in range(left, right, LANES):
                found = _reaching(block, row, column, shifts[row], threshold, column - left)  # pyright: ignore[reportCallIssue]
                while found:
                    rows[n], columns[n] = row, column + _lowest_bit(found)  # pyright: ignore[reportCallIssue]
                    found &= found - np.uint64(1)
                    n += 1
        most -= n
        if most < 0:
            return most
        _take(documents, rows, tokens, columns, n, products, start, maximum, position)
    return most


@strictly_kept_on_disk
def pool(
    block: _Bits, shifts: Floats, documents: Floats, tokens: Floats, token_bounds: Doubles, row_bounds: Doubles,
    first: int, starts: Indices, ends: Indices, offsets: Indices, most: int, keep: bool,
    states: Floats, positions: Indices, scores: Floats,
) -> bool:  # fmt: skip
    """Find each document's maxima, and score it; stop after more than `most` candidates, and tell of it.

    Args:
        block: (rows, columns) the bits of approximate similarities in bf16; columns, a multiple of LANES, beyond the query
            tokens are 0.
        shifts: (rows,) what is to be added to the similarities of a row.
        documents: (rows, dim) the vectors themselves.
        tokens: (tokens, dim) likewise.
        token_bounds: (B, tokens) and
        row_bounds: (B, rows): a shifted similarity before it was rounded to bf16 is off by at most the sum of their products.
        first: the number of the first document; the others follow it.
        starts: (documents,) the first row of each document in `block`.
        ends: (documents,) the row after its last; the same where it is empty.
        offsets: (queries + 1,) bounds of each query's tokens.
        most: number of candidates there may be.
        keep: whether the states of every document are wanted, else `states` holds those of one at a time.
        states: (1, documents or 1, tokens) to be written with the maxima.
        positions: (documents, tokens) to be written with the maxima's first positions, or (0, 0).
        scores: (1, queries, documents) to be written.

    Returns:
        Whether all was written.
    """
    rows, columns, products = np.empty(_ROOM, np.int64), np.empty(_ROOM, np.int64), np.empty(_ROOM, np.float32)
    threshold, size = np.empty(STRIP, np.float32), np.empty(STRIP, np.float32)
    position, bounds = np.empty(len(tokens), np.int64), np.empty(len(row_bounds), np.float64)
    for i in range(len(starts)):
        slot = first + i if keep else 0
        for j in range(len(bounds)):
            bounds[j] = 0
            for row in range(starts[i], ends[i]):
                bounds[j] = max(bounds[j], row_bounds[j, row])
        maximum = states[0, slot]
        most = _document(
            block, shifts, starts[i], ends[i], documents, tokens, token_bounds, bounds,
            most, maximum, position, rows, columns, products, threshold, size,
        )  # fmt: skip
        if most < 0:
            return False
        if len(positions):
            positions[slot] = position
        add_up(maximum, offsets, first + i, scores[0])
    return True
