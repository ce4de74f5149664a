"""Intervals against hand-worked cases, scipy's own, and the equations that define them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats

from lidiag.stats import clopper_pearson, crossed_interval, mean_interval, ratio_interval

SKEWED = np.array([0.0, 0.0, 0.1, 0.2, 0.0, 0.3, 0.1, 2.0])
GROUPS = np.array([7, 7, 3, 3, 3, 9, 9, 1])
numbers = st.floats(-100, 100).map(lambda x: round(x, 3))
samples = arrays(np.float64, st.integers(2, 30), elements=numbers)


def ends(estimate):
    return np.array([estimate.low, estimate.high])


def plain_t(values):
    return np.array(scipy_stats.ttest_1samp(values, 0).confidence_interval())


def stretch(errors):
    """The long side's growth, from scipy's skewness and Johnson's shift of the t statistic."""
    n = len(errors)
    t = scipy_stats.t.ppf(0.975, n - 1)
    shift = scipy_stats.skew(errors) * (1 + 2 * t**2) / (6 * np.sqrt(n))
    return np.exp(np.arcsinh(abs(shift) / t))


def log_stretches(errors):
    """The growth of both sides of a logarithm's interval: Johnson's shift, less what the logarithm has bent."""
    n = len(errors)
    t = scipy_stats.t.ppf(0.975, n - 1)
    shift = (scipy_stats.skew(errors) * (1 + 2 * t**2) / 6 - errors.std(ddof=1) * t**2 / 2) / np.sqrt(n)
    growth = np.exp(np.arcsinh(abs(shift) / t))
    return np.array([growth, 1.0] if shift < 0 else [1.0, growth])


def test_symmetric_values_get_the_t_interval():
    values = np.array([1.0, 2.0, 3.0, 5.0, 7.0, 8.0, 9.0])
    np.testing.assert_allclose(ends(mean_interval(values)), plain_t(values))
    assert mean_interval(values).value == 5.0
    assert mean_interval(values).n == 7


def test_the_side_of_the_long_tail_is_stretched_and_the_other_stays():
    low, high = plain_t(SKEWED)
    found = mean_interval(SKEWED)
    assert found.low == pytest.approx(low)
    assert found.high - found.value == pytest.approx((high - found.value) * stretch(SKEWED))
    mirrored = mean_interval(-SKEWED)
    np.testing.assert_allclose(ends(mirrored), -ends(found)[::-1])


def test_a_little_skewness_moves_the_long_end_by_johnsons_shift():
    values = np.linspace(-1, 1, 400) + 0.01 * np.linspace(-1, 1, 400) ** 2
    t = scipy_stats.t.ppf(0.975, 399)
    shift = scipy_stats.skew(values) * (1 + 2 * t**2) / (6 * 20) * values.std(ddof=1) / 20
    assert mean_interval(values).high - plain_t(values)[1] == pytest.approx(shift, rel=0.01)


def test_another_level_gives_another_width():
    values = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(ends(mean_interval(values, level=0.8)), scipy_stats.ttest_1samp(values, 0).confidence_interval(0.8))
    assert clopper_pearson(3, 10, level=0.8) == pytest.approx(tuple(scipy_stats.binomtest(3, 10).proportion_ci(0.8)))
    assert mean_interval(np.zeros(9), share=True, level=0.8).high == pytest.approx(1 - 0.1 ** (1 / 9))
    assert ratio_interval(np.zeros(9), np.ones(9), level=0.8).high == pytest.approx(1 - 0.1 ** (1 / 9))


def test_skewed_means_agree_with_the_bca_bootstrap():
    values = np.random.default_rng(5).exponential(size=150)
    bca = scipy_stats.bootstrap((values,), np.mean, n_resamples=9_999, method="BCa", rng=np.random.default_rng(0)).confidence_interval
    found = mean_interval(values)
    np.testing.assert_allclose(ends(found), bca, atol=0.1 * (bca.high - bca.low))


@given(samples, st.floats(0.1, 10), numbers)
def test_a_mean_interval_follows_a_change_of_scale_and_origin(values, scale, shift):
    found, moved = mean_interval(values), mean_interval(values * scale + shift)
    if found.low is None or moved.low is None:  # a spread lost in rounding against the shift
        assert values.std() < 1e-9
        return
    np.testing.assert_allclose(ends(moved), ends(found) * scale + shift, atol=1e-6)


