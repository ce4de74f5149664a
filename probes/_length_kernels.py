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

Keys = NDArray[np.uint64]

_LOWEST = -(2**31)
_CLASS, _BITS = np.uint64(0xFFFFFFFF), np.uint64(32)  # a key's lower bits hold a class, its upper ones a score
_DIGIT, _DIGITS, _VALUES = np.uint64(11), 3, 2**11  # three digits hold a score


def spearman(scores: Floats, lengths: Integers, classes: Integers, mask: Mask, least: int) -> Doubles:
    """Return each row's rank correlation of (rows, documents) scores and (documents,) lengths, equal ones with mean ranks.

    Documents count where `mask` (rows, documents) says so and that have at least `least` vectors; NaN where either is constant.
    `classes` number the distinct lengths from 0, rising.
    """
    return _correlations(np.ascontiguousarray(scores, dtype=np.float32).view(np.int32), lengths, classes, mask, least)


@strictly_kept_on_disk
def _correlations(bits: NDArray[np.int32], lengths: Integers, classes: Integers, mask: Mask, least: int) -> Doubles:
    # One whole number holds score and class of length: the bits of a float, read as an integer, keep its order (mirrored below 0).
    out, counts = np.empty(len(bits)), np.empty(classes.max() + 1 if len(classes) else 0, np.int64)
    keys, room = np.empty(len(classes), np.uint64), np.empty(len(classes), np.uint64)
    for row in range(len(bits)):
        counts[:] = 0
        n = 0
        for document in range(len(lengths)):
            if mask[row, document] and lengths[document] >= least:
                score = np.int64(bits[row, document])
                order = np.uint64((score if score >= 0 else _LOWEST - score) - _LOWEST)
                keys[n] = (order << _BITS) | np.uint64(classes[document])
                counts[classes[document]] += 1
                n += 1
        out[row] = _correlation(_rising(keys[:n], room[:n]), counts)
    return out


@strictly_kept_on_disk
def _rising(keys: Keys, room: Keys) -> Keys:
    """Return the keys in rising order of score, in either place: by one digit after another, which takes as long for each of many."""
    starts = np.zeros((_DIGITS, _VALUES), np.int64)
    for i in range(len(keys)):
        for digit in range(_DIGITS):
            starts[digit, (keys[i] >> (_BITS + _DIGIT * np.uint64(digit))) & np.uint64(_VALUES - 1)] += 1
    for digit in range(_DIGITS):
        before = 0
        for value in range(_VALUES):
            before, starts[digit, value] = before + starts[digit, value], before
        for i in range(len(keys)):
            value = (keys[i] >> (_BITS + _DIGIT * np.uint64(digit))) & np.uint64(_VALUES - 1)
            room[starts[digit, value]] = keys[i]
            starts[digit, value] += 1
        keys, room = room, keys
    return keys


@strictly_kept_on_disk
def _correlation(keys: Keys, counts: Integers) -> float:
    # Ranks are taken less their mean: of the numbers start .. end - 1 of n, start + (end - start - n) / 2.
    n, ranks = len(keys), np.empty(len(counts))
    squares, start = 0.0, 0
    for i in range(len(counts)):
        ranks[i] = start + (counts[i] - n) / 2
        squares += counts[i] * ranks[i] ** 2
        start += counts[i]
    own, both, start = 0.0, 0.0, 0
    while start < n:
        end, others = start, 0.0
        while end < n and keys[end] >> _BITS == keys[start] >> _BITS:
            others += ranks[keys[end] & _CLASS]
            end += 1
        rank = start + (end - start - n) / 2
        own += (end - start) * rank**2
        both += rank * others
        start = end
    return both / np.sqrt(own * squares) if own > 0 and squares > 0 else np.nan


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
