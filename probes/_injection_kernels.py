"""What a set does to the documents that it is put into, summed up in one scan; compiled by Numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidiag.kernels import loosely_kept_on_disk

EMPTY, FRIEND, FOE, FOE_OUTSIDE = 0, 1, 2, 3  # a document's part: nothing, relevant, one that gets the set, one outside the first ten
SUMS = ("gain", "share of foes", "share of friends", "entered")

Floats = NDArray[np.float32]


@loosely_kept_on_disk
def tally(scores: Floats, part: NDArray[np.uint8], bar: np.float32, merged: Floats, after: Floats, sums: NDArray[np.float64]) -> None:  # noqa: PLR0913, PLR0917
    """Write scores (sets, documents) after the injection, and add the SUMS over documents to `sums` (sets, 4).

    `merged` (3, sets, documents) are gains, their positive parts and shares, as `Merged` has them; what gets no set keeps its score.
    """
    for s in range(len(after)):
        gain, own, theirs, entered = 0.0, 0.0, 0.0, 0
        gained, positive, share, row = merged[0, s], merged[1, s], merged[2, s], after[s]
        for d in range(len(scores)):
            foe = part[d] >= FOE
            row[d] = scores[d] + gained[d] if foe else scores[d]
            gain += positive[d] if foe else 0.0
            own += share[d] if foe else 0.0
            theirs += share[d] if part[d] == FRIEND else 0.0
            entered += part[d] == FOE_OUTSIDE and row[d] > bar
        sums[s, 0] += gain
        sums[s, 1] += own
        sums[s, 2] += theirs
        sums[s, 3] += entered
