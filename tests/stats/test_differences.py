from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from lidiag import stats
from lidiag.stats import benjamini_hochberg, many, minimum_detectable_effect, paired_difference, sign_flip_p


def rng():
    return np.random.default_rng(0)


def scipys_p(differences, **resampling):
    def statistic(a, b, axis):
        return (a - b).mean(axis)

    return scipy_stats.permutation_test(
        (differences, np.zeros_like(differences)), statistic, permutation_type="samples", vectorized=True, **resampling
    ).pvalue


def test_every_sign_is_tried_where_there_are_few():
    # |sum| >= 6 for +++ and ---, of 8
    assert sign_flip_p(np.array([1.0, 2.0, 3.0]), rng=rng()) == 2 / 8
    # 1 + 2 - 3 = 0: nothing is nearer to 0
    assert sign_flip_p(np.array([1.0, 2.0, -3.0]), rng=rng()) == 1
    assert sign_flip_p(np.array([5.0]), rng=rng()) == 1


@given(st.lists(st.integers(-5, 5).map(lambda x: x / 8), min_size=2, max_size=8))
def test_the_exact_p_is_scipys(differences):
    assert sign_flip_p(np.array(differences), rng=rng()) == pytest.approx(scipys_p(np.array(differences)))


def test_the_drawn_p_is_scipys_within_its_error():
    differences = np.random.default_rng(4).normal(0.3, 1, 40)
    p = scipys_p(differences, n_resamples=19_999, rng=np.random.default_rng(1))
    assert abs(sign_flip_p(differences, rng=rng()) - p) < 4 * np.sqrt(p * (1 - p) * (1 / 9_999 + 2 / 19_999))  # scipy doubles one side


def test_p_is_never_0_and_the_drawn_one_counts_the_data_itself():
    assert sign_flip_p(np.ones(200), rng=rng()) == 1 / 10_000
    assert sign_flip_p(np.ones(200), rng=rng(), draws=99) == 1 / 100
    assert sign_flip_p(np.ones(13), rng=rng()) == 2 / 2**13


def test_exactly_draws_plus_one_signs_are_still_enumerated():
    values = np.array([1.0, 2.0, 4.0])
    assert sign_flip_p(values, rng=rng(), draws=7) == 2 / 8
    assert sign_flip_p(values, rng=rng(), draws=6) * 7 == pytest.approx(round(sign_flip_p(values, rng=rng(), draws=6) * 7))


def test_signs_that_all_reach_the_sum_give_a_p_of_1():
    assert sign_flip_p(np.tile([1.0, -1.0], 20), rng=rng()) == 1


@pytest.mark.parametrize("scale", [1e-9, 0.1, 1e9])
def test_sums_equal_but_for_rounding_count_as_equal(scale):
    # 1 + 2 + 3 - 4 = -1 + 2 - 3 + 4, which tenths miss by their rounding
    assert sign_flip_p(np.array([1, 2, 3, -4]) * scale, rng=rng()) == sign_flip_p(np.array([1.0, 2, 3, -4]), rng=rng())


def test_queries_without_a_difference_change_no_p():
    differences = np.array([1.0, 2.0, 3.0])
    assert sign_flip_p(np.r_[np.zeros(50), differences], rng=rng()) == 2 / 8
    assert sign_flip_p(np.zeros(50), rng=rng()) == 1


def test_a_cluster_flips_as_one():
    differences, clusters = np.array([1.0, -2.0, 4.0, 2.0, 2.0]), np.array([0, 0, 1, 1, 2])
    assert sign_flip_p(differences, rng=rng(), clusters=clusters) == sign_flip_p(np.array([-1.0, 6.0, 2.0]), rng=rng())


def test_the_same_seed_gives_the_same_p_whatever_is_held_at_once(monkeypatch):
    differences = np.random.default_rng(1).normal(0.2, 1, 31)
    whole = sign_flip_p(differences, rng=rng())
    for entries in (3_001, 225, 1):
        monkeypatch.setattr(many, "_ENTRIES", entries)
        assert sign_flip_p(differences, rng=rng()) == whole
    assert 0.001 < whole < 0.999


def test_p_of_a_null_is_uniform_enough():
    # 5 % of nulls fall below 5 %, within the binomial's 99 % of 1,000
    draws = np.random.default_rng(2).normal(0, 1, (1_000, 25))
    alarms = sum(sign_flip_p(row, rng=rng(), draws=999) <= 0.05 for row in draws)
    low, high = scipy_stats.binom.interval(0.99, 1_000, 0.05)
    assert low <= alarms <= high


