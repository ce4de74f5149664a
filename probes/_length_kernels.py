"""Correlations and slopes of scores and lengths, a row of documents per query; compiled by Numba.

The tests hold each against the plain statistic of `lidiag.stats`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidiag.kernels import strictly_kept_on_disk

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_AT_A_TIME = 2**22  # scores sorted at a time: bounds memory
_LOWEST, _BEHIND = -(2**31), np.int64(2**63 - 1)


def spearman(scores: Floats, lengths: Integers, classes: Integers, mask: Mask, least: int) -> Doubles:
    """Return each row's rank correlation of (rows, documents) scores and (documents,) lengths, equal ones with mean ranks.

    Documents count where `mask` (rows, documents) says so and that have at least `least` vectors; NaN where either is constant.
    `classes` number the distinct lengths from 0, rising.
    """
    bits = np.ascontiguousarray(scores, dtype=np.float32).view(np.int32)
    found, number = np.empty(len(bits)), int(classes.max(initial=0)) + 1
    step = max(1, _AT_A_TIME // max(1, bits.shape[1]))
    for first in range(0, len(bits), step):
        rows = slice(first, first + step)
        keys = _number(bits[rows], lengths, classes, mask[rows], least)
        keys.sort(axis=1)
        _correlate(keys, number, found[rows])
    return found


@strictly_kept_on_disk
def _number(bits: NDArray[np.int32], lengths: Integers, classes: Integers, mask: Mask, least: int) -> Integers:
    # One whole number holds score and class of length: the bits of a float, read as an integer, keep its order (mirrored below 0).
    keys = np.empty(bits.shape, np.int64)
    for row in range(len(bits)):
        for document in range(len(lengths)):
            key = _BEHIND
            if mask[row, document] and lengths[document] >= least:
                score = np.int64(bits[row, document])
                key = (score if score >= 0 else _LOWEST - score) * np.int64(2**32) + classes[document]
            keys[row, document] = key
    return keys


@strictly_kept_on_disk
def _correlate(keys: Integers, classes: int, out: Doubles) -> None:
    # Ranks are taken less their mean: of the numbers start .. end - 1 of n, start + (end - start - n) / 2.
    counts, ranks = np.empty(classes, np.int64), np.empty(classes)
    for row in range(len(keys)):
        ordered = keys[row]
        counts[:] = 0
        n = 0
        while n < len(ordered) and ordered[n] != _BEHIND:
            counts[ordered[n] & 0xFFFFFFFF] += 1
            n += 1
        squares, start = 0.0, 0
        for i in range(classes):
            ranks[i] = start + (counts[i] - n) / 2
            squares += counts[i] * ranks[i] ** 2
            start += counts[i]
        own, both, start = 0.0, 0.0, 0
        while start < n:
            end, others = start, 0.0
            while end < n and ordered[end] >> 32 == ordered[start] >> 32:
                others += ranks[ordered[end] & 0xFFFFFFFF]
                end += 1
            rank = start + (end - start - n) / 2
            own += (end - start) * rank**2
            both += rank * others
            start = end
        out[row] = both / np.sqrt(own * squares) if own > 0 and squares > 0 else np.nan


@strictly_kept_on_disk
def spread(scores: Floats, mask: Mask) -> Doubles:
    """Return each row's mean and standard deviation (over n - 1) of the scores in the mask, (2, rows).

    NaN where nothing counts, and for the deviation where all scores are equal.
    """
    out = np.empty((2, len(scores)))
    for row in range(len(scores)):
        n, total, least, most = 0, 0.0, np.inf, -np.inf
        for document in range(scores.shape[1]):
            if mask[row, document]:
                score = np.float64(scores[row, document])
                n, total = n + 1, total + score
                least, most = min(least, score), max(most, score)
        mean = total / n if n else np.nan
        squares = 0.0
        for document in range(scores.shape[1]):
            if mask[row, document]:
                squares += (scores[row, document] - mean) ** 2
        out[0, row] = mean
        out[1, row] = np.sqrt(squares / (n - 1)) if least < most else np.nan
    return out


@strictly_kept_on_disk
def slope(scores: Floats, doublings: Doubles, lengths: Integers, mask: Mask, least: int) -> Doubles:
    """Return each row's least-squares slope of scores on `doublings` (documents,), of the documents that count for `spearman`.

    NaN where all doublings are equal.
    """
    out = np.empty(len(scores))
    for row in range(len(scores)):
        n, total, lowest, highest = 0, 0.0, np.inf, -np.inf
        for document in range(len(lengths)):
            if mask[row, document] and lengths[document] >= least:
                x = doublings[document]
                n, total = n + 1, total + x
                lowest, highest = min(lowest, x), max(highest, x)
        mean = total / n if n else 0.0
        both, squares = 0.0, 0.0
        for document in range(len(lengths)):
            if mask[row, document] and lengths[document] >= least:
                x = doublings[document] - mean
                both += x * scores[row, document]
                squares += x * x
        out[row] = both / squares if lowest < highest else np.nan
    return out


@strictly_kept_on_disk
def gain(before: Floats, after: Floats, lengths: Integers, mask: Mask, least: int) -> Doubles:
    """Return each row's mean of after - before, of the documents that count for `spearman`; NaN where none does."""
    out = np.empty(len(before))
    for row in range(len(before)):
        n, total = 0, 0.0
        for document in range(len(lengths)):
            if mask[row, document] and lengths[document] >= least:
                n, total = n + 1, total + (np.float64(after[row, document]) - np.float64(before[row, document]))
        out[row] = total / n if n else np.nan
    return out
