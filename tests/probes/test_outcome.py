"""What is said of a sweep of injections, from figures made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidiag.probes._injection import EFFECTS
from lidiag.probes._outcome import Outcome
from tests.probes.toy import toy_bench

QUERIES = 8
KINDS = ("targeted", "gaussian_matched", "passage")


def sweep(kept, *, k=(1, 100), poolings=("maxsim",), kinds=KINDS, before=(1.0, 0.5, 2.0)):
    """A sweep in which `kept` {(kind, k): recall} is left in every query, and rates rise with k and the place of the kind."""
    bench = toy_bench([torch.eye(1)] * QUERIES, [torch.eye(1)], {q: {0: 1} for q in range(QUERIES)})
    effects = np.zeros((QUERIES, len(poolings), len(kinds), len(k), len(EFFECTS)))
    for d, kind in enumerate(kinds):
        for i, number in enumerate(k):
            effects[:, :, d, i] = [0.1 * (i + 1), 1 + 2 * d, 0.2, 0.3, kept.get((kind, number), 1.0), before[1] / 2]
    return Outcome(bench.findings(), poolings, kinds, k, np.tile(before, (QUERIES, len(poolings), 1)), effects)


def told(outcome):
    outcome.add_measurements()
    outcome.add_words()
    return outcome.found


def said(found, name):
    return [finding for finding in found.findings if finding.name == name]


def at(kind, k=100, pooling="maxsim"):
    return {"pooling": pooling, "k": k, "distractor": kind}


def test_effects_are_means_and_what_is_gained_or_left_is_a_ratio():
    found = told(sweep({("targeted", 100): 0.25}, before=(0.5, 0.4, 2.0)))
    assert {name: found.get(name, at("passage", 1)).value for name in ("hijack_rate", "hijack_gain", "outbid_rate", "takeover@10")} == (
        pytest.approx({"hijack_rate": 0.1, "hijack_gain": 2.5, "outbid_rate": 0.2, "takeover@10": 0.3})
    )
    assert found.get("recall_retained", at("targeted")).value == pytest.approx(0.25 / 0.5)
    assert found.get("ndcg_retained", at("targeted")).value == pytest.approx(0.5)
    # what the control leaves more than the vectors that are aimed, of the recall before
    assert found.get("targeting_effect", at("passage")).value == pytest.approx((1 - 0.25) / 0.5)
    assert found.get("targeting_effect", at("passage", 1)).value == 0
    assert [(m.name, m.better) for m in found.measurements if m.at == at("passage")] == [
        ("hijack_rate", "neither"), ("hijack_gain", "lower"), ("outbid_rate", "lower"), ("takeover@10", "lower"),
        ("recall_retained", "higher"), ("ndcg_retained", "higher"), ("targeting_effect", "lower"),
    ]  # fmt: skip


def test_a_small_gap_does_not_rule_the_gain():
    # Two queries gain 3 each over gaps of 4 and 0.01: the mean of the ratios would be 150, and the ratio of the means is 6 / 4.01.
    outcome = sweep({})
    outcome.before[:, 0, 2] = [4, 0.01, *[-1] * (QUERIES - 2)]
    outcome.effects[..., EFFECTS.index("gain")] = [[[[3] * 2] * 3]] * 2 + [[[[100] * 2] * 3]] * (QUERIES - 2)
    gain = told(outcome).get("hijack_gain", at("passage"))
    assert (gain.value, gain.n, gain.aggregate) == (pytest.approx(6 / 4.01), 2, "ratio")


def test_where_no_query_has_a_gap_no_gain_is_measured():
    outcome = sweep({}, before=(1.0, 0.5, 0.0))
    assert not [m for m in told(outcome).measurements if m.name == "hijack_gain"]
    assert any("was not measured: no query scores its best relevant" in f.text for f in said(outcome.found, "hijack_gain"))


def test_what_no_query_has_is_said():
    outcome = sweep({}, before=(0.0, 0.0, 2.0))
    outcome.effects[..., EFFECTS.index("takeover@10")] = np.nan
    told(outcome)
    names = {m.name for m in outcome.found.measurements}
    assert names == {"hijack_rate", "hijack_gain", "outbid_rate"}
    assert all("outside its first ten" in finding.text for finding in said(outcome.found, "takeover@10"))
    assert all("nothing to lose" in finding.text for finding in said(outcome.found, "recall_retained"))


def test_a_little_recall_is_enough_to_lose_some():
    found = told(sweep({("targeted", 100): 0.05}, before=(0.1, 0.05, 2.0)))
    assert found.get("recall_retained", at("targeted")).value == pytest.approx(0.5)


def test_one_pooling_that_finds_nothing_silences_no_other():
    outcome = sweep({("targeted", 100): 0.5}, poolings=("mean", "maxsim"), kinds=("targeted", "passage"))
    outcome.before[:, 0] = 0
    assert [finding.data["pooling"] for finding in said(told(outcome), "targeting")] == ["maxsim"]


def test_one_kind_at_one_k_is_a_sweep():
    assert said(told(sweep({}, kinds=("targeted",), k=(5,))), "trade")[0].data["k"] == 5


@pytest.mark.parametrize(("k", "reference"), [((1, 100, 300), 100), ((1, 10), 10), ((5, 2), 5)])
def test_a_hundred_vectors_are_spoken_of_or_else_the_most(k, reference):
    assert sweep({}, k=k).reference == reference


def test_controls_are_of_something_that_is_aimed():
    assert not any(m.name == "targeting_effect" for m in told(sweep({}, kinds=("gaussian_matched", "passage"))).measurements)
    only = told(sweep({}, kinds=("targeted", "passage")))
    assert {m.at["distractor"] for m in only.measurements if m.name == "targeting_effect"} == {"passage"}


def test_queries_without_a_gain_are_counted_by_pooling():
    outcome = sweep({}, poolings=("maxsim", "mean", "topk(4)"))
    outcome.before[:3, 1, 2] = [np.nan, 0, -1]  # nothing to compare with; level with the others; below them
    outcome.before[2:4, 2, 2] = -5
    (finding,) = said(told(outcome), "hijack_gain")
    assert finding.data == {"left_out": {"maxsim": 0, "mean": 3, "topk(4)": 2}}
    assert outcome.found.get("hijack_gain", at("targeted", pooling="topk(4)")).n == QUERIES - 2
    assert "the others: 3 for mean, 2 for topk(4) of 8." in finding.text
    assert not said(told(sweep({})), "hijack_gain")


def test_rate_and_damage_stand_side_by_side():
    found = told(sweep({("targeted", 100): 0.2, ("passage", 100): 0.6, ("targeted", 1): 0.9}))
    (finding,) = said(found, "rate and damage")
    assert finding.text.startswith(
        "maxsim, k = 100, share of the query's tokens (or of their weight) taken over, and recall left: targeted takes 20.0% and leaves "
        "20.0%; gaussian_matched takes 20.0% and leaves 100.0%; passage takes 20.0% and leaves 60.0%."
    )
    assert finding.data["by_distractor"]["targeted"] == pytest.approx({"hijack_rate": 0.2, "hijack_gain": 0.5, "recall_retained": 0.2})
    # losses 0.1 0.8 0 0 0 0.4; rates 0.1 0.2 0.1 0.2 0.1 0.2; gains 0.5 0.5 1.5 1.5 2.5 2.5
    assert "Over 6 conditions the rank correlation with the recall lost is 0.52 for the rate, -0.38 for hijack_gain." in finding.text


def test_nothing_put_in_is_no_condition_and_two_conditions_follow_nothing():
    assert "rank correlation" not in said(told(sweep({}, k=(0, 100), kinds=("targeted", "passage"))), "rate and damage")[0].text
    three = told(sweep({("targeted", 100): 0.2, ("passage", 100): 0.6}, k=(0, 100)))
    assert "Over 3 conditions" in said(three, "rate and damage")[0].text


def test_more_than_all_left_is_dilution():
    found = told(sweep({("passage", 100): 1.5, ("targeted", 1): 1.5}))
    (finding,) = said(found, "trade")
    assert finding.text.startswith(
        "What each pooling trades, k = 100: nDCG@10 as it is 0.500 maxsim; recall left by targeted 1.000 maxsim; recall left by "
        "gaussian_matched 1.000 maxsim; recall left by passage 1.500 maxsim."
    )
    assert "More than all is left for maxsim under passage: there" in finding.text
    assert "More than all" not in said(told(sweep({})), "trade")[0].text


@pytest.mark.parametrize(
    ("left", "word"), [([0.5, 0.7], "strong"), ([0.8, 0.9], "shown"), ([0.97, 1.0], "none"), ([0.6, 1.2], "cannot tell")]
)
def test_aiming_has_its_word(left, word):
    outcome = sweep({}, kinds=("targeted", "passage"))
    outcome.effects[:, :, 0, :, EFFECTS.index("recall")] = np.tile(left, QUERIES // 2)[:, None, None]
    (finding,) = said(told(outcome), "targeting")
    assert finding.data == {"verdict": word, "pooling": "maxsim", "k": 100, "control": "passage"}
    assert f"cost {1 - np.mean(left):.3f} (" in finding.text
    assert f"more of the recall than passage does: {word} (" in finding.text


def test_an_effect_without_an_interval_shows_none():
    (first, _) = said(told(sweep({("targeted", 100): 0.5})), "targeting")
    assert "cost 0.500 more of the recall than gaussian_matched does: cannot tell" in first.text
