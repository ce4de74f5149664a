from __future__ import annotations

import pytest

from lidiag.measurement import Measurement
from lidiag.probes._gains import gain_in_words, reach


def gain(value, low=None, high=None):
    return Measurement(name="gain", value=value, low=low, high=high, n=50)


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (0.08, 0.06, 0.1, ("strong", "much better than")),
        (-0.08, -0.1, -0.06, ("strong", "much worse than")),
        (0.05, 0.04, 0.06, ("shown", "better than")),
        (-0.05, -0.06, -0.04, ("shown", "worse than")),
        (0.06, 0.05, 0.07, ("shown", "better than")),  # not above 0.05
        (0.0, -0.01, 0.01, ("none", "as good as")),
        (0.02, -0.02, 0.06, ("cannot tell", "not shown to be better or worse than")),
        (0.02, 0.0, 0.04, ("cannot tell", "not shown to be better or worse than")),
        (-0.02, -0.04, 0.0, ("cannot tell", "not shown to be better or worse than")),
        (0.02, 0.001, 0.04, ("cannot tell", "better (perhaps by less than 0.01, which is negligible) than")),
        (-0.02, -0.04, -0.001, ("cannot tell", "worse (perhaps by less than 0.01, which is negligible) than")),
        (0.02, None, None, ("cannot tell", "not shown to be better or worse than")),
    ],
)
def test_a_gain_has_its_word_and_its_side(value, low, high, words):
    assert gain_in_words(gain(value, low, high)) == words


def test_an_interval_stands_behind_its_number_with_signs():
    assert reach(gain(0.02, -0.01, 0.05)) == " (-0.0100 to +0.0500)"
    assert reach(gain(0.02)) == reach(gain(0.02, low=0.01)) == reach(gain(0.02, high=0.03)) == ""