def test_a_difference_has_its_interval_its_p_and_what_it_could_have_shown():
    a, b = np.array([0.5, 0.7, 0.9, 0.4]), np.array([0.4, 0.4, 0.7, 0.4])
    found = paired_difference(a, b, rng=rng())
    assert found.estimate == stats.mean_interval(a - b)
    assert found.p == pytest.approx(2 / 8)
    assert found.detectable == pytest.approx(minimum_detectable_effect(a - b))
    clusters = np.array([0, 0, 1, 2])
    clustered = paired_difference(a, b, rng=rng(), clusters=clusters)
    assert clustered.estimate == stats.mean_interval(a - b, clusters=clusters)
    assert clustered.detectable == pytest.approx(minimum_detectable_effect(a - b, clusters=clusters))
    assert clustered.p == 2 / 4


def test_a_difference_as_large_as_can_be_has_the_smallest_p_of_9_999_draws():
    assert paired_difference(np.ones(200), np.zeros(200), rng=rng()).p == 1 / 10_000


def test_a_model_compared_with_itself_differs_in_nothing():
    a = np.array([0.5, 0.7, 0.9])
    found = paired_difference(a, a, rng=rng())
    assert (found.estimate.value, found.p, found.detectable) == (0, 1, 0)
    assert found.estimate.no_interval is not None


def test_one_query_could_show_nothing():
    found = paired_difference(np.array([0.5]), np.array([0.2]), rng=rng())
    assert found.detectable is None
    with pytest.raises(ValueError, match="1 unit shows no spread"):
        minimum_detectable_effect(np.array([1.0, 2.0]), clusters=np.array([1, 1]))


def test_values_that_are_not_paired_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) and \(1,\)"):
        paired_difference(np.ones(3), np.ones(1), rng=rng())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusted_p_values_are_scipys(p):
    np.testing.assert_allclose(benjamini_hochberg(p), scipy_stats.false_discovery_control(p), rtol=1e-12)


def test_adjusted_p_values_are_worked_by_hand():
    np.testing.assert_allclose(benjamini_hochberg([0.04, 0.01, 0.03, 0.8]), [0.16 / 3, 0.04, 0.16 / 3, 0.8])
    assert benjamini_hochberg([]).shape == (0,)


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(ValueError, match="between 0 and 1"):
        benjamini_hochberg([0.5, bad])


def test_the_detectable_effect_is_280_or_360_standard_errors():
    differences = np.random.default_rng(0).normal(size=400)
    error = differences.std(ddof=1) / 20
    assert minimum_detectable_effect(differences) == pytest.approx(2.80 * error, rel=1e-3)
    assert minimum_detectable_effect(differences, power=0.95) == pytest.approx(3.60 * error, rel=2e-3)
    assert minimum_detectable_effect(np.array([1.0, 3.0])) == pytest.approx(2.8016, rel=1e-4)
    assert minimum_detectable_effect(differences, level=0.9) == pytest.approx((1.6449 + 0.8416) * error, rel=1e-3)


def test_clusters_detect_as_little_as_their_means_do():
    differences = np.random.default_rng(0).normal(size=60)
    clustered = minimum_detectable_effect(differences, clusters=np.repeat(np.arange(20), 3))
    assert clustered == pytest.approx(minimum_detectable_effect(differences.reshape(20, 3).mean(1)))


def test_a_detectable_effect_is_detected_4_times_in_5():
    draws = np.random.default_rng(3).normal(2.8016 / np.sqrt(200), 1, (1_000, 200))
    seen = int((scipy_stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).sum())
    low, high = scipy_stats.binom.interval(0.99, 1_000, 0.8)
    assert low <= seen <= high
    assert minimum_detectable_effect(draws[0] / draws[0].std(ddof=1)) == pytest.approx(2.8016 / np.sqrt(200), rel=1e-4)


@pytest.mark.parametrize("units", [5, 8, 40])
def test_each_of_many_measurements_has_the_p_that_it_has_alone(units):
    table = np.random.default_rng(6).normal(0.2, 1, (units, 40))
    found = many.sign_flip_ps(table, rng=rng())
    np.testing.assert_array_equal(found, [sign_flip_p(column, rng=rng()) for column in table.T])
    assert many.sign_flip_ps(np.zeros((units, 2)), rng=rng()).tolist() == [1, 1]
