from __future__ import annotations

import numpy as np

from lidiag.probes import _injection_kernels as kernels


def test_a_set_is_summed_up_over_those_that_get_it():
    scores = np.array([5, 4, 3, 2, 1], np.float32)
    part = np.array([kernels.FRIEND, kernels.FOE, kernels.FOE_OUTSIDE, kernels.FOE_OUTSIDE, kernels.EMPTY], np.uint8)
    gained = [[9, -1, 2, 1.5, 9], [0, 0, 0, 0, 0]]
    positive = [[9, 0, 2, 1.5, 9], [0, 0, 0, 0, 0]]
    share = [[0.25, 0.5, 0.125, 1, 9], [0, 0, 0, 0, 0]]
    after, sums = np.empty((2, 5), np.float32), np.empty((2, 4))
    kernels.tally(scores, part, np.float32(3.5), np.array([gained, positive, share], np.float32), after, sums)
    assert after.tolist() == [[5, 3, 5, 3.5, 1], [5, 4, 3, 2, 1]]
    assert sums.tolist() == [[3.5, 1.625, 0.25, 1], [0, 0, 0, 0]]  # 3.5 only ties with the bar
