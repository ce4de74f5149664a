"""Reports in other formats: read back by what reads those formats."""

from __future__ import annotations

import csv
import io
import json

import pytest

from lidiag import export
from lidiag.errors import LidiagError
from lidiag.export.every_eval_ever import as_every_eval_ever
from lidiag.terminal import is_headline
from tests import reports


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reports.write(tmp_path_factory.mktemp("run"), datasets=("facts", "more"))


def measurements(report):
    return [(result, m) for result in report.results for m in result.measurements]


def test_csv_holds_every_number_exactly(report):
    rows = list(csv.DictReader(io.StringIO(export.text(report, "csv"))))
    assert len(rows) == len(measurements(report))
    for row, (result, m) in zip(rows, measurements(report), strict=True):
        assert (row["dataset"], row["probe"], row["name"], float(row["value"]), int(row["n"])) == (
            result.dataset,
            result.probe,
            m.name,
            m.value,
            m.n,
        )
        assert row["low"] == ("" if m.low is None else repr(m.low))
        assert dict(part.split("=") for part in row["at"].split(";") if part) == {key: str(value) for key, value in m.at.items()}


@pytest.mark.parametrize("start", list("=+-@"))
def test_a_name_is_no_formula_of_a_spreadsheet(report, start):
    named = report.model_copy(update={"model": report.model.model_copy(update={"name": f"{start}cmd/x"})})
    rows = list(csv.reader(io.StringIO(export.text(named, "csv"))))
    assert rows[1][0] == f"'{start}cmd/x"


def test_latex_holds_the_headline_numbers_and_escapes_names(report):
    text = export.text(report, "latex")
    assert text.count("\\\\") == 1 + sum(is_headline(m) for _, m in measurements(report))
    assert all(rule in text for rule in ("\\toprule", "\\midrule", "\\bottomrule"))
    assert "ndcg_retained" not in text
    assert "length\\_bias" not in text
    body = text.split("\n", 1)[1]
    assert body.replace("\\_", "").replace("\\%", "").count("_") == 0


def test_every_eval_ever_has_what_its_schema_requires(report):
    body = json.loads(as_every_eval_ever(report, "A group", now=1.5))
    assert {
        "schema_version",
        "evaluation_id",
        "retrieved_timestamp",
        "source_metadata",
        "model_info",
        "eval_library",
        "evaluation_results",
    } == body.keys()
    assert (body["schema_version"], body["retrieved_timestamp"]) == ("0.3.0", "1.500")
    assert body["evaluation_id"] == "lidiag-robustness/org_model/1.500"
    assert body["source_metadata"]["source_organization_name"] == "A group"
    assert len(body["evaluation_results"]) == sum(is_headline(m) for _, m in measurements(report))
    for record in body["evaluation_results"]:
        assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= record.keys()
        config = record["metric_config"]
        assert isinstance(config["lower_is_better"], bool)
        assert ("score_type" in config) == ("min_score" in config)
        assert all(isinstance(value, str) for value in config["additional_details"].values())
    ndcg = next(r for r in body["evaluation_results"] if r["evaluation_name"] == "retrieval nDCG@10 maxsim")
    m = next(m for _, m in measurements(report) if (m.name, m.at) == ("nDCG@10", {"pooling": "maxsim"}))
    assert ndcg["score_details"]["score"] == m.value
    assert ndcg["score_details"]["uncertainty"]["confidence_interval"] == {"lower": m.low, "upper": m.high, "confidence_level": 0.95}
    assert (ndcg["metric_config"]["min_score"], ndcg["metric_config"]["max_score"]) == (0, 1)


def test_results_have_ids_of_their_own(report):
    ids = [record["evaluation_result_id"] for record in json.loads(as_every_eval_ever(report, "A group"))["evaluation_results"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [(("xml",), "format"), (("every-eval-ever",), "who evaluated"), (("every-eval-ever", "A group", "friend"), "relationship")],
)
def test_what_cannot_be_written_says_why(report, wrong, says):
    with pytest.raises(LidiagError, match=says):
        export.text(report, *wrong)


def test_a_limited_report_is_no_evaluation(report):
    with pytest.raises(LidiagError, match="first look"):
        as_every_eval_ever(report.model_copy(update={"limit": 5}), "A group")
