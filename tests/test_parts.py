import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidiag.card import ModelCard
from lidiag.findings import Findings
from lidiag.parts import DataPart, Kept, Parts, plans
from lidiag.plan import Plan, PlannedData, PlannedProbe
from lidiag.report import DataUsed, Environment, Result
from lidiag.request import Shard
from lidiag.suite import Step, Suite

CARD = ModelCard(
    name="org/m", revision="0" * 40, adapter="toy", reason="asked for", family="Toy", modalities=("text",), dim=4, dtype="float32"
)  # fmt: skip
ENVIRONMENT = Environment(
    versions={"torch": "1"}, device="cpu", dtype="float32", threads=2, git=None, platform="Linux", plan={"batch_size": 32}
)
PLAN = Plan(
    lidiag="0.1.0",
    code="c",
    model=CARD,
    suites=(Suite(name="only", version=1, description="", steps=(Step(probe="one"), Step(probe="two"))),),
    probes=(
        PlannedProbe(name="one", version=1, parameters={"poolings": ["maxsim"]}, once=False),
        PlannedProbe(name="two", version=1, parameters={}, once=True),
    ),
    data=(PlannedData(name="a", fingerprint="1"), PlannedData(name="b", fingerprint="2")),
    seed=0,
    limit=None,
    environment=ENVIRONMENT,
)


def kept_of(findings):
    result = Result(
        probe="one", version=1, question="?", primary="x", parameters={"poolings": ["maxsim"]}, dataset="a", status="passed", seconds=0.25,
        measurements=tuple(findings.measurements), findings=tuple(findings.findings),
    )  # fmt: skip
    return Kept(result, findings)


def same(a, b):
    assert a.result == b.result
    assert list(a.findings.queries) == list(b.findings.queries)
    assert (a.findings.clusters is None) == (b.findings.clusters is None)
    assert a.findings.clusters is None or a.findings.clusters.tolist() == b.findings.clusters.tolist()
    for one, other in zip(a.findings.per_query, b.findings.per_query, strict=True):
        assert (one.name, json.dumps(dict(one.at))) == (other.name, json.dumps(dict(other.at)))
        assert one.values.tobytes() == other.values.tobytes()
        assert (one.base is None) == (other.base is None)
        assert one.base is None or one.base.tobytes() == other.base.tobytes()


numbers = st.floats(allow_nan=False, allow_infinity=False, width=64, min_value=-1e6, max_value=1e6) | st.just(float("nan"))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_kept_comes_back_to_the_last_bit(tmp_path_factory, data):
    n = data.draw(st.integers(2, 6))
    clusters = data.draw(st.none() | st.lists(st.integers(0, 2), min_size=n, max_size=n).map(np.array))
    found = Findings([f"q{i}" for i in range(n)], clusters)
    values = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)))
    if np.isfinite(values).any():
        found.mean("x", {"pooling": "maxsim", "k": 4, "share": 0.5}, values)
        found.ratio("y", {"m": np.int64(3)}, values, np.ones(n))
    found.say("words", "something", severity="warning", at={"pooling": "mean"})
    parts = Parts(tmp_path_factory.mktemp("parts"), PLAN)
    kept = kept_of(found)
    parts.keep(0, 0, kept)
    back = parts.find(0, 0)
    assert back is not None
    same(kept, back)


@pytest.fixture
def parts(tmp_path):
    parts = Parts(tmp_path, PLAN)
    found = Findings(["q1", "q2", "q3"])
    found.mean("x", {}, [1.0, 2.0, 4.0])
    parts.keep(0, 0, kept_of(found))
    return parts


def test_a_piece_is_found_for_its_own_collection_and_probe_only(parts):
    assert parts.find(0, 0) is not None
    assert parts.find(1, 0) is None
    assert parts.find(0, 1) is None


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"limit": 5}, {"code": "d"}, {"model": CARD.model_copy(update={"revision": "1" * 40})},
    {"environment": ENVIRONMENT.model_copy(update={"device": "cuda"})}, {"environment": ENVIRONMENT.model_copy(update={"threads": 64})}, {"environment": ENVIRONMENT.model_copy(update={"plan": {"batch_size": 8}})},
    {"environment": ENVIRONMENT.model_copy(update={"versions": {"torch": "2"}})}, {"data": (PlannedData(name="a", fingerprint="x"),)},
    {"probes": (PlannedProbe(name="one", version=2, parameters={"poolings": ["maxsim"]}, once=False),)},
    {"probes": (PlannedProbe(name="one", version=1, parameters={"poolings": ["mean"]}, once=False),)},
], ids=str)  # fmt: skip
def test_what_was_measured_otherwise_is_not_taken(parts, change):
    assert Parts(parts.folder, PLAN.model_copy(update=change)).find(0, 0) is None


def test_the_platform_is_said_and_is_in_no_key(parts):
    other = ENVIRONMENT.model_copy(update={"platform": "Darwin arm64"})
    assert Parts(parts.folder, PLAN.model_copy(update={"environment": other})).find(0, 0) is not None


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize(
    "spoil", [lambda body: b"", lambda body: body[: len(body) // 2], lambda body: body[:-3] + b"\0\0\0", lambda body: b"{}"]
)
def test_a_damaged_piece_counts_as_missing_and_is_named(parts, suffix, spoil):
    path = next(parts.folder.glob(f"one-*{suffix}"))
    path.write_bytes(spoil(path.read_bytes()))
    assert parts.find(0, 0) is None
    assert parts.damaged


def test_a_piece_whose_numbers_are_gone_counts_as_missing(parts):
    next(parts.folder.glob("one-*.safetensors")).unlink()
    assert parts.find(0, 0) is None


def test_a_collection_and_the_plan_of_a_share_come_back(parts):
    used = DataUsed(
        name="a", revision="", fingerprint="1", documents=2, queries=1, left_out={}, empty_documents=0, document_vectors=9, query_vectors=3
    )  # fmt: skip
    part = DataPart(used=used, notes=("a batch was halved",))
    parts.keep_data(0, part)
    assert parts.find_data(0) == part
    assert parts.find_data(1) is None
    parts.keep_plan(Shard(1, 2))
    assert [plan.digest for plan in plans(parts.folder)] == [PLAN.digest]


def test_shares_take_every_unit_once_and_what_is_measured_once_always_falls_to_the_same(parts):
    units = [(i, j) for i in range(2) for j in range(2)]
    for of in (1, 2, 3, 7):
        owners = [[n for n in range(1, of + 1) if Shard(n, of).owns(PLAN.unit(*unit))] for unit in units]
        assert all(len(owner) == 1 for owner in owners)
        assert owners[units.index((0, 1))] == owners[units.index((1, 1))]
