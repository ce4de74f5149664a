"""Coarse similarities by products of 8-bit integers, and how far off they may be; compiled by Numba.

A row of a document is rounded to integers times a step, and so is a query token; the product of integers is exact.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from lidiag.kernels import Doubles, Floats, loosely_kept_on_disk, strictly_compiled, strictly_kept_on_disk
from lidiag.llvm import BYTE, FLOAT, INDEX, Code, word

# ruff: noqa: PLR0913, PLR0917 - see kernels

LANES = 64  # query tokens compared at a time: as many bits as a word has
ROWS = 4  # rows of a document multiplied at a time
DEEP = 4  # dimensions that the instruction multiplies and adds up
MIDDLE = 128  # added to the integers of a query token, which are without sign for the instruction
UP = 1 + 2.0**-20  # a bound so much larger is one in fp32, too
_LARGEST = 2.0**100  # products beyond might overflow on the way
# What is smaller is no peak: one over its step might overflow.
_SMALLEST = np.float32(2.0**-100)

Bytes: TypeAlias = NDArray[np.int8]
Integers: TypeAlias = NDArray[np.int32]
_FLOATS, _SUMS, _BYTES = ir.VectorType(FLOAT, 16), ir.VectorType(INDEX, 16), ir.VectorType(BYTE, 64)


class Tokens(NamedTuple):
    """A block of query vectors, prepared to be multiplied."""

    mu: Floats  # (dim,) about the mean of the documents' vectors
    nu: Floats  # (dim,) about the tokens' mean
    packed: Bytes  # (strips, dim * LANES) the integers plus MIDDLE: DEEP dimensions of each token of a strip, and so on
    constants: Floats  # (3, strips * LANES) one over the tokens' steps, and two bounds
    levels: Doubles  # (tokens,) what coarse similarities lack
    bounds: Doubles  # (2, tokens)
    largest: float  # bounds what a row's norms are multiplied with
    vectors: Floats  # (tokens, dim)


@loosely_kept_on_disk
def rounded(vectors: Floats, centre: Floats, other: Floats, integers: Bytes, sums: Integers, scales: Floats, norms: Doubles) -> None:
    """Round centred vectors to 8-bit integers times a step of each row, at most 127 of them.

    Args:
        vectors: (rows, dim).
        centre: (dim,) what is taken off.
        other: (dim,) the other side's centre.
        integers: (rows, dim) to be written.
        sums: (rows,) to be written with minus MIDDLE times the sums of the integers.
        scales: (2, rows) to be written with the steps, and with vectors . other, summed up in any order.
        norms: (3, rows) to be written with the norms of the vectors, of the centred ones, and of what rounding took off them.
    """
    centred = np.empty(len(centre), np.float32)
    for row in range(len(vectors)):
        vector, target = vectors[row], integers[row]
        shift, whole, left, off, peak = np.float32(0), 0.0, 0.0, 0.0, np.float32(0)
        for i in range(len(centre)):
            x = vector[i]
            y = x - centre[i]
            centred[i] = y
            peak = max(peak, abs(y))
            shift += x * other[i]
            whole += np.float64(x) * np.float64(x)
            left += np.float64(y) * np.float64(y)
        step = peak / np.float32(127) if peak > _SMALLEST else np.float32(1)
        inverse, total = np.float32(1) / step, np.int32(0)
        for i in range(len(centre)):
            number = np.rint(centred[i] * inverse)
            target[i] = np.int8(number)
            total += np.int32(number)
            lost = np.float64(centred[i]) - np.float64(number) * np.float64(step)
            off += lost * lost
        sums[row], scales[0, row], scales[1, row] = -MIDDLE * total, step, shift
        norms[0, row], norms[1, row], norms[2, row] = np.sqrt(whole), np.sqrt(left), np.sqrt(off)


@strictly_kept_on_disk
def bound(norms: Doubles, dim: int, of_rows: Floats, row_bounds: Doubles) -> None:
    """Write the bounds of the rows, the last two of `of_rows` and `row_bounds`, from norms of `rounded`.

    By Cauchy and Schwarz, with the usual bound n u of n additions in fp32 (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, section 3.1), a coarse similarity is off by rounding of the token times the row, by the token times rounding of
    the row and of the value itself; and by less, in the shift, in the exact value and by what underflows.
    """
    sums = 1.1 * (dim + 16) * 2.0**-24
    for row in range(norms.shape[1]):
        whole, left, off = norms[0, row], norms[1, row], norms[2, row]
        of_rows[2, row], of_rows[3, row] = left * (1 + sums) * UP, (off + 2 * sums * (left + off)) * UP
        row_bounds[0, row], row_bounds[1, row] = whole * sums, (1 + left + whole) * (dim * 2.0**-120)


@strictly_compiled
def prepared(vectors: Floats, tokens: Tokens, integers: Bytes, sums: Integers, of_rows: Floats, row_bounds: Doubles) -> bool:
    """Write a block of documents' vectors as `multiply` takes them, and what bounds it; tell whether nothing might overflow.

    Args:
        vectors: (rows, dim), of some rows.
        tokens: what they are to be multiplied with.
        integers: (rows, dim) to be written.
        sums: (rows,) to be written.
        of_rows: (4, rows) to be written.
        row_bounds: (2, rows) to be written.
    """
    norms = np.empty((3, len(vectors)), np.float64)
    rounded(vectors, tokens.mu, tokens.nu, integers, sums, of_rows, norms)
    bound(norms, vectors.shape[1], of_rows, row_bounds)
    return (norms[0].max() + norms[1].max()) * tokens.largest < _LARGEST


@intrinsic
def multiply(
    _: Any, packed: Any, strip: Any, of_tokens: Any, integers: Any, sums: Any, of_rows: Any, begin: Any, end: Any, out: Any, best: Any
) -> Any:
    """Write what similarities of the rows `begin` to `end`, which are not none, with the tokens of a strip may come to.

    Args:
        packed: that of the tokens.
        strip: its number.
        of_tokens: the tokens' constants.
        integers: (rows, dim) and
        sums: (rows,) as `rounded` writes them, of all rows.
        of_rows: (4, rows) the rows' steps and shifts, and two bounds.
        begin: the first row.
        end: the row behind the last.
        out: (rows, LANES) to be written with coarse similarities plus what they may be off by, in units of the tokens' steps.
        best: (LANES,) to be written with the first row of the largest coarse similarity.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, (strip, begin, end) = Code(context, builder, signature, arguments), (arguments[i] for i in (1, 6, 7))
        product = builder.module.declare_intrinsic("llvm.x86.avx512.vpdpbusd.512", (), ir.FunctionType(_SUMS, [_SUMS, _BYTES, _BYTES]))
        fma = builder.module.declare_intrinsic("llvm.fma.v16f32", (), ir.FunctionType(_FLOATS, [_FLOATS] * 3))
        zero, dim, tokens = word(0), code.shape(3)[1], code.address(0, strip, word(0))
        quarters = [word(quarter) for quarter in range(0, LANES, 16)]
        totals = [[cgutils.alloca_once(builder, _SUMS) for _ in quarters] for _ in range(ROWS)]
        largest, places = ([cgutils.alloca_once(builder, kind) for _ in quarters] for kind in (_FLOATS, _SUMS))
        for value, place in zip(largest, places, strict=True):
            builder.store(ir.Constant(_FLOATS, [float("-inf")] * 16), value)
            builder.store(code.everywhere(builder.trunc(begin, INDEX), _SUMS), place)
        with cgutils.for_range_slice(builder, begin, end, word(ROWS)) as (first, _):
            after = [builder.add(first, word(i)) for i in range(ROWS)]  # behind the last row comes the last row again
            rows = [builder.select(builder.icmp_signed("<", row, end), row, builder.sub(end, word(1))) for row in after]
            starts = [code.address(3, row, zero) for row in rows]
            for row, total in zip(rows, totals, strict=True):
                for one in total:
                    builder.store(code.everywhere(code.load(code.address(4, row), INDEX), _SUMS), one)
            with cgutils.for_range_slice(builder, zero, dim, word(DEEP)) as (at, _):
                deep = builder.add(tokens, builder.mul(at, word(LANES)))
                ours = [code.load(builder.add(deep, builder.mul(quarter, word(DEEP))), _BYTES) for quarter in quarters]
                for start, total in zip(starts, totals, strict=True):
                    theirs = builder.bitcast(code.everywhere(code.load(builder.add(start, at), INDEX), _SUMS), _BYTES)
                    for mine, one in zip(ours, total, strict=True):
                        builder.store(builder.call(product, [builder.load(one), mine, theirs]), one)
            for i, quarter in enumerate(quarters):
                column = builder.add(builder.mul(strip, word(LANES)), quarter)
                inverse, off, rounded = (code.load(code.address(2, word(which), column), _FLOATS) for which in range(3))
                value, place = builder.load(largest[i]), builder.load(places[i])
                for row, total in zip(rows, totals, strict=True):
                    step, shift, left, lost = (
                        code.everywhere(code.load(code.address(5, word(which), row), FLOAT), _FLOATS) for which in range(4)
                    )
                    whole = builder.sitofp(builder.load(total[i]), _FLOATS)
                    coarse = builder.call(fma, [whole, step, builder.fmul(shift, inverse)])
                    reached = builder.call(fma, [left, off, builder.call(fma, [lost, rounded, coarse])])
                    code.store(reached, code.address(8, builder.sub(row, begin), quarter))
                    larger = builder.fcmp_ordered(">", coarse, value)
                    value = builder.select(larger, coarse, value)
                    place = builder.select(larger, code.everywhere(builder.trunc(row, INDEX), _SUMS), place)
                builder.store(value, largest[i])
                builder.store(place, places[i])
        for quarter, place in zip(quarters, places, strict=True):
            code.store(builder.load(place), code.address(9, quarter))
        return context.get_dummy_value()

    return types.void(packed, strip, of_tokens, integers, sums, of_rows, begin, end, out, best), generate
