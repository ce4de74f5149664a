from __future__ import annotations

import pytest

from lidiag.stats import verdict


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.31, 0.5, "strong"),
        (0.3, 0.5, "shown"),  # not above delta_1
        (0.11, 0.5, "shown"),
        (0.1, 0.5, "cannot tell"),  # not above delta_0
        (-0.1, 0.1, "none"),
        (0.02, 0.1, "none"),  # an effect, but a negligible one
        (-0.1, 0.11, "cannot tell"),
        (-0.11, 0.1, "cannot tell"),
        (-0.9, 0.9, "cannot tell"),
        (-0.9, -0.5, "cannot tell"),
        (None, 0.1, "cannot tell"),
        (0.5, None, "cannot tell"),
    ],
)
def test_a_word_follows_from_the_interval_and_two_bounds(low, high, word):
    assert verdict(low, high, 0.1, 0.3) == word


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (-0.5, -0.31, "strong"),
        (-0.5, -0.3, "shown"),
        (-0.5, -0.1, "cannot tell"),
        (-0.1, 0.1, "none"),
        (0.31, 0.5, "strong"),
        (0.11, 0.5, "shown"),
        (-0.5, 0.5, "cannot tell"),
    ],
)
def test_two_sided_words_read_both_directions_alike(low, high, word):
    assert verdict(low, high, 0.1, 0.3, two_sided=True) == word
    assert verdict(-high, -low, 0.1, 0.3, two_sided=True) == word


@pytest.mark.parametrize(("delta_0", "delta_1"), [(-0.1, 0.3), (0.3, 0.1), (float("nan"), 0.1)])
def test_bounds_out_of_order_are_refused(delta_0, delta_1):
    with pytest.raises(ValueError, match="0 <= delta_0 <= delta_1"):
        verdict(0, 1, delta_0, delta_1)


def test_ends_out_of_order_are_refused():
    with pytest.raises(ValueError, match="out of order: 1, 0"):
        verdict(1, 0, 0.1, 0.3)
    assert verdict(0.2, 0.2, 0.1, 0.1) == "strong"
    assert verdict(0.0, 0.0, 0.0, 0.0) == "none"