def test_clusters_of_equal_size_give_the_interval_of_their_means():
    values, clusters = np.arange(12.0) ** 1.5, np.repeat([5, 2, 8, 1], 3)
    found = mean_interval(values, clusters=clusters)
    np.testing.assert_allclose(ends(found), ends(mean_interval(values.reshape(4, 3).mean(1))))
    assert found.n == 4


def test_uneven_clusters_get_the_jackknifes_standard_error():
    without = np.array([SKEWED[cluster != GROUPS].mean() for cluster in np.unique(GROUPS)])
    mean, t = SKEWED.mean(), scipy_stats.t.ppf(0.975, 3)
    errors = 3 * (mean - without)
    low, high = mean - t * errors.std(ddof=1) / 2, mean + t * errors.std(ddof=1) / 2
    found = mean_interval(SKEWED, clusters=GROUPS)
    assert (found.value, found.n) == (mean, 4)
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(mean + (high - mean) * stretch(errors))


def test_the_order_of_queries_and_the_names_of_clusters_do_not_matter():
    order = np.random.default_rng(0).permutation(8)
    found = mean_interval(SKEWED, clusters=GROUPS)
    np.testing.assert_allclose(ends(mean_interval(SKEWED[order], clusters=-GROUPS[order])), ends(found))


@pytest.mark.parametrize("ones", [1, 3, 20, 49])
def test_a_rate_of_hits_has_wilsons_interval(ones):
    values = np.repeat([1.0, 0.0], [ones, 50 - ones])
    found, t = mean_interval(values, share=True), scipy_stats.t.ppf(0.975, 49)
    for end in ends(found):  # the ends are where the share's own variance puts them t standard errors away
        assert (values.mean() - end) ** 2 == pytest.approx(t**2 * end * (1 - end) / 49)
    assert found.low < values.mean() < found.high


@pytest.mark.parametrize("successes", [0, 1, 3, 10])
def test_clopper_pearson_is_scipys(successes):
    assert clopper_pearson(successes, 10) == pytest.approx(tuple(scipy_stats.binomtest(successes, 10).proportion_ci()))


def test_a_share_at_exactly_0_or_1_has_the_clopper_pearson_bound():
    none, all_ = mean_interval(np.zeros(50), share=True), mean_interval(np.ones(50), share=True)
    np.testing.assert_allclose(ends(none), scipy_stats.binomtest(0, 50).proportion_ci())
    np.testing.assert_allclose(ends(all_), scipy_stats.binomtest(50, 50).proportion_ci())
    clustered = mean_interval(np.ones(50), share=True, clusters=np.repeat(np.arange(10), 5))
    np.testing.assert_allclose(ends(clustered), scipy_stats.binomtest(10, 10).proportion_ci())
    assert clustered.n == 10
    assert mean_interval(np.full(50, 1 - 1e-16), share=True).low == pytest.approx(all_.low)
    assert mean_interval(np.full(50, 1e-16), share=True).high == pytest.approx(none.high)
    assert mean_interval(np.ones(1), share=True).low == pytest.approx(0.025)


def test_a_clustered_rate_of_hits_has_wilsons_interval_with_the_effective_sample_size():
    values, clusters = np.array([1, 1, 1, 0, 0, 0, 1, 0.0]), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    found, t = mean_interval(values, clusters=clusters, share=True), scipy_stats.t.ppf(0.975, 3)
    effective = 0.25 / (np.array([1, 0.5, 0, 0.5]).var(ddof=1) / 4)
    for end in ends(found):
        assert (0.5 - end) ** 2 == pytest.approx(t**2 * end * (1 - end) / effective)


