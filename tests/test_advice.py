import pytest

from lidiag.advice import advise
from lidiag.measurement import Measurement
from lidiag.terminal import summary
from tests import reports


def measured(name, value, **at):
    return Measurement(name=name, at=at, value=value, low=value - 0.01, high=value + 0.01, n=10)


def report_of(tmp_path, **probes):
    """A report whose probes hold the given measurements and nothing else."""
    blank = reports.write(tmp_path, queries=3)
    by_name = {result.probe: result for result in blank.results}
    results = tuple(by_name[name.replace("_", "-")].model_copy(update={"measurements": tuple(said)}) for name, said in probes.items())
    return blank.model_copy(update={"results": results})


def clean(**values):
    return [measured("nDCG@10", value, pooling=pooling) for pooling, value in values.items()]


def hijacked(kind, **values):
    return [measured("ndcg_retained", value, pooling=pooling, distractor=kind, k=100) for pooling, value in values.items()]


def test_the_value_under_attack_is_the_clean_one_times_what_is_retained(tmp_path):
    report = report_of(tmp_path, retrieval=clean(maxsim=0.5, mean=0.4), distractor_hijacking=hijacked("targeted", maxsim=0.2, mean=0.5))
    advice = advise(report, "facts")
    assert [axis.name for axis in advice.complete] == ["clean", "targeted"]
    assert advice.complete[1].values == pytest.approx({"maxsim": 0.1, "mean": 0.2})
    assert advice.best() == ("maxsim", "mean")


def test_a_pooling_that_another_beats_everywhere_is_not_among_the_best(tmp_path):
    report = report_of(tmp_path, retrieval=clean(maxsim=0.5, mean=0.4), distractor_hijacking=hijacked("targeted", maxsim=0.9, mean=0.9))
    advice = advise(report, "facts")
    assert advice.best() == ("maxsim",)
    assert "maxsim is best on every count" in advice.sentence()
    assert "Nothing speaks for mean" in advice.sentence()


def test_a_negligible_difference_rules_no_pooling_out(tmp_path):
    advice = advise(report_of(tmp_path, retrieval=clean(maxsim=0.768, mean=0.767, worse=0.7)), "facts")
    assert advice.best() == ("maxsim", "mean")
    assert "nothing decides between maxsim, mean" in advice.sentence()
    assert "Nothing speaks for worse" in advice.sentence()


def test_two_equal_poolings_do_not_dominate_each_other(tmp_path):
    assert advise(report_of(tmp_path, retrieval=clean(maxsim=0.5, mean=0.5)), "facts").best() == ("maxsim", "mean")


def test_a_condition_measured_for_one_pooling_only_is_not_compared_and_said(tmp_path):
    report = report_of(tmp_path, retrieval=clean(maxsim=0.5, mean=0.4), distractor_hijacking=hijacked("targeted", maxsim=0.2))
    advice = advise(report, "facts")
    assert [axis.name for axis in advice.complete] == ["clean"]
    assert any("targeted" in missing and "for mean" in missing for missing in advice.missing())


def test_a_probe_that_did_not_run_is_said_to_be_missing(tmp_path):
    said = " ".join(advise(report_of(tmp_path, retrieval=clean(maxsim=0.5, mean=0.4)), "facts").words())
    assert "distractor-hijacking did not run" in said
    assert "length-sweep did not run" in said


def test_growth_takes_the_largest_step_and_the_filler_that_costs_most(tmp_path):
    def grown(growth, filler, **values):
        where = {"growth": growth, "grown": "non-relevant", "filler": filler}
        return [measured("ndcg_retained", value, pooling=pooling, **where) for pooling, value in values.items()]

    sweep = [*grown(4, "corpus", maxsim=0.1, mean=0.1), *grown(8, "corpus", maxsim=0.7, mean=0.8), *grown(8, "gaussian", maxsim=1, mean=1)]
    axis = advise(report_of(tmp_path, retrieval=clean(maxsim=0.5, mean=0.5), length_sweep=sweep), "facts").axes[-1]
    assert axis.name == "grown x8"
    assert "corpus" in axis.meaning
    assert axis.values == pytest.approx({"maxsim": 0.35, "mean": 0.4})


def test_one_pooling_is_no_choice(tmp_path):
    assert advise(report_of(tmp_path, retrieval=clean(maxsim=0.5)), "facts") is None
    assert "Pooling advice" not in summary(reports.write(tmp_path, poolings=("maxsim",)))


def test_the_terminal_shows_the_advice_once_per_collection_within_80_columns(tmp_path):
    text = summary(reports.write(tmp_path, datasets=("facts", "other")))
    assert text.count("Pooling advice") == 2
    advice = text.split("Pooling advice on facts")[1].split("\n\n")[0]
    assert max(len(line) for line in advice.splitlines()) <= 80
