from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats
from sklearn.metrics import roc_auc_score

from lidiag.stats import auc, average_ranks, slope_per_doubling, spearman

# Few different values, so that ties are the rule.
tables = arrays(np.float64, (3, 12), elements=st.integers(-3, 3).map(float))
masks = arrays(np.bool_, (3, 12))


@given(tables, masks)
def test_ranks_of_what_counts_are_scipys(values, mask):
    found = average_ranks(values, mask)
    for row, kept, ranks in zip(values, mask, found, strict=True):
        np.testing.assert_array_equal(ranks[kept], scipy_stats.rankdata(row[kept]))
        assert (ranks[~kept] == 0).all()


def test_an_empty_documents_score_ranks_last_and_what_is_masked_may_be_anything():
    mask = [True, True, True, False, False]
    np.testing.assert_array_equal(average_ranks([2.0, -np.inf, 1.0, np.nan, np.inf], mask), [3, 1, 2, 0, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_counts_must_have_a_rank(bad):
    for call in (
        lambda: average_ranks([1.0, bad]),
        lambda: spearman([1.0, bad], [1.0, 2.0]),
        lambda: spearman([1.0, 2.0], [1.0, bad]),
        lambda: auc([1.0, bad], [True, False]),
        lambda: slope_per_doubling([1, 2], [1.0, bad]),
    ):
        with pytest.raises(ValueError, match="NaN or"):
            call()


@given(tables, tables, masks)
def test_spearman_by_rows_is_scipys(a, b, mask):
    found = spearman(a, b, mask)
    for x, y, kept, rho in zip(a, b, mask, found, strict=True):
        x, y = x[kept], y[kept]  # noqa: PLW2901
        if len(x) < 2 or len(set(x)) == 1 or len(set(y)) == 1:
            assert np.isnan(rho)
        else:
            assert rho == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-12)


def test_spearman_is_worked_by_hand():
    # ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15)
    assert spearman([1, 5, 6, 9], [20, 10, 40, 30]) == pytest.approx(0.6)


def test_one_row_of_lengths_serves_many_rows_of_scores():
    scores, lengths = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]), np.array([10, 20, 30])
    np.testing.assert_allclose(spearman(scores, lengths), [1, -1])
    np.testing.assert_allclose(spearman(scores, lengths, [True, True, False]), [1, -1])
    assert np.isnan(spearman(scores, lengths, [True, False, False])).all()


def test_many_masks_serve_one_row():
    masks = [[True, True, False, True], [False, True, True, True]]
    np.testing.assert_allclose(spearman([1.0, 2.0, 3.0, 4.0], [1, 2, 0, 4], masks), [1, 0.5])
    np.testing.assert_allclose(slope_per_doubling([1, 2, 4, 8], [0.0, 1.0, 9.0, 3.0], masks), [1, 1])


@given(tables, masks, masks)
def test_auc_by_rows_is_scikit_learns(scores, positive, mask):
    found = auc(scores, positive, mask)
    for row, hits, kept, area in zip(scores, positive, mask, found, strict=True):
        if len(set(hits[kept])) < 2:
            assert np.isnan(area)
        else:
            assert area == pytest.approx(roc_auc_score(hits[kept], row[kept]))


def test_auc_counts_a_tie_as_half_and_pools_what_is_flat():
    # positives 3 and 2 against 2 and 1: three wins and one tie
    assert auc([3.0, 2.0, 2.0, 1.0], [True, True, False, False]) == pytest.approx(3.5 / 4)
    table, positive = np.array([[3.0, 1.0], [9.0, 5.0]]), np.array([[True, False], [True, False]])
    np.testing.assert_allclose(auc(table, positive), [1, 1])
    assert auc(table.ravel(), positive.ravel()) == pytest.approx(3 / 4)


@given(arrays(np.float64, (3, 8), elements=st.floats(-10, 10)), masks.map(lambda m: m[:, :8]))
def test_slopes_by_rows_are_scipys(values, mask):
    lengths = np.array([1, 2, 3, 5, 8, 8, 100, 64])
    found = slope_per_doubling(lengths, values, mask)
    for row, kept, slope in zip(values, mask, found, strict=True):
        if len(set(lengths[kept])) < 2:
            assert np.isnan(slope)
        else:
            assert slope == pytest.approx(scipy_stats.linregress(np.log2(lengths[kept]), row[kept]).slope, abs=1e-9)


def test_a_gain_of_3_per_doubling_has_slope_3():
    np.testing.assert_allclose(slope_per_doubling([32, 64, 128], [[1.0, 4.0, 7.0], [5.0, 5.0, 5.0]]), [3, 0], atol=1e-12)
    per_row = np.array([[32, 64, 128], [10, 1_000, 20]])
    np.testing.assert_allclose(slope_per_doubling(per_row, [1.0, 4.0, 7.0], [True, False, True]), [3, 6])


@pytest.mark.parametrize(("lengths", "values"), [([0, 2], [1.0, 2.0]), ([-1, 2], [1.0, 2.0]), ([1, 2], [-np.inf, 1.0])])
def test_a_slope_needs_lengths_above_0_and_finite_values(lengths, values):
    with pytest.raises(ValueError, match="lengths above 0 and finite values"):
        slope_per_doubling(lengths, values)
    assert slope_per_doubling([*lengths, 4, 8], [*values, 1, 2], [False, False, True, True]) == pytest.approx(1)


@given(st.floats(0.01, 1e6), st.integers(2, 30))
def test_a_constant_row_is_constant_in_spite_of_rounding(value, n):
    assert np.isnan(slope_per_doubling(np.full(n, value), np.arange(n)))
    assert np.isnan(spearman(np.full(n, value), np.arange(n)))


def test_a_constant_row_is_constant_whatever_the_other_rows_hold():
    rounded, large = [0.1 + 0.2, 0.3, 0.3], [1e9, 2e9, 8e9]
    np.testing.assert_array_equal(np.isnan(slope_per_doubling([1, 2, 4], [rounded, large])), [False, False])
    np.testing.assert_array_equal(np.isnan(slope_per_doubling([rounded, large], [1.0, 2.0, 4.0])), [True, False])