@given(arrays(np.float64, st.integers(2, 20), elements=st.floats(0, 1).map(lambda x: round(x, 2))))
def test_a_shares_interval_stays_in_0_to_1_and_holds_its_value(values):
    found = mean_interval(values, share=True)
    if found.low is not None:
        assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    ("values", "wilson_is_wider"),
    [(np.repeat([0.0, 0.5, 0.2], [40, 4, 6]), True), (np.r_[np.linspace(0.05, 0.07, 49), 0.4], False)],
)
def test_a_share_of_parts_has_the_wider_of_wilsons_end_and_the_stretched_one(values, wilson_is_wider):
    found, (low, high), mean = mean_interval(values, share=True), plain_t(values), values.mean()
    t, effective = scipy_stats.t.ppf(0.975, 49), mean * (1 - mean) / (values.var(ddof=1) / 50)
    k = t**2 / effective  # Wilson's ends are the roots of (x - mean)^2 = k x (1 - x)
    wilson = np.sort(np.roots([1 + k, -2 * mean - k, mean**2]))
    stretched = mean + (high - mean) * stretch(values)
    assert (wilson[1] > stretched) == wilson_is_wider
    np.testing.assert_allclose(ends(found), [min(low, wilson[0]), max(stretched, wilson[1])])


def test_a_shares_interval_ends_at_0_and_1_where_t_would_pass_them():
    near_0 = np.repeat([0.0, 0.4], [48, 2])
    assert mean_interval(near_0).low < 0
    assert mean_interval(near_0, share=True).low == 0
    assert mean_interval(1 - near_0).high > 1
    assert mean_interval(1 - near_0, share=True).high == 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [([0.3], "one unit shows no spread"), ([0.3, 0.3], "all 2 units have the same value"), ([0.1 + 0.2, 0.3], "all 2 units")],
)
def test_where_no_spread_shows_there_is_no_interval_but_a_reason(values, reason):
    for share in (False, True):
        found = mean_interval(np.array(values), share=share)
        assert found.low is found.high is None
        assert found.no_interval.startswith(reason)
    assert ratio_interval(np.array(values), np.full(len(values), 0.6)).no_interval is not None


def test_clusters_that_each_sum_to_0_show_no_spread():
    found = ratio_interval(np.array([1.0, -1.0, 2.0, -2.0]), np.ones(4), clusters=np.array([0, 0, 1, 1]))
    assert (found.value, found.low, found.no_interval) == (0, None, "all 2 units have the same ratio, so they show no spread")


def test_one_cluster_shows_no_spread():
    assert mean_interval(np.array([1.0, 2.0]), clusters=np.array([4, 4])).no_interval == "one unit shows no spread"
    assert ratio_interval(np.array([1.0, 2.0]), np.ones(2), clusters=np.array([4, 4])).no_interval == "one unit shows no spread"


@pytest.mark.parametrize(
    ("values", "share", "message"),
    [
        ([], False, "no value"),
        ([1, np.nan], False, "1 of 2 values are not finite"),
        ([np.inf, 1], False, "not finite"),
        ([0.5, 1.1], True, r"\[0.5, 1.1\]"),
        ([-0.1, 0.5], True, r"\[-0.1, 0.5\]"),
    ],
)
def test_values_that_make_no_mean_are_refused(values, share, message):
    with pytest.raises(ValueError, match=message):
        mean_interval(np.array(values, dtype=float), share=share)


def test_a_ratio_is_worked_by_hand():
    values, base = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 4.0])
    errors = np.array([1 - 1.5, 2 - 1.5, 3 - 3.0]) * 2 / np.array([6, 6, 4]) / 0.75
    reach = scipy_stats.t.ppf(0.975, 2) * errors.std(ddof=1) / np.sqrt(3)
    found = ratio_interval(values, base)
    assert (found.value, found.n) == (0.75, 3)
    np.testing.assert_allclose(np.log(ends(found) / 0.75), [-reach, reach] * log_stretches(errors))


