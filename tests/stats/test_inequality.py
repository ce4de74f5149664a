from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lidiag.stats import gini, gini_paper, n_eff

parts = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=st.floats(0, 1e6).map(lambda x: round(x, 2)))


def test_gini_is_half_the_mean_difference_over_the_mean():
    values = np.array([1.0, 4.0, 2.0, 13.0])
    differences = np.abs(values[:, None] - values).sum() / 16
    assert gini(values) == pytest.approx(differences / (2 * 5.0))


def test_the_papers_gini_follows_its_own_formula():
    # 1 - 2 / (M * sum) * sum over j of the sum of the j smallest
    values = [3.0, 1.0, 4.0, 2.0]
    partial_sums = 1 + (1 + 2) + (1 + 2 + 3) + (1 + 2 + 3 + 4)
    assert gini_paper(values) == pytest.approx(1 - 2 / (4 * 10) * partial_sums)
    assert gini_paper(values) == pytest.approx(gini(values) - 1 / 4)
    np.testing.assert_allclose(gini_paper([values, values[::-1]]), [1 - 2 / (4 * 10) * partial_sums] * 2)


def test_equal_parts_are_equal_and_one_holder_of_all_is_not():
    np.testing.assert_allclose(gini([[5.0] * 8, [0.0] * 7 + [3.0]]), [0, 7 / 8], atol=1e-12)
    np.testing.assert_allclose(n_eff([[5.0] * 8, [0.0] * 7 + [3.0]]), [8, 1])


def test_the_effective_number_is_worked_by_hand():
    assert n_eff([1.0, 2.0, 3.0]) == pytest.approx(36 / 14)
    assert n_eff([1e-200, 2e-200, 3e-200]) == pytest.approx(36 / 14)
    np.testing.assert_allclose(n_eff([[1.0, 2.0, 3.0], [4.0, 0.0, 4e-9]]), [36 / 14, 1])


def test_a_single_part_holds_all_of_its_total():
    assert (gini([5.0]), gini_paper([5.0]), n_eff([5.0])) == (0, -1, 1)


def test_nothing_to_spread_is_undefined():
    for measure in (gini, gini_paper, n_eff):
        np.testing.assert_array_equal(np.isnan(measure([[0.0, 0.0], [1.0, 0.0]])), [True, False])
        assert measure(np.zeros((3, 0))).shape == (3,)
        assert np.isnan(measure(np.zeros((3, 0)))).all()


@pytest.mark.parametrize("bad", [[-1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_what_is_no_part_of_a_total_is_refused(bad):
    for measure in (gini, gini_paper, n_eff):
        with pytest.raises(ValueError, match="finite and not negative"):
            measure(bad)


@given(parts, st.floats(0.01, 100), st.randoms(use_true_random=False))
def test_inequality_knows_neither_scale_nor_order(values, scale, random):
    order = random.sample(range(values.shape[1]), values.shape[1])
    for measure in (gini, gini_paper, n_eff):
        np.testing.assert_allclose(measure(values[:, order] * scale), measure(values), atol=1e-9)


@given(parts)
def test_gini_lies_in_0_to_1_minus_1_over_m(values):
    found, m = gini(values), values.shape[1]
    found = found[~np.isnan(found)]
    assert (found >= -1e-12).all()
    assert (found <= 1 - 1 / m + 1e-12).all()


@given(parts)
def test_splitting_every_part_in_two_keeps_gini_and_doubles_the_effective_number(values):
    split = np.repeat(values / 2, 2, axis=-1)
    np.testing.assert_allclose(gini(split), gini(values), atol=1e-9)
    np.testing.assert_allclose(n_eff(split), 2 * n_eff(values))
