"""Sign-flip tests of many measurements on the same queries at once."""

from __future__ import annotations

import numpy as np

from lidiag.stats.intervals import Array

_ENTRIES = 4_000_000  # signs held at once: bounds memory; the draws are the same whatever it is


def sign_flip_ps(differences: Array, *, rng: np.random.Generator, draws: int = 9_999) -> Array:
    """Return the two-sided p, never 0, of each column's mean in (units, m) paired differences, under the same random signs for all.

    One column alone has the p of `sign_flip_p`. Shared signs keep the columns' dependence, as the false discovery rate of
    Benjamini and Hochberg allows. Exact where all signs number at most `draws` + 1.
    """
    units = len(differences)
    sums = np.abs(differences.sum(axis=0))
    at_least = sums - 1e-12 * np.abs(differences).sum(axis=0)
    if 2.0**units <= draws + 1:
        signs = 2.0 * (np.arange(2**units)[:, None] >> np.arange(units) & 1) - 1
        return (np.abs(signs @ differences) >= at_least).mean(axis=0)
    extreme = np.zeros(differences.shape[1])
    rows = 4 * max(1, _ENTRIES // (4 * (units + differences.shape[1])))  # numpy drops what is left of 4 bytes after each call
    for start in range(0, draws, rows):
        signs = 2.0 * rng.integers(0, 2, (min(rows, draws - start), units), dtype=np.int8) - 1
        extreme += (np.abs(signs @ differences) >= at_least).sum(axis=0)
    return (extreme + 1) / (draws + 1)
