import time

import pytest
import torch

from lidiag import battery, budget, run
from lidiag.dataset import Dataset, Document, Query
from lidiag.errors import LidiagError
from lidiag.report import read
from lidiag.request import Request, Shard
from lidiag.watch import Silent
from tests.probes.toy import toy_bench
from tests.test_battery import Scores


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2m ", 120)])
def test_a_time_is_read(text, seconds):
    assert budget.parse(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "-1m", "0s", "ten", "1d", ""])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(LidiagError, match="is no time"):
        budget.parse(text)


class Slow:
    """Takes a hundredth of a second for an item."""

    class card:  # noqa: N801 - stands for one
        modalities = ("text",)

    def documents(self, items):
        time.sleep(0.01 * len(items))

    queries = documents


def dataset(documents, queries):
    return Dataset(
        "d",
        [Query(f"q{i}", "q") for i in range(queries)],
        [Document(f"d{i}", "d") for i in range(documents)],
        {f"q{i}": {"d0": 1} for i in range(queries)},
    )


def test_a_collection_that_fits_is_not_limited():
    assert budget.limit_for(Slow(), [dataset(200, 50)], 30, 4) is None  # 2.5 s of encoding in 10 s


def test_the_largest_step_that_fits_is_taken():
    # A limit of n costs 11 n items of 0.01 s: 3.3 s allow 20 (2.2 s), not 50 (5.5 s).
    assert budget.limit_for(Slow(), [dataset(5000, 500)], 9.9, 4) == 20
    assert budget.limit_for(Slow(), [dataset(5000, 500), dataset(5000, 500)], 9.9, 4) == 10
    assert budget.limit_for(Slow(), [dataset(5000, 500)], 0.01, 4) == 10


def test_what_has_not_begun_in_time_is_skipped_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "cache"))
    request = Request(model="builtin:lexical", suites=("smoke",), data=("builtin:facts",), out=tmp_path / "out", budget=1e-9)
    report = run.run(request, Silent())
    assert report.limit == 10
    assert {result.status for result in report.results} == {"skipped"}
    assert {result.reason for result in report.results} == {"the time that --budget gives was over"}
    assert report.exit_code() == 5
    assert read(tmp_path / "out").environment.plan["budget"] == 1e-9


def test_enough_time_changes_no_figure(tmp_path, monkeypatch):
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "cache"))
    whole = run.run(Request(model="builtin:lexical", suites=("smoke",), data=("builtin:facts",), out=tmp_path / "whole"), Silent())
    timed = run.run(
        Request(model="builtin:lexical", suites=("smoke",), data=("builtin:facts",), out=tmp_path / "timed", budget=3600), Silent()
    )
    assert [result.measurements for result in timed.results] == [result.measurements for result in whole.results]


def test_a_probe_that_waits_for_a_pass_when_time_is_over_gives_no_half_figure():
    bench = toy_bench([torch.randn(3, 8) for _ in range(4)], [torch.randn(5, 8) for _ in range(3)], {i: {0: 1} for i in range(4)})
    (late,) = battery.measure([Scores()], bench, Silent(), deadline=time.monotonic() - 1)
    assert (late.status, late.findings.measurements) == ("skipped", [])


@pytest.mark.parametrize("others", [{"shard": Shard(1, 2)}, {"executor": "ray"}], ids=["share", "ray"])
def test_a_budget_is_of_one_process(tmp_path, others):
    request = Request(model="builtin:lexical", suites=("smoke",), data=("builtin:facts",), out=tmp_path / "out", budget=60, **others)
    with pytest.raises(LidiagError, match=r"how fast one process encodes.*the same --limit"):
        (run.share if "shard" in others else run.run)(request, Silent())
    assert not (tmp_path / "out").exists()
