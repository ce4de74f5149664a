"""The derivative of every pooling on a block of similarities, compiled by Numba: what training needs beside the scores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# ruff: noqa: FURB136 - `min` and `max` mind NaN, for which a vector register has no one instruction
from lidiag.kernels import kept_on_disk, power_of_two

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

_LOG2_E = np.float32(math.log2(math.e))


@kept_on_disk
def maximum(block: Floats, bounds: Indices, out: Floats) -> None:
    """Write phi of every document to `out` (documents, tokens), and d phi / d s over `block` (document tokens, tokens)."""
    width = block.shape[1]
    where = np.empty(width, np.int64)
    for document in range(len(bounds) - 1):
        best = out[document]
        best[:] = -np.inf
        where[:] = 0
        for row in range(bounds[document], bounds[document + 1]):
            a = block[row]
            for t in range(width):
                where[t] = row if a[t] > best[t] else where[t]
                best[t] = a[t] if a[t] > best[t] else best[t]
        for row in range(bounds[document], bounds[document + 1]):
            a = block[row]
            for t in range(width):
                a[t] = np.float32(1) if where[t] == row else np.float32(0)


@kept_on_disk
def top(block: Floats, bounds: Indices, k: int, out: Floats) -> None:
    """As `maximum`, for the mean of the min(k, m) largest."""
    width = block.shape[1]
    places = np.empty((k, width), np.float32)
    passing = np.empty(width, np.float32)
    room = np.empty(width, np.int32)
    for document in range(len(bounds) - 1):
        kept = min(k, bounds[document + 1] - bounds[document])
        places[:] = -np.inf
        for row in range(bounds[document], bounds[document + 1]):
            passing[:] = block[row]
            for place in range(kept):
                held = places[place]
                for t in range(width):
                    low = passing[t] if passing[t] < held[t] else held[t]
                    held[t] = passing[t] if passing[t] > held[t] else held[t]
                    passing[t] = low
        total = out[document]
        total[:] = 0
        room[:] = 0
        least = places[kept - 1]
        for place in range(kept):
            for t in range(width):
                total[t] += places[place, t] / np.float32(kept)
                room[t] += np.int32(places[place, t] == least[t])  # of equal values only so many have a place
        weight = np.float32(1) / np.float32(kept)
        for row in range(bounds[document], bounds[document + 1]):
            a = block[row]
            for t in range(width):
                last = a[t] == least[t] and room[t] > 0
                room[t] -= np.int32(last)
                a[t] = weight if last or a[t] > least[t] else np.float32(0)


@kept_on_disk
def softmax(block: Floats, bounds: Indices, temperature: float, out: Floats) -> None:
    """As `maximum`, for the average with the weights of softmax at a temperature."""
    width = block.shape[1]
    scale, inverse = _LOG2_E / np.float32(temperature), np.float32(1 / temperature)
    best = np.empty(width, np.float32)
    mass = np.empty(width, np.float32)
    for document in range(len(bounds) - 1):
        phi = out[document]
        best[:] = -np.inf
        mass[:] = 0
        phi[:] = 0
        for row in range(bounds[document], bounds[document + 1]):
            a = block[row]
            for t in range(width):
                best[t] = a[t] if a[t] > best[t] else best[t]
        for row in range(bounds[document], bounds[document + 1]):
            a = block[row]
            for t in range(width):
                weight = power_of_two((a[t] - best[t]) * scale)
                mass[t] += weight
                phi[t] += weight * a[t]
        for t in range(width):
            phi[t] /= mass[t]
        for row in range(bounds[document], bounds[document + 1]):
            a = block[row]
            for t in range(width):
                weight = power_of_two((a[t] - best[t]) * scale) / mass[t]
                a[t] = weight * (np.float32(1) + (a[t] - phi[t]) * inverse)


@kept_on_disk
def mean(block: Floats, bounds: Indices, out: Floats) -> None:
    """As `maximum`, for the mean of all."""
    width = block.shape[1]
    for document in range(len(bounds) - 1):
        weight = np.float32(1) / np.float32(bounds[document + 1] - bounds[document])
        phi = out[document]
        phi[:] = 0
        for row in range(bounds[document], bounds[document + 1]):
            a = block[row]
            for t in range(width):
                phi[t] += a[t] * weight
                a[t] = weight


@kept_on_disk
def spread(block: Floats, bounds: Indices, upstream: Floats) -> None:
    """Multiply every document's rows of derivatives by its row of `upstream` (documents, tokens)."""
    width = block.shape[1]
    for document in range(len(bounds) - 1):
        factor = upstream[document]
        for row in range(bounds[document], bounds[document + 1]):
            a = block[row]
            for t in range(width):
                a[t] *= factor[t]
