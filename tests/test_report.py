import json

import jsonschema
import pytest

from lidiag import report as reports
from lidiag.card import ModelCard
from lidiag.errors import LidiagError
from lidiag.gate import Verdict
from lidiag.measurement import Measurement
from lidiag.report import DataUsed, Environment, Report, Result, SuiteUsed, Values


def made(statuses=("passed",), gates=()):
    card = ModelCard(
        name="org/m", revision="0" * 40, adapter="toy", reason="asked for", family="Toy", modalities=("text",), dim=4, dtype="float32"
    )
    measurement = Measurement(name="nDCG@10", at={"pooling": "maxsim"}, value=0.5, low=0.4, high=0.6, n=10)
    results = [
        Result(
            probe=f"p{i}",
            version=1,
            question="?",
            primary="nDCG@10",
            parameters={},
            dataset="d",
            status=status,
            seconds=0.1,
            measurements=(measurement,),
        )
        for i, status in enumerate(statuses)
    ]
    verdicts = [
        Verdict(probe="p0", name="nDCG@10", at={"pooling": "maxsim"}, op=">=", bound=0.1, reason="r", dataset="d", status=status)
        for status in gates
    ]
    data = DataUsed(
        name="d", revision="", fingerprint="f", documents=1, queries=1, left_out={}, empty_documents=0, document_vectors=1, query_vectors=1
    )
    return Report(
        lidiag="0", model=card, suites=(SuiteUsed(name="s", version=1, digest="x"),), data=(data,), seed=0, limit=None,
        environment=Environment(versions={}, device="cpu", dtype="float32", threads=1, git=None, platform="", plan={}),
        results=tuple(results), gates=tuple(verdicts), values=Values(sha256="0", rows=0), timings={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statuses", "gates", "code"),
    [
        (["passed"], [], 0),
        (["passed"], ["passed"], 0),
        (["passed", "skipped"], ["passed", "skipped"], 0),
        (["failed"], ["failed"], 1),
        (["passed", "broken"], ["passed"], 3),
        (["passed"], ["broken"], 3),
        (["failed", "broken"], ["failed"], 3),
        (["skipped"], ["skipped"], 5),
        ([], [], 5),
    ],
)
def test_the_exit_code_says_how_the_run_ended(statuses, gates, code):
    assert made(statuses, gates).exit_code() == code


def test_a_report_comes_back_as_it_was_written(tmp_path):
    report = made(["passed"], ["passed"])
    report.write(tmp_path / "report.json")
    assert reports.read(tmp_path) == report
    assert reports.read(tmp_path / "report.json") == report
    assert list(tmp_path.iterdir()) == [tmp_path / "report.json"]


def test_a_report_satisfies_its_own_schema():
    schema = reports.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    body = json.loads(made().to_json())
    jsonschema.validate(body, schema)
    assert body["schema"] == reports.SCHEMA
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body | {"schema": "1"}, schema)


def test_a_number_that_is_not_finite_cannot_be_reported():
    with pytest.raises(ValueError, match="finite"):
        Measurement(name="x", value=float("nan"), low=None, high=None, n=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"schema": 1', f'"schema": {reports.SCHEMA + 1}'), "Upgrade"),
        (lambda text: text.replace('"seed": 0', '"seed": 0, "seed": 1'), "twice"),
        (lambda text: text.replace('"value": 0.5', '"value": NaN'), "NaN"),
        (lambda text: text.replace('"value": 0.5', '"value": 1e999'), "finite"),
        (lambda text: text.replace('"seed": 0', '"seed": 0, "more": 1'), "more"),
        (lambda text: text[:-10], "not a report"),
        (lambda text: "[" * 100_000, "not a report"),
        (lambda text: "[]", "not a report"),
        (lambda text: "", "not a report"),
    ],
)
def test_what_is_no_report_is_refused_with_the_reason(tmp_path, change, said):
    (tmp_path / "report.json").write_text(change(made().to_json()))
    with pytest.raises(LidiagError, match=said):
        reports.read(tmp_path)


def test_a_missing_report_is_an_error(tmp_path):
    with pytest.raises(LidiagError, match="cannot be read"):
        reports.read(tmp_path / "none")