def test_a_ratio_is_stretched_by_the_skewness_that_the_logarithm_leaves():
    base = np.array([1.0, 2.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    ratio = SKEWED.sum() / base.sum()
    errors = (SKEWED - ratio * base) * 7 / (base.sum() - base) / ratio
    reach = scipy_stats.t.ppf(0.975, 7) * errors.std(ddof=1) / np.sqrt(8)
    found = ratio_interval(SKEWED, base)
    np.testing.assert_allclose(np.log(ends(found) / ratio), [-reach, reach] * log_stretches(errors))
    assert log_stretches(errors)[1] < stretch(errors)


def test_a_ratio_over_equal_bases_has_the_means_relative_error():
    values = np.array([3.0, 4.0, 5.0, 6.0, 7.0])
    relative = ends(mean_interval(values)) / 5 - 1
    np.testing.assert_allclose(
        np.log(ends(ratio_interval(values, np.full(5, 2.0))) / 2.5), relative * log_stretches(values / 5 - 1), rtol=1e-6
    )


def test_the_logarithm_takes_away_skewness_as_its_t_statistic_says():
    # Exponential values, whose skewness and coefficient of variation are 2 and 1: T + T^2 / (2 sqrt n) to first order.
    values = np.random.default_rng(8).exponential(1, (20_000, 200))
    linear = np.sqrt(200) * (values.mean(1) - 1) / values.std(1, ddof=1)
    log = np.sqrt(200) * np.log(values.mean(1)) / (values.std(1, ddof=1) / values.mean(1))
    np.testing.assert_allclose(log - linear, linear**2 / (2 * np.sqrt(200)), atol=0.2)


@given(arrays(np.float64, 12, elements=st.floats(0.1, 10)), arrays(np.float64, 12, elements=st.floats(0.1, 10)))
def test_a_ratio_interval_is_positive_and_follows_the_scales(values, base):
    found, scaled = ratio_interval(values, base), ratio_interval(values * 8, base * 2)
    if found.low is None or np.array_equal(values, base) or np.array_equal(values * 8, base * 2):
        return
    assert 0 < found.low <= found.value <= found.high
    np.testing.assert_allclose(ends(scaled), ends(found) * 4)


def test_clusters_of_a_ratio_are_its_units():
    values, base = SKEWED + 1, np.arange(1.0, 9.0)
    groups = np.unique(GROUPS)
    by_cluster = [np.array([side[cluster == GROUPS].sum() for cluster in groups]) for side in (values, base)]
    found = ratio_interval(values, base, clusters=GROUPS)
    np.testing.assert_allclose(ends(found), ends(ratio_interval(*by_cluster)))
    assert found.n == 4


def test_a_ratio_of_nothing_kept_is_bounded_by_clopper_pearson():
    found = ratio_interval(np.zeros(50), np.repeat([1.0, 0.0], [40, 10]))
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(scipy_stats.binomtest(0, 40).proportion_ci().high)
    assert found.n == 50


def test_a_ratio_of_nothing_changed_is_bounded_both_ways():
    base = np.repeat([0.5, 0.0], [40, 10])
    found, bound = ratio_interval(base, base), scipy_stats.binomtest(0, 40).proportion_ci().high
    assert found.value == 1
    np.testing.assert_allclose(ends(found), [1 - bound, 1 + bound])


def test_a_ratio_with_negative_values_has_an_interval_on_its_own_scale():
    values, base = np.array([-2.0, -1.0, 3.0, 4.0, 1.0, -2.0]), np.full(6, 2.0)
    np.testing.assert_allclose(ends(ratio_interval(values, base)), ends(mean_interval(values / 2)))
    assert ratio_interval(-values, base).value == pytest.approx(-0.25)


def test_a_base_in_one_query_gives_no_interval():
    assert ratio_interval(np.array([1.0, 2.0]), np.array([0.0, 3.0])).no_interval == "one unit holds the whole base"
    nearly = ratio_interval(np.array([1.0, 2.0, 0.0]), np.array([1e-9, 3.0, 1e-9]))
    assert nearly.no_interval == "so few units hold the base that the interval has no upper end"


def test_the_upper_end_of_a_ratio_is_given_up_to_e_to_the_50():
    logs, given_up = [], []
    values = np.array([1.0, 2.0, 3.0])
    for small in np.linspace(0.055, 0.06, 100):
        base = np.array([small, 3.0, small])
        ratio = values.sum() / base.sum()
        errors = (values - ratio * base) * 2 / (base.sum() - base) / ratio
        logs.append(scipy_stats.t.ppf(0.975, 2) * errors.std(ddof=1) / np.sqrt(3) * log_stretches(errors)[1])
        given_up.append(ratio_interval(values, base).no_interval is not None)
    assert min(logs) < 49
    assert max(logs) > 51
    assert given_up == [log > 50 for log in logs]


@pytest.mark.parametrize("base", [[0.0, 0.0], [-1.0, 0.5]])
def test_a_base_that_sums_to_nothing_is_refused_with_its_sum(base):
    with pytest.raises(ValueError, match=f"sums to {sum(base):g} over 2 values"):
        ratio_interval(np.ones(2), np.array(base))


def test_a_ratio_of_missing_values_is_refused():
    with pytest.raises(ValueError, match="no value"):
        ratio_interval(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="not finite"):
        ratio_interval(np.ones(2), np.array([1.0, np.nan]))


def test_a_crossed_interval_is_worked_by_hand():
    # mean squares: seeds 9, queries 4, rest 1; variance (9 + 4 - 1) / 4; freedom 12^2 / (81 + 16 + 1)
    found = crossed_interval(np.array([[1.0, 2.0], [3.0, 6.0]]))
    reach = scipy_stats.t.ppf(0.975, 144 / 98) * np.sqrt(3)
    assert (found.value, found.n) == (3, 2)
    np.testing.assert_allclose(ends(found), [3 - reach, 3 + reach])


def test_a_crossed_interval_of_more_seeds_is_worked_by_hand():
    # By seed 1, 4, 4 and by query 0, 3, 6: mean squares 3 * 3 = 9 and 3 * 9 = 27; the rest is 1, -1, 0 in a 2 x 2 square: 4 / 4.
    rest = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    found = crossed_interval(np.array([[1.0], [4.0], [4.0]]) + np.array([-3.0, 0.0, 3.0]) + rest)
    reach = scipy_stats.t.ppf(0.975, 35**2 / (9**2 / 2 + 27**2 / 2 + 1 / 4)) * np.sqrt(35 / 9)
    assert (found.value, found.n) == (3, 3)
    np.testing.assert_allclose(ends(found), [3 - reach, 3 + reach])


def test_a_crossed_interval_of_equal_seeds_is_that_of_the_queries():
    queries = np.array([0.1, 0.4, 0.9, 0.3])
    np.testing.assert_allclose(ends(crossed_interval(np.tile(queries, (3, 1)))), plain_t(queries))


@pytest.mark.parametrize("tilt", [np.array([[0.1], [-0.1]]), np.array([[0.1, 0.0, -0.2]])])
def test_a_crossed_interval_never_falls_below_the_larger_source(tilt):
    # Nearly all varies within, so that the difference of mean squares is below 0.
    values = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]) + tilt
    seeds, queries = 3 * values.mean(1).var(ddof=1), 2 * values.mean(0).var(ddof=1)
    rest = ((values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()) ** 2).sum() / 2
    larger = max(seeds, queries)
    assert larger > seeds + queries - rest
    reach = scipy_stats.t.ppf(0.975, max(1, larger**2 / (seeds**2 + queries**2 / 2 + rest**2 / 2))) * np.sqrt(larger / 6)
    np.testing.assert_allclose(ends(crossed_interval(values)), [values.mean() - reach, values.mean() + reach])


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_rounding_is_no_spread_and_a_spread_is_none_at_any_scale(scale):
    rounded, spread = np.array([0.1 + 0.2, 0.3, 0.3]) * scale, np.array([0.1, 0.3, 0.4]) * scale
    assert mean_interval(rounded).low is None
    assert mean_interval(spread).low is not None
    assert crossed_interval(np.stack([rounded, rounded])).low is None
    assert crossed_interval(np.stack([spread, spread])).low is not None
    assert crossed_interval((1 + 1e-8 * np.stack([spread, spread]) / scale) * scale).low is not None
    assert ratio_interval(rounded, np.full(3, 0.7)).low is None
    assert ratio_interval(spread, np.full(3, 0.7)).low is not None
    assert ratio_interval(np.ones(3), spread).low is not None
    assert ratio_interval(np.array([1.0, 2.0]), np.array([1e-14, 1.0]) * scale).no_interval == "one unit holds the whole base"


def test_one_seed_gives_no_crossed_interval():
    assert crossed_interval(np.ones((1, 5))).no_interval.startswith("1 x 5")
    assert crossed_interval(np.ones((5, 1))).low is None
    assert "the same" in crossed_interval(np.ones((3, 5))).no_interval
    assert "the same" in crossed_interval(np.zeros((3, 5))).no_interval
    with pytest.raises(ValueError, match="not finite"):
        crossed_interval(np.array([[1.0, np.nan]]))
