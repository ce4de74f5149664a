"""95 % intervals hold the truth in 93 to 97 of 100 collections, for the kinds of values that probes measure.

1,000 simulated collections cannot tell 93 % from 92.9 %: a case fails where their exact 99 % interval lies wholly outside.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lidiag.stats import crossed_interval, mean_interval, ratio_interval

COLLECTIONS = 1_000


def ndcg(rng, n):
    at_0, at_1 = rng.random(n) < 0.25, rng.random(n) < 0.2
    return np.where(at_0, 0.0, np.where(at_1, 1.0, rng.beta(1.2, 1.5, n)))


NDCG = 0.75 * (0.2 + 0.8 * 1.2 / 2.7)


def mostly_zero(rng, n):
    return np.where(rng.random(n) < 0.9, 0.0, rng.beta(1, 2, n))


def recall(rng, n):
    relevant = rng.integers(1, 9, n)
    before = rng.binomial(relevant, 0.4) / relevant
    return before * rng.binomial(4, 0.3, n) / 4, before


MEANS = {
    "nDCG": (ndcg, NDCG, True),
    "nDCG, not called a share": (ndcg, NDCG, False),
    "nDCG differences": (lambda rng, n: ndcg(rng, n) - ndcg(rng, n), 0, False),
    "few queries differ": (lambda rng, n: np.where(rng.random(n) < 0.8, 0.0, rng.normal(0.1, 0.3, n)), 0.02, False),
    "rate near 0": (lambda rng, n: rng.beta(0.2, 8, n), 0.2 / 8.2, True),
    "rate near 1": (lambda rng, n: 1 - rng.beta(0.2, 8, n), 8 / 8.2, True),
    "nine in ten are 0": (mostly_zero, 0.1 / 3, True),
    "hits": (lambda rng, n: (rng.random(n) < 0.3) * 1.0, 0.3, True),
    "log-normal": (lambda rng, n: rng.lognormal(0, 1, n), np.exp(0.5), False),
}


def few_hold_it(rng, n):
    base = rng.beta(2, 1, n)
    return base * (rng.random(n) < 0.05), base


RATIOS = {
    "one query in twenty retains what it had": (few_hold_it, 0.05),
    "recall retained": (recall, 0.3),
    "log-normal": (lambda rng, n: (rng.lognormal(0, 1, n), rng.lognormal(0, 1, n)), 1.0),
    "lengths": (lambda rng, n: rng.gamma(4, (11, 10), (n, 2)).T, 1.1),
}


def held(estimates, truth):
    """Return the exact 99 % interval of the share of estimates that hold the truth."""
    hits = sum(e.low is not None and e.low <= truth <= e.high for e in estimates)
    return scipy_stats.binomtest(hits, len(estimates)).proportion_ci(0.99)


def assert_calibrated(estimates, truth):
    share = held(estimates, truth)
    assert share.high >= 0.93
    assert share.low <= 0.97


@pytest.mark.parametrize("n", [50, 225])
@pytest.mark.parametrize("kind", MEANS)
def test_intervals_of_means_hold_the_truth(kind, n):
    draw, truth, share = MEANS[kind]
    rng = np.random.default_rng([1, n])
    assert_calibrated([mean_interval(draw(rng, n), share=share) for _ in range(COLLECTIONS)], truth)


@pytest.mark.parametrize("n", [50, 225])
@pytest.mark.parametrize("kind", RATIOS)
def test_intervals_of_ratios_hold_the_truth(kind, n):
    draw, truth = RATIOS[kind]
    rng = np.random.default_rng([2, n])
    assert_calibrated([ratio_interval(*draw(rng, n)) for _ in range(COLLECTIONS)], truth)


def test_a_ratio_that_few_units_hold_errs_to_both_sides_and_reaches_no_further_than_a_share_would():
    rng = np.random.default_rng(6)
    estimates = [ratio_interval(*few_hold_it(rng, 50)) for _ in range(COLLECTIONS)]
    above, below = sum(e.low > 0.05 for e in estimates), sum(e.high < 0.05 for e in estimates)
    assert min(above, below) > 5
    one = ratio_interval(np.eye(1, 50)[0], np.ones(50))
    assert one.high < scipy_stats.binomtest(3, 50).proportion_ci().high  # e^4 times as much without the correction


def test_intervals_of_clustered_queries_hold_the_truth_and_unclustered_ones_do_not():
    rng, clustered, ignored = np.random.default_rng(3), [], []
    for _ in range(COLLECTIONS):
        clusters = np.repeat(np.arange(50), rng.geometric(1 / 3, 50))
        values = rng.normal(0, 1, 50)[clusters] + rng.normal(0, 1, len(clusters))
        clustered.append(mean_interval(values, clusters=clusters))
        ignored.append(mean_interval(values))
    assert_calibrated(clustered, 0)
    assert held(ignored, 0).high < 0.93


@pytest.mark.parametrize("seeds", [3, 10])
def test_crossed_intervals_hold_the_truth_and_those_of_one_source_do_not(seeds):
    rng = np.random.default_rng([4, seeds])
    shape = (COLLECTIONS, seeds, 100)
    runs = rng.normal(0, 0.3, (*shape[:2], 1)) + rng.normal(0, 0.5, (COLLECTIONS, 1, 100)) + rng.normal(0, 0.2, shape)
    assert_calibrated([crossed_interval(run) for run in runs], 0)
    assert held([mean_interval(run.mean(0)) for run in runs], 0).high < 0.93


def test_the_plain_t_interval_would_not_hold_the_truth():
    rng = np.random.default_rng(5)
    low, high = scipy_stats.ttest_1samp([mostly_zero(rng, 50) for _ in range(COLLECTIONS)], 0, axis=1).confidence_interval()
    hits = int(((low <= 0.1 / 3) & (high >= 0.1 / 3)).sum())
    assert scipy_stats.binomtest(hits, COLLECTIONS).proportion_ci(0.99).high < 0.93
