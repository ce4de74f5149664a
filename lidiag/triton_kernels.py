"""Pooling of similarities on a GPU, compiled by Triton: a tile of similarities lives in registers and is never written.

One program pools a tile of query tokens with one document, whose tokens go by tile after tile. Packed vectors are read where
they lie, so a document costs its own tokens, rounded up to a tile. No two programs write to one place: the same input gives the
same bytes. `lidiag.pooling` defines what is computed here.
"""
# pyright: reportMissingImports=false, reportUntypedFunctionDecorator=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# Triton is there only where it has a build, and its functions have no types: they are read as source and compiled.

from __future__ import annotations

import triton
import triton.language as tl

# ruff: noqa: ANN001, ANN202, PLR0913, PLR0917 - compiled functions take pointers and sizes one by one, and what they give is no Python object


@triton.jit
def _dot(queries, documents, row, column, known_row, known_column, dim, rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr):
    """Return (rows, columns) dot products in fp32; 0 beyond the ends of either side."""
    products = tl.zeros((rows, columns), tl.float32)
    for first in range(0, dim, depth):
        d = first + tl.arange(0, depth)
        a = tl.load(queries + row[:, None] * dim + d[None, :], known_row[:, None] & (d < dim)[None, :], 0.0)
        b = tl.load(documents + column[None, :] * dim + d[:, None], known_column[None, :] & (d < dim)[:, None], 0.0)
        products = tl.dot(a, b, products, input_precision="ieee")
    return products


@triton.jit
def _top(top, similarities, place, k: tl.constexpr):
    """Return the k largest values of both: each of the tile's k largest takes the place of the least one, where it is larger."""
    column = tl.arange(0, similarities.shape[1])
    for _ in range(k):
        largest, at = tl.max(similarities, 1, return_indices=True, return_indices_tie_break_left=True)
        similarities = tl.where(column[None, :] == at[:, None], float("-inf"), similarities)
        least, at = tl.min(top, 1, return_indices=True)
        top = tl.where((place[None, :] == at[:, None]) & (largest > least)[:, None], largest[:, None], top)
    return top


@triton.jit
def _store_top(planes, plane, top, place, known_row, k: tl.constexpr):
    """Write the first k places in falling order, plane after plane."""
    top = tl.where((place < k)[None, :], top, float("-inf"))
    for i in range(k):
        largest, at = tl.max(top, 1, return_indices=True, return_indices_tie_break_left=True)
        top = tl.where(place[None, :] == at[:, None], float("-inf"), top)
        tl.store(planes + i * plane, largest, known_row)


@triton.jit
def _softmax(mass, weighted, similarities, products, best, scales, slot, temperatures: tl.constexpr):
    """Return the sums with the tile's weights added, each temperature's in its slot."""
    for i in range(temperatures):
        weights = tl.exp2((similarities - best[:, None]) * tl.load(scales + i))
        own = (slot == i)[None, :]
        mass += tl.where(own, tl.sum(weights, 1)[:, None], 0.0)
        # Not the similarities: where there are none they are -inf, and 0 times that is no number.
        weighted += tl.where(own, tl.sum(weights * products, 1)[:, None], 0.0)
    return mass, weighted


@triton.jit(do_not_specialize=["tokens", "count"])  # they differ from block to block: compiled once for all
def pool(
    queries,
    documents,
    starts,
    ends,
    scales,
    planes,
    positions,
    tokens,
    count,
    dim,
    k: tl.constexpr,
    temperatures: tl.constexpr,
    mean: tl.constexpr,
    argmax: tl.constexpr,
    places: tl.constexpr,
    slots: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    depth: tl.constexpr,
) -> None:
    """Pool documents with query tokens; the grid is (cdiv(tokens, rows) * count,).

    Args:
        queries: (tokens, dim) fp32.
        documents: (document tokens, dim) fp32.
        starts: (count,) int64, the first row of each document.
        ends: (count,) int64, the row after its last; the same where it is empty.
        scales: (temperatures,) fp32, log2(e) / temperature.
        planes: (P, count, tokens) fp32 to be written: the maximum, the k largest values, mass and weighted sum for each
            temperature, the total for Mean.
        positions: (count, tokens) int64 to be written with the maximum's position, where `argmax` is.
        tokens: the number of query tokens.
        count: the number of documents.
        dim: the width of a vector.
        k: how many of the largest values are wanted, or 0.
        temperatures: how many temperatures there are.
        mean: whether the total is wanted.
        argmax: whether the positions are.
        places: a power of two, at least k.
        slots: a power of two, at least `temperatures`.
        rows: query tokens of a tile.
        columns: document tokens of a tile.
        depth: how much of `dim` is multiplied at a time.
    """
    tiles = tl.cdiv(tokens, rows)  # those of one document stand together: its vectors are read while they are in the cache
    document = (tl.program_id(0) // tiles).to(tl.int64)
    row = (tl.program_id(0) % tiles * rows + tl.arange(0, rows)).to(tl.int64)
    known_row = row < tokens
    start = tl.load(starts + document)
    length = (tl.load(ends + document) - start).to(tl.int32)

    best = tl.full((rows,), float("-inf"), tl.float32)
    position = tl.full((rows,), -1, tl.int32)
    place = tl.arange(0, places)
    # In no order; the places beyond k are never the least.
    top = tl.zeros((rows, places), tl.float32) + tl.where(place < k, float("-inf"), float("inf"))[None, :]
    slot = tl.arange(0, slots)
    scale = tl.load(scales + slot, slot < temperatures, 1.0)
    mass = tl.zeros((rows, slots), tl.float64)
    weighted = tl.zeros((rows, slots), tl.float64)
    total = tl.zeros((rows,), tl.float64)

    for left in range(0, length, columns):
        column = left + tl.arange(0, columns)
        known_column = column < length
        products = _dot(queries, documents, row, start + column, known_row, known_column, dim, rows, columns, depth)
        similarities = tl.where(known_column[None, :], products, float("-inf"))
        largest, at = tl.max(similarities, 1, return_indices=True, return_indices_tie_break_left=True)
        position = tl.where(largest > best, left + at, position)
        before, best = best, tl.maximum(best, largest)
        if k:
            top = _top(top, similarities, place, k)
        if temperatures:
            faded = tl.exp2((before - best)[:, None] * scale[None, :])
            mass, weighted = _softmax(mass * faded, weighted * faded, similarities, products, best, scales, slot, temperatures)
        if mean:
            total += tl.sum(products, 1)

    out = planes + document * tokens + row
    plane = tl.cast(count, tl.int64) * tokens
    tl.store(out, best, known_row)
    if argmax:
        tl.store(positions + document * tokens + row, position.to(tl.int64), known_row)
    if k:
        _store_top(out + plane, plane, top, place, known_row, k)
    if temperatures:
        masses = out[:, None] + (1 + k + 2 * slot)[None, :] * plane
        known = known_row[:, None] & (slot < temperatures)[None, :]
        tl.store(masses, mass.to(tl.float32), known)
        tl.store(masses + plane, weighted.to(tl.float32), known)
    if mean:
        tl.store(out + (1 + k + 2 * temperatures) * plane, total.to(tl.float32), known_row)
