"""Figures that an independent computation gave for the shared model on Cranfield, met by a whole run."""

from __future__ import annotations

import pytest

from lidiag.request import Request
from lidiag.run import run
from lidiag.watch import Silent
from tests.shared import SHARED, needs_shared

pytestmark = [pytest.mark.slow, needs_shared("data/cranfield"), needs_shared("models/minilm-colbert")]

SUITE = """
name = "figures"
version = 1
description = "Probes whose figures on Cranfield are known."

[[steps]]
probe = "distractor-hijacking"
parameters = { poolings = ["maxsim"], k = [25, 100, 400], echo = 0 }

[[steps]]
probe = "gradient-gini"

[[steps]]
probe = "similarity-tail"
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    (folder / "figures.toml").write_text(SUITE, encoding="utf-8")
    request = Request(
        model=str(SHARED / "models" / "minilm-colbert"),
        suites=(str(folder / "figures.toml"),),
        data=(str(SHARED / "data" / "cranfield"),),
        out=folder / "out",
        offline=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIDIAG_CACHE", str(folder / "cache"))
        report = run(request, Silent())
    assert [result.status for result in report.results] == ["passed"] * 3
    return {(m.name, *sorted(m.at.items())): m for result in report.results for m in result.measurements}


def find(measured, name, **at):
    return measured[(name, *sorted(at.items()))]


@pytest.mark.parametrize(
    ("distractor", "k", "rate", "recall"),
    [
        ("targeted_pooled", 25, 0.494, 0.589),
        ("targeted_pooled", 100, 0.617, 0.407),
        ("targeted_pooled", 400, 0.737, 0.231),
        ("gaussian", 25, 0.009, 1.000),
        ("gaussian", 100, 0.020, 1.000),
        ("gaussian", 400, 0.037, 0.997),
    ],
)
def test_injection_on_all_queries(measured, distractor, k, rate, recall):
    at = {"pooling": "maxsim", "k": k, "distractor": distractor}
    assert find(measured, "hijack_rate", **at).value == pytest.approx(rate, abs=0.002)
    assert find(measured, "recall_retained", **at).value == pytest.approx(recall, abs=0.005)


@pytest.mark.parametrize(("k", "rate", "recall"), [(25, 0.560, 0.910), (100, 0.746, 0.766), (400, 0.888, 0.485)])
def test_random_vectors_against_one_other_draw(measured, k, rate, recall):
    at = {"pooling": "maxsim", "k": k, "distractor": "random"}
    assert find(measured, "hijack_rate", **at).value == pytest.approx(rate, abs=0.01)
    retained = find(measured, "recall_retained", **at)
    # One draw per query varies by about as much as the queries do.
    reach = retained.high - retained.low
    assert retained.low - reach / 2 < recall < retained.high + reach / 2


@pytest.mark.parametrize(
    ("distractor", "rate", "recall"),
    [("targeted", 0.999, 0.025), ("spike", 0.94, 0.05), ("passage", 0.49, 0.90), ("gaussian_matched", 0.59, 0.92)],
)
def test_the_other_kinds_against_figures_from_a_part_of_the_queries(measured, distractor, rate, recall):
    at = {"pooling": "maxsim", "k": 100, "distractor": distractor}
    assert find(measured, "hijack_rate", **at).value == pytest.approx(rate, abs=0.02)
    assert find(measured, "recall_retained", **at).value == pytest.approx(recall, abs=0.04)


@pytest.mark.parametrize(("pooling", "gini"), [("maxsim", 0.9252), ("topk(4)", 0.8144), ("softmax(1)", 0.2039), ("softmax(0.1)", 0.5619)])
def test_the_gradients_gini_on_all_queries(measured, pooling, gini):
    assert find(measured, "gini_paper", pooling=pooling).value == pytest.approx(gini, abs=0.001)


def test_random_winners_gini(measured):
    assert find(measured, "gini_null", pooling="maxsim").value == pytest.approx(0.860, abs=0.005)


def test_the_tails_gain_against_the_interval_from_a_part_of_the_queries(measured):
    assert -0.002 < find(measured, "tail_gain").value < 0.017
    control = find(measured, "tail_gain_permuted")
    assert control.low <= 0 <= control.high
