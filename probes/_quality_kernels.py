"""The first few of a ranking, found in one scan of the scores; compiled by Numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidiag.kernels import strictly_kept_on_disk

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]


@strictly_kept_on_disk
def first(scores: Floats, place: Positions, out: Positions) -> None:
    """Write the positions of the best of each row of (rankings, documents) scores: `out` is (rankings, as many as are wanted).

    The best is first; of equal scores, the one of the higher place.
    """
    wanted = out.shape[1]
    values = np.empty(wanted, np.float32)
    for row in range(len(scores)):
        ranking, best = scores[row], out[row]
        found = 0
        for document in range(len(ranking)):
            score = ranking[document]
            if found == wanted and not score >= values[wanted - 1]:
                continue
            slot = found
            while slot > 0 and (score > values[slot - 1] or (score == values[slot - 1] and place[document] > place[best[slot - 1]])):
                slot -= 1
            if slot == wanted:
                continue
            found = min(found + 1, wanted)
            for behind in range(found - 1, slot, -1):
                values[behind], best[behind] = values[behind - 1], best[behind - 1]
            values[slot], best[slot] = score, document
