"""A report as one record of Every Eval Ever, schema 0.3.0: a score with its interval for every headline number.

Written by the published names of its fields (evaleval/every_eval_ever, eval.schema.json); what a report does not know is left out.
"""

from __future__ import annotations

import json
import time
from typing import Any, Literal

from lidiag.errors import LidiagError
from lidiag.measurement import Measurement
from lidiag.report import DataUsed, Report, Result
from lidiag.submission import is_share
from lidiag.terminal import is_headline

SCHEMA = "0.3.0"
Relationship = Literal["first_party", "third_party", "collaborative", "other"]


def as_every_eval_ever(report: Report, organization: str, relationship: Relationship = "other", now: float | None = None) -> str:
    """Return the record as JSON text; `organization` is who evaluated, `now` the time of the export (seconds since 1970).

    Raises:
        LidiagError: nobody is named, the report is limited, or it holds no number.
    """
    if not organization.strip():
        raise LidiagError("Every Eval Ever asks who evaluated.", "Name it: --organization 'Your group'.")
    if report.limit is not None:
        raise LidiagError(
            f"The report was limited to {report.limit} queries: it is a first look and no evaluation.", "Run it without --limit."
        )
    data = {used.name: used for used in report.data}
    results = [
        _result(result, m, data[result.dataset])
        for result in report.results
        for m in result.measurements
        if is_headline(m) and result.dataset in data
    ]
    if not results:
        raise LidiagError("The report holds no headline number.", "Run a suite whose probes apply to the model.")
    retrieved = f"{time.time() if now is None else now:.3f}"
    suites = "+".join(suite.name for suite in report.suites)
    body = {
        "schema_version": SCHEMA,
        "evaluation_id": f"lidiag-{suites}/{report.model.name.replace('/', '_')}/{retrieved}",
        "retrieved_timestamp": retrieved,
        "source_metadata": {
            "source_name": "lidiag", "source_type": "evaluation_run", "source_organization_name": organization, "evaluator_relationship": relationship,
        },
        "eval_library": {
            "name": "lidiag", "version": report.lidiag,
            "additional_details": {suite.name: f"version {suite.version}, digest {suite.digest}" for suite in report.suites},
        },
        "model_info": _model(report),
        "evaluation_results": results,
    }  # fmt: skip
    return json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _model(report: Report) -> dict[str, Any]:
    card = report.model
    return {
        "name": card.name.rpartition("/")[2],
        "id": card.name,
        "developer": card.name.partition("/")[0],
        "inference_engine": {
            "name": card.adapter,
            "version": ", ".join(f"{name} {version}" for name, version in sorted(card.versions.items())),
        },
        "additional_details": {
            "deployment_type": "self_deployed",
            "model_availability": "unknown",
            "revision": card.revision,
            "family": card.family,
            "dtype": card.dtype,
            "device": report.environment.device,
        },
    }


def _result(result: Result, m: Measurement, data: DataUsed) -> dict[str, Any]:
    pooling = str(m.at.get("pooling", ""))
    name = f"{result.probe} {m.name}" + (f" {pooling}" if pooling else "")
    config: dict[str, Any] = {
        "evaluation_description": result.formulas.get(m.name, result.question),
        "metric_id": f"lidiag.{result.probe}.{m.name}",
        "metric_name": m.name,
        "metric_unit": "proportion" if is_share(m.name) else m.unit or "score",
        "lower_is_better": m.better == "lower",
        "additional_details": {
            "better": m.better,
            "probe_version": str(result.version),
            **{key: str(value) for key, value in m.at.items()},
        },
    }
    if is_share(m.name):
        config |= {"score_type": "continuous", "min_score": 0.0, "max_score": 1.0}
    score: dict[str, Any] = {"score": m.value, "details": {"unit_of_n": m.unit_of_n}, "uncertainty": {"num_samples": m.n}}
    if m.low is not None and m.high is not None:
        score["uncertainty"]["confidence_interval"] = {"lower": m.low, "upper": m.high, "confidence_level": 0.95}
    return {
        "evaluation_result_id": f"{data.name} {name}",
        "evaluation_name": name,
        "source_data": {
            "dataset_name": data.name,
            "source_type": "other",
            "additional_details": {"revision": data.revision, "fingerprint": data.fingerprint, "queries": str(data.queries), "documents": str(data.documents)},
        },
        "metric_config": config,
        "score_details": score,
    }  # fmt: skip
