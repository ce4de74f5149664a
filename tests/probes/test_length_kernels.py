from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidiag import stats
from lidiag.probes import _length_kernels as kernels


@st.composite
def rows(draw):
    """Scores with ties, of both signs; lengths; a mask; a least length."""
    queries, documents = draw(st.integers(1, 4)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    levels = draw(st.integers(1, 300))
    scores = (rng.integers(-levels, levels, (queries, documents)) / 8).astype(np.float32)
    lengths = rng.integers(1, draw(st.integers(2, 40)), documents)
    return scores, lengths, rng.random((queries, documents)) < draw(st.sampled_from([0.0, 0.1, 0.7, 1.0])), draw(st.integers(0, 20))


def classes(lengths):
    return np.unique(lengths, return_inverse=True)[1]


@settings(max_examples=200, deadline=None)
@given(rows=rows())
def test_the_rank_correlation_is_that_of_mean_ranks(rows):
    scores, lengths, mask, least = rows
    expected = stats.spearman(scores, lengths, mask & (lengths >= least))
    assert kernels.spearman(scores, lengths, classes(lengths), mask, least) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(rows=rows())
def test_means_and_deviations_are_numpys(rows):
    scores, _, mask, _ = rows
    mean, deviation = kernels.spread(scores, mask)
    for row, kept in enumerate(mask):
        chosen = scores[row, kept].astype(np.float64)
        assert mean[row] == pytest.approx(chosen.mean() if len(chosen) else np.nan, nan_ok=True)
        assert deviation[row] == pytest.approx(chosen.std(ddof=1) if len(set(chosen)) > 1 else np.nan, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(rows=rows())
def test_slopes_are_those_per_doubling_of_length(rows):
    scores, lengths, mask, least = rows
    expected = stats.slope_per_doubling(lengths, scores, mask & (lengths >= least))
    assert kernels.slope(scores, np.log2(lengths), lengths, mask, least) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(rows=rows())
def test_gains_are_means_over_what_counts(rows):
    scores, lengths, mask, least = rows
    after = np.roll(scores, 1, axis=1)
    for row, found in enumerate(kernels.gain(scores, after, lengths, mask, least)):
        kept = mask[row] & (lengths >= least)
        change = after[row, kept].astype(np.float64) - scores[row, kept]
        assert found == pytest.approx(change.mean() if len(change) else np.nan, abs=1e-12, nan_ok=True)


def test_scores_that_differ_in_their_last_bit_alone_are_no_ties():
    up = np.nextafter(np.float32(0.5), np.float32(1))
    scores, lengths, mask = (
        np.array([[up, 0.5, -0.5, -up, np.inf]], dtype=np.float32),
        np.array([1, 2, 3, 4, 9]),
        np.ones((1, 5), dtype=bool),
    )
    mask[0, 4] = False
    assert kernels.spearman(scores, lengths, classes(lengths), mask, 0) == pytest.approx(-1)


def test_many_scores_are_ranked_like_few():
    rng = np.random.default_rng(0)
    scores, lengths = rng.standard_normal((2, 30_000)).astype(np.float32) * 100, rng.integers(1, 900, 30_000)
    found = kernels.spearman(scores, lengths, classes(lengths), np.ones(scores.shape, dtype=bool), 0)
    assert found == pytest.approx(stats.spearman(scores, lengths), abs=1e-12)


def test_zeros_of_both_signs_are_tied():
    scores, lengths = np.array([[0.0, -0.0, 1.0, -1.0]], dtype=np.float32), np.array([1, 2, 3, 4])
    assert kernels.spearman(scores, lengths, classes(lengths), np.ones((1, 4), dtype=bool), 0) == pytest.approx(
        stats.spearman(scores, lengths)
    )


def test_all_scores_and_lengths_being_equal_there_is_no_figure():
    scores, lengths, mask = np.full((1, 3), np.float32(0.1)), np.array([2, 2, 2]), np.ones((1, 3), dtype=bool)
    assert np.isnan(kernels.spearman(scores, lengths, classes(lengths), mask, 0)).all()
    assert np.isnan(kernels.spread(scores, mask)[1]).all()
    assert np.isnan(kernels.slope(scores, np.log2(lengths), lengths, mask, 0)).all()
