"""Calibration: simulated worlds, and rates by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from lidiag import catalog
from lidiag.battery import Outcome
from lidiag.calibration import page, trials
from lidiag.calibration.reasons import WIDE
from lidiag.calibration.trials import Calibration, Coverage, Rate, Trial
from lidiag.calibration.worlds import AILMENTS, PLANTED, simulate
from lidiag.findings import Findings


def test_a_seed_draws_other_queries_to_the_same_documents():
    first, again, other = simulate("healthy", 1, 5), simulate("healthy", 1, 5), simulate("healthy", 1, 6)
    assert torch.equal(first.documents.vectors, other.documents.vectors)
    assert torch.equal(first.queries.vectors, again.queries.vectors)
    assert not torch.equal(first.queries.vectors, other.queries.vectors)
    assert not torch.equal(first.documents.vectors, simulate("healthy", 2, 5).documents.vectors)


def test_a_hub_fills_three_documents_with_one_vector_that_is_near_all_queries():
    bench = simulate("hub", 0, 0)
    hub = bench.documents[0][0]
    filled = [d for d in range(80) if torch.allclose(bench.documents[d], hub.expand_as(bench.documents[d]))]
    assert len(filled) == 3
    near = (bench.queries.vectors @ bench.documents.vectors.T).mean(0)
    assert (bench.queries.vectors @ hub).mean() == pytest.approx(near.max())


def test_what_a_healthy_document_is_about_may_stand_anywhere_in_it():
    # Matches of the topic come first in what is drawn; were they to stay there, every prefix would hold more of them than the rest.
    starts, ends = [], []
    for collection in range(20):
        bench = simulate("healthy", collection, 0)
        for query, relevant in enumerate(bench.relevant):
            for document in relevant:
                best = (bench.queries[query] @ bench.documents[int(document)].T).amax(0)
                starts.append(best[: len(best) // 2].mean())
                ends.append(best[-(len(best) // 2) :].mean())
    difference = torch.stack(starts) - torch.stack(ends)
    assert abs(difference.mean()) < 3 * difference.std() / len(difference) ** 0.5


def test_another_seed_draws_other_questions_about_something_else():
    first, again, other = (simulate("healthy", 0, seed).encode_queries(["what is it?"]).vectors for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize(("ailment", "gate"), PLANTED.items())
def test_every_ailing_world_fails_the_gate_it_was_made_for_and_the_healthy_one_passes(ailment, gate):
    suite = catalog.suite("calibration")
    (planted,) = (one for one in suite.gates if f"{one.probe} {one.name}" == gate)
    steps = tuple(step for step in suite.steps if step.probe == planted.probe)
    text = suite.model_copy(update={"steps": steps, "gates": (planted,)}).model_dump_json()
    assert list(trials._trial(text, (ailment, 0, 0)).gates.values()) == [True]
    assert list(trials._trial(text, ("healthy", 0, 0)).gates.values()) == [False]


def test_a_gate_is_at_fault_where_it_surely_misses_the_world_that_was_made_to_fail_it():
    def calibration(times):
        rates = (Rate("retrieval nDCG@10[pooling=maxsim] (low)", "random", times, 1000), Rate("retrieval nDCG@10", "hub", 0, 1000))
        return Calibration("s", 1000, 0, 1.0, rates, (), (Coverage("p m {}", 950, 1000),))

    # The mirror image of the rule for false alarms: 67 misses of 1,000 are the most.
    assert calibration(933).missed == []
    assert len(calibration(932).missed) == 1
    assert "**93.3%**" in page.text(calibration(933))
    assert "Missed too often: retrieval" in page.text(calibration(932))


@pytest.mark.parametrize("ailment", AILMENTS)
def test_every_world_gives_unit_vectors_and_two_relevant_documents(ailment):
    bench = simulate(ailment, 0, 0)
    torch.testing.assert_close(bench.documents.vectors.norm(dim=1), torch.ones(len(bench.documents.vectors)))
    assert {len(relevant) for relevant in bench.relevant} == {2}


def test_bounds_of_a_rate_are_those_of_clopper_and_pearson():
    rate = Rate("gate", "healthy", 70, 1000)
    test = scipy_stats.binomtest(70, 1000)
    assert rate.at_least == pytest.approx(test.proportion_ci(0.98, "exact").low)
    assert rate.at_most == pytest.approx(test.proportion_ci(0.98, "exact").high)
    assert Rate("gate", "healthy", 0, 10).at_least == 0
    assert Rate("gate", "healthy", 10, 10).at_most == 1


def test_a_gate_is_at_fault_where_it_surely_alarms_too_often():
    def calibration(times):
        return Calibration("s", 1000, 0, 1.0, (Rate("gate", "healthy", times, 1000),), (), (Coverage("p m {}", 950, 1000),))

    # 67 of 1,000 are the most whose lower bound does not exceed 5 %.
    most = max(times for times in range(1000) if Rate("gate", "healthy", times, 1000).at_least <= 0.05)
    assert most == 67
    assert calibration(most).false_alarms == []
    assert len(calibration(most + 1).false_alarms) == 1
    assert "No gate raises false alarms" in page.text(calibration(0))


def test_coverage_is_counted_within_each_collection():
    def trial(collection, value):
        return Trial("healthy", collection, {}, {}, {"p m {}": (value, value - 0.6, value + 0.6, 1.0)})

    # The means are 1 and 11: every interval of the first holds it, of the second only the middle one.
    found = list(trials._coverage([*(trial(0, value) for value in (0.5, 1.0, 1.5)), *(trial(1, value) for value in (10, 11, 12))]))
    assert [(one.covered, one.of) for one in found] == [(4, 6)]


def test_the_truth_of_a_ratio_is_that_of_all_sums():
    # 10 / 1 and 10 / 9: together 20 / 10 = 2, which only the second interval holds; the mean of both, 5.6, only the first does.
    both = [Trial("healthy", 0, {}, {}, {"p m {}": row}) for row in ((10.0, 4.0, 20.0, 1.0), (10 / 9, 0.5, 3.0, 9.0), (2.0, 1.9, 2.1, 0.0))]
    assert [(one.covered, one.of) for one in trials._coverage(both)] == [(2, 3)]


def test_a_ratio_weighs_as_much_as_its_bases_and_a_mean_as_any_other():
    found = Findings([f"q{q}" for q in range(4)])
    found.ratio("s", {}, [1, 2, 5, 9], [2, 5, 3, np.nan])
    found.mean("m", {}, [1, 2, 3, 4])
    found.number("n", {}, 1.0, n=3, unit_of_n="queries", no_interval="none")
    intervals = trials._intervals([Outcome(catalog.probe("retrieval", {}), "complete", "", 0.0, found)])
    assert {place: interval[3] for place, interval in intervals.items()} == {"retrieval s {}": 10, "retrieval m {}": 1}
    assert intervals["retrieval s {}"][0] == 0.8


def test_what_is_the_same_in_every_trial_has_no_coverage():
    both = {"p m {}": (0.0, 0.0, 0.1, 1.0), "p n {}": (1.0, 0.5, 1.5, 1.0)}
    other = {"p m {}": (0.0, 0.0, 0.1, 1.0), "p n {}": (2.0, 1.9, 2.5, 1.0)}
    found = list(trials._coverage([Trial("healthy", 0, {}, {}, both), Trial("healthy", 0, {}, {}, other)]))
    assert [(one.measurement, one.covered, one.of) for one in found] == [("p n {}", 1, 2)]


def test_what_surely_covers_too_little_is_named():
    def text(covered):
        return page.text(Calibration("s", 1000, 0, 1.0, (), (), (Coverage("p m {}", covered, 1000),)))

    assert "bound): none." in text(912)
    assert "p m {} (90.0%)" in text(900)


@pytest.mark.parametrize(
    ("name", "covered", "line"),
    [
        ("retrieval R@1", 980, f"- retrieval R@1 covers as much as 98.0%: {WIDE['retrieval R@1']}"),
        ("p m", 983, "- p m covers as much as 98.3%: no reason is known."),
        ("p m", 982, "- p m covers as much as 98.2%: so many collections cannot tell that from 97%."),
        ("retrieval R@1", 911, "- retrieval R@1 covers as little as 91.1%: so many collections cannot tell that from 93%."),
        ("retrieval R@1", 910, "- retrieval R@1 covers as little as 91.0%: no reason is known."),
        ("retrieval R@1", 970, None),
        ("retrieval R@1", 930, None),
    ],
)
def test_what_covers_more_or_less_than_it_says_has_its_reason(name, covered, line):
    text = page.text(Calibration("s", 1000, 0, 1.0, (), (), (Coverage(f"{name} {{}}", covered, 1000),)))
    assert [one for one in text.splitlines() if one.startswith(f"- {name} covers")] == ([line] if line else [])


@pytest.mark.parametrize("name", WIDE)
def test_every_reason_is_of_something_that_calibration_tries(name):
    probe, measurement = name.split(" ")
    assert measurement in catalog.probe_class(probe).formulas
    assert probe in {step.probe for step in catalog.suite("calibration").steps}


def test_the_suite_of_calibration_tries_the_gates_of_robustness():
    def gates(name):
        return [gate for gate in catalog.suite(name).gates if gate.probe != "load-check"]

    assert gates("calibration") == gates("robustness")


def test_a_small_calibration_end_to_end_whatever_the_number_of_workers():
    suite = catalog.suite("calibration")
    suite = suite.model_copy(update={"steps": suite.steps[:1], "gates": suite.gates[:1]})
    one, two = (trials.calibrate(suite, 4, 0, workers) for workers in (1, 2))
    assert one.gates == two.gates
    assert one.coverage == two.coverage
    by_world = {rate.ailment: rate.share for rate in one.gates}
    assert by_world["healthy"] == 0
    assert by_world["random"] > 0.5
    assert "retrieval" in page.text(one)
