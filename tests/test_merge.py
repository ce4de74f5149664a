"""Shares of a run, by whomever and in whichever order they are done, make the report of a single process."""

import dataclasses
import itertools
import json
import shutil

import pytest

from lidiag import battery
from lidiag.errors import LidiagError
from lidiag.merge import merge
from lidiag.request import Request, Shard
from lidiag.run import run, share
from lidiag.watch import Silent
from tests.datasets.folders import write

SUITE = """
name = "four"
version = 1
description = ""
[[steps]]
probe = "load-check"
[[steps]]
probe = "retrieval"
[[steps]]
probe = "length-bias"
[[steps]]
probe = "similarity-tail"
[[gates]]
probe = "retrieval"
name = "nDCG@10"
at = { pooling = "maxsim" }
op = ">="
bound = 0
reason = "So that a gate is judged."
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def request_(tmp_path):
    (tmp_path / "four.toml").write_text(SUITE)
    small = write(tmp_path / "small")
    return Request(
        model="builtin:lexical", suites=(str(tmp_path / "four.toml"),), data=("builtin:facts", str(small)), out=tmp_path / "whole", limit=12
    )


def read(out):
    body = json.loads((out / "report.json").read_text())
    del body["timings"], body["resources"]
    for result in body["results"]:
        del result["seconds"]
    return json.dumps(body), (out / "values.parquet").read_bytes()


@pytest.fixture
def whole(request_):
    run(request_, Silent())
    return read(request_.out)


@pytest.mark.parametrize("of", [2, 3, 7])
def test_any_number_of_shares_in_any_order_makes_the_same_bytes(request_, whole, tmp_path, of):
    out = tmp_path / f"shares-{of}"
    for number in sorted(range(1, of + 1), key=lambda number: -number):
        share(dataclasses.replace(request_, out=out, shard=Shard(number, of)), Silent())
    merge(out, [])
    assert read(out) == whole
    assert sorted(path.name for path in out.iterdir()) == ["report.json", "values.parquet"]


def test_shares_of_folders_and_caches_of_their_own_merge_too(request_, whole, tmp_path, monkeypatch):
    folders = [tmp_path / f"machine-{number}" for number in (1, 2)]
    for number, folder in enumerate(folders, 1):
        monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / f"cache-{number}"))
        share(dataclasses.replace(request_, out=folder, shard=Shard(number, 2)), Silent())
    merge(tmp_path / "merged", folders)
    assert read(tmp_path / "merged") == whole


def test_a_share_that_is_missing_is_named_and_nothing_is_written(request_, tmp_path):
    share(dataclasses.replace(request_, shard=Shard(1, 2)), Silent())
    with pytest.raises(LidiagError, match=r"lacks retrieval on builtin:facts and 3 more pieces"):
        merge(request_.out, [])
    assert not (request_.out / "report.json").exists()
    run(request_, Silent())  # an ordinary run does what is left
    assert (request_.out / "report.json").exists()


def test_shares_of_different_runs_are_refused(request_, tmp_path):
    share(dataclasses.replace(request_, out=tmp_path / "a", shard=Shard(1, 2)), Silent())
    share(dataclasses.replace(request_, out=tmp_path / "b", shard=Shard(2, 2), seed=1), Silent())
    with pytest.raises(LidiagError, match="shares of 2 different runs: seed is 0 in one and 1 in another"):
        merge(tmp_path / "merged", [tmp_path / "a", tmp_path / "b"])


def test_a_folder_without_shares_is_refused(tmp_path):
    with pytest.raises(LidiagError, match="holds no share of a run"):
        merge(tmp_path / "merged", [tmp_path])
    with pytest.raises(LidiagError, match="holds no finished share"):
        merge(tmp_path / "merged", [])
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("text", "why"), [("0/3", "no share 0 of 3"), ("4/3", "no share 4 of 3"), ("1", "not of the form"), ("a/b", "not of the form")]
)
def test_a_share_that_does_not_exist_is_refused(text, why):
    with pytest.raises(LidiagError, match=why):
        Shard.parse(text)


class DeathError(Exception):
    """Stands for the end of a process between two pieces."""


@pytest.mark.parametrize("survived", range(8))
def test_a_run_that_dies_after_any_piece_goes_on_to_the_same_bytes_and_measures_nothing_twice(
    request_, whole, tmp_path, monkeypatch, survived
):
    out = tmp_path / "resumed"
    real, measured = battery.Outcome.result, []

    def counted(outcome, dataset):
        if len(measured) == survived:
            raise DeathError
        measured.append((dataset, outcome.probe.name))
        return real(outcome, dataset)

    monkeypatch.setattr(battery.Outcome, "result", counted)
    with pytest.raises(DeathError):
        run(dataclasses.replace(request_, out=out), Silent())
    survived = -1  # nobody dies from here on
    first = list(measured)
    monkeypatch.setattr(
        battery.Outcome, "result", lambda outcome, dataset: measured.append((dataset, outcome.probe.name)) or real(outcome, dataset)
    )
    run(dataclasses.replace(request_, out=out), Silent())
    assert read(out) == whole
    assert sorted(measured) == sorted(
        itertools.product(["builtin:facts", "small"], ["load-check", "retrieval", "length-bias", "similarity-tail"])
    )
    assert len(first) < len(measured)


def test_the_order_of_probes_changes_the_order_of_results_alone(request_, whole, tmp_path):
    blocks = SUITE.split("[[")
    steps = [block for block in blocks if block.startswith("steps")]
    (tmp_path / "turned.toml").write_text("[[".join([blocks[0], steps[0], *reversed(steps[1:]), *blocks[1 + len(steps) :]]))
    run(dataclasses.replace(request_, out=tmp_path / "turned", suites=(str(tmp_path / "turned.toml"),)), Silent())
    turned, straight = json.loads(read(tmp_path / "turned")[0]), json.loads(whole[0])
    by_name = [{(result["dataset"], result["probe"]): result for result in body["results"]} for body in (turned, straight)]
    assert by_name[0] == by_name[1]
    assert [result["probe"] for result in turned["results"]] != [result["probe"] for result in straight["results"]]


def test_a_run_in_a_folder_that_is_in_use_measures_nothing(request_, tmp_path):
    from lidiag.lock import alone  # noqa: PLC0415

    with alone(request_.out), pytest.raises(LidiagError, match="in use by process"):
        run(request_, Silent())
    shutil.rmtree(request_.out, ignore_errors=True)
