"""The report: what a run leaves behind, for people and programs. No torch and no model library here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lidiag import strict_json
from lidiag.card import ModelCard
from lidiag.claim import ClaimVerdict
from lidiag.errors import LidiagError
from lidiag.files import write_text
from lidiag.gate import Judged, Status, Verdict
from lidiag.measurement import Finding, Measurement
from lidiag.suite import explain

SCHEMA = 1
"""Raised with every change that a reader could stumble over; readers accept older ones and refuse newer ones."""

_LARGEST_FILE = 64 * 2**20
_NEXT = "Name a report.json that `lidiag run` wrote, or the folder of a run."


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SuiteUsed(_Part):
    """Which questions were asked."""

    name: str
    version: int
    digest: str


class DataUsed(_Part):
    """Which collection was used, and what of it counted."""

    name: str
    revision: str
    fingerprint: str
    documents: int
    queries: int = Field(description="queries that were measured")
    left_out: dict[str, int] = Field(description="queries left out, by reason")
    empty_documents: int = Field(description="documents without a token vector: no score, ranked last")
    document_vectors: int
    query_vectors: int
    notes: tuple[str, ...] = ()


class Environment(_Part):
    """What the run ran on."""

    versions: dict[str, str]
    device: str
    dtype: str
    threads: int
    git: str | None = Field(description="commit of lidiag's checkout, with + where it was changed; null for an installed wheel")
    platform: str
    plan: dict[str, Any] = Field(description="batch size, block sizes and what else may move the last digits")


class Result(_Part):
    """What one probe said about one collection."""

    probe: str
    version: int
    question: str
    primary: str = Field(description="the measurement that the headline verdict is drawn from")
    parameters: dict[str, Any]
    dataset: str
    status: Status = Field(description="passed: measured, and every gate on it holds; failed: measured, and a gate on it failed")
    reason: str = ""
    seconds: float
    measurements: tuple[Measurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    formulas: dict[str, str] = Field(default_factory=dict, description="how each measurement is defined")
    source: str = Field("", description="where the measure comes from: a paper, or empty for ours")

    def judged(self) -> Judged:
        """Return what a gate needs to know."""
        return Judged(probe=self.probe, status=self.status, reason=self.reason, measurements=self.measurements)


class Values(_Part):
    """The per-query values beside the report."""

    file: str = "values.parquet"
    sha256: str
    rows: int


class Resources(_Part):
    """What the run took; its time stands by stage in `timings` and by probe in each result's `seconds`."""

    peak_memory: int = Field(description="largest resident memory of the process, in bytes")
    peak_device_memory: int | None = Field(None, description="largest memory held on a CUDA device, in bytes")
    encoded: int = Field(description="queries and documents that were encoded, and not found in the cache")
    encoded_per_second: float | None = Field(None, description="of the encoding stage; null where nothing was encoded")


class Report(_Part):
    """One run: one model, some collections, some suites."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    schema_version: Annotated[int, Field(alias="schema", ge=1)] = SCHEMA
    lidiag: str
    model: ModelCard
    suites: tuple[SuiteUsed, ...]
    data: tuple[DataUsed, ...]
    seed: int
    limit: int | None = Field(description="queries it was limited to; such a report cannot be submitted")
    environment: Environment
    results: tuple[Result, ...]
    gates: tuple[Verdict, ...]
    claims: tuple[ClaimVerdict, ...] = Field((), description="what papers claim, beside what was measured")
    values: Values
    timings: dict[str, float] = Field(description="seconds by stage")
    resources: Resources | None = Field(None, description="null where shares of the run were measured by several processes")

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), allow_nan=False, indent=1, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_text(path, self.to_json())

    def exit_code(self) -> int:
        """Return 0 all gates hold, 1 a gate failed, 3 something broke, 5 nothing ran."""
        measured = [result for result in self.results if result.status in {"passed", "failed"}]
        statuses = {result.status for result in self.results} | {gate.status for gate in self.gates}
        if "broken" in statuses:
            return 3
        if not measured:
            return 5
        return 1 if "failed" in statuses else 0


def read(path: Path) -> Report:
    """Read a report, or the `report.json` of a run's folder.

    Raises:
        LidiagError: it is missing, not a report, or of a newer schema.
    """
    file = path / "report.json" if path.is_dir() else path
    body = strict_json.read(file, _LARGEST_FILE, "a report", _NEXT)
    version = body.get("schema") if isinstance(body, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise LidiagError(f"{file} has schema {version}, and this lidiag reads up to {SCHEMA}.", "Upgrade lidiag: pip install -U lidiag.")
    try:
        return Report.model_validate(body)
    except ValidationError as error:
        raise LidiagError(f"{file} is not a report: {explain(error)}.", _NEXT) from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a report."""
    return Report.model_json_schema(by_alias=True, mode="serialization") | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
