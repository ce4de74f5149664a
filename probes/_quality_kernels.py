"""The first few of a ranking, found in one scan of the scores; compiled by Numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidiag.kernels import strictly_kept_on_disk

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]


@strictly_kept_on_disk
def first(scores: Floats, start: int, place: Positions, found: Positions, values: Floats, out: Positions) -> None:  # noqa: PLR0913, PLR0917
    """Keep the positions of the best of each row of (rankings, documents) scores: `out` is (rankings, as many as are wanted).

    Column 0 is document number `start`; what went by before is in `out`, its scores in `values` (of the same shape) and its
    number in `found` (rankings,). The best is first; of equal scores, the one of the higher place.
    """
    wanted = out.shape[1]
    for row in range(len(scores)):
        ranking, best, kept, there = scores[row], out[row], values[row], found[row]
        for column in range(len(ranking)):
            score = ranking[column]
            if there == wanted and not score >= kept[wanted - 1]:
                continue
            slot = there
            while slot > 0 and (score > kept[slot - 1] or (score == kept[slot - 1] and place[start + column] > place[best[slot - 1]])):
                slot -= 1
            if slot == wanted:
                continue
            there = min(there + 1, wanted)
            for behind in range(there - 1, slot, -1):
                kept[behind], best[behind] = kept[behind - 1], best[behind - 1]
            kept[slot], best[slot] = score, start + column
        found[row] = there
