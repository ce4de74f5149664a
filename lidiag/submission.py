"""A submission to a leaderboard: verified from its own data, as if its author were hostile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidiag import claim, values
from lidiag import report as reports
from lidiag import samples as stored
from lidiag.errors import LidiagError
from lidiag.gate import Verdict, judge
from lidiag.measurement import Measurement
from lidiag.report import DataUsed, Report, Result
from lidiag.samples import Key, Sample
from lidiag.suite import Suite
from lidiag.terminal import safe

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[0-9a-f]{40}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9@_.()+,:/ -]{0,127}")
_SHARE = re.compile(r"(nDCG|R|RR|AP|P|[Jj]udged)(@\d+)?")
_LARGEST_REPORT = 32 * 2**20
_LONGEST_TEXT = 8192
_TOLERANCE = 1e-9


def is_share(name: str) -> bool:
    """Tell whether a metric lies between 0 and 1 for every query, by its name."""
    return _SHARE.fullmatch(name) is not None


@dataclass(frozen=True)
class Submission:
    """A report whose aggregates follow from its values by query."""

    report: Report
    samples: Mapping[Key, Sample]

    @property
    def place(self) -> Path:
        """Where it is filed: <suite>-v<N>/<org>__<model>/<revision>."""
        suite = self.report.suites[0]
        return Path(f"{suite.name}-v{suite.version}") / self.report.model.name.replace("/", "__") / self.report.model.revision


def verify(path: Path, suites: Mapping[str, Suite]) -> Submission:
    """Read and verify a report, or the folder of one; `suites` are those that have a leaderboard, by name.

    Raises:
        LidiagError: it cannot be read, or something in it is not allowed or does not follow from its data; the first faults are named.
    """
    file = path / "report.json" if path.is_dir() else path
    if file.is_symlink():
        raise LidiagError(f"{file} is a symbolic link.", "Submit the file itself.")
    if file.is_file() and file.stat().st_size > _LARGEST_REPORT:
        raise LidiagError(
            f"{file} has {file.stat().st_size:,} bytes; a submission has at most {_LARGEST_REPORT:,}.", "It is no report of lidiag."
        )
    report = reports.read(file)
    _refuse(file, list(_form(report, suites)))
    there = stored.read(stored.beside(file), report)
    _refuse(file, list(_content(report, there)))
    return Submission(report, there)


def _refuse(file: Path, faults: list[str], most: int = 3) -> None:
    if faults:
        more = f"; and {len(faults) - most} more" if len(faults) > most else ""
        raise LidiagError(f"{file} cannot be accepted: {'; '.join(faults[:most])}{more}.", "Submit what `lidiag run` wrote, unchanged.")


def _haste(report: Report) -> Iterator[str]:
    if report.limit is not None:
        yield f"it was limited to {report.limit} queries"
    if "budget" in report.environment.plan:
        yield f"it was made in a budget of {report.environment.plan['budget']:g} s, in which not every probe may have begun"


def _form(report: Report, suites: Mapping[str, Suite]) -> Iterator[str]:
    """Yield what is wrong with the report by itself."""
    yield from _haste(report)
    if not _MODEL.fullmatch(report.model.name) or ".." in report.model.name or "__" in report.model.name.partition("/")[0]:
        yield f"the model's name {_shown(report.model.name)} is not org/name"
    if not _REVISION.fullmatch(report.model.revision):
        yield f"the revision {_shown(report.model.revision)} is not 40 hex digits"
    if report.values.file != "values.parquet":
        yield f"its values lie in {_shown(report.values.file)} and not in values.parquet"
    # Written with every text on a line of its own and only control characters escaped, most reports need no closer look.
    body = report.model_dump(mode="json")
    text = json.dumps(body, ensure_ascii=False, separators=(",\n", ":\n"))
    if "\\u00" in text or safe(text) != text or max(map(len, text.split("\n"))) > _LONGEST_TEXT:
        yield from _texts(body, "")
    yield from _suite(report, suites)
    seen: set[tuple[str, str]] = set()
    for result in report.results:
        if result.status == "broken":
            yield f"{_shown(result.probe)} broke"
        if (result.dataset, result.probe) in seen:
            yield f"{_shown(result.probe)} stands twice for {_shown(result.dataset)}"
        seen.add((result.dataset, result.probe))
    if not any(result.status in {"passed", "failed"} for result in report.results):
        yield "nothing was measured"


def _texts(body: Any, where: str) -> Iterator[str]:
    """Yield texts that are too long, or that hold what steers a display."""
    if isinstance(body, dict):
        for key, value in body.items():
            yield from _texts(key, where)
            yield from _texts(value, f"{where}.{key[:40]}")
    elif isinstance(body, list):
        for value in body:
            yield from _texts(value, where)
    elif isinstance(body, str):
        if len(body) > _LONGEST_TEXT:
            yield f"a text of {len(body):,} letters at {_shown(where)}"
        if safe(body) != body:
            yield f"control or direction marks in {_shown(body)}"


def _suite(report: Report, suites: Mapping[str, Suite]) -> Iterator[str]:
    if len(report.suites) != 1:
        yield f"it holds {len(report.suites)} suites, and a submission has one"
        return
    used = report.suites[0]
    suite = suites.get(used.name)
    if suite is None:
        yield f"there is no leaderboard for the suite {_shown(used.name)}"
        return
    if (used.version, used.digest) != (suite.version, suite.digest):
        yield f"its suite is {used.name} v{used.version} {used.digest[:12]}, and the leaderboard's is v{suite.version} {suite.digest[:12]}"
        return
    for data in report.data:
        results = {result.probe: result for result in report.results if result.dataset == data.name}
        for step in suite.steps:
            if step.probe not in results:
                yield f"the suite's probe {step.probe} is missing for {_shown(data.name)}"
        judged = [judge(gate, [result.judged() for result in results.values()], data.name) for gate in suite.gates]
        if [_outcome(gate) for gate in judged] != [_outcome(gate) for gate in report.gates if gate.dataset == data.name]:
            yield f"its gates on {_shown(data.name)} are not the suite's, or do not follow from its measurements"
    results = [(result.dataset, result.judged()) for result in report.results]
    if [verdict for said in suite.claims for verdict in claim.judge(said, results, report.model)] != list(report.claims):
        yield "its claims are not the suite's, or do not follow from its measurements"


def _outcome(gate: Verdict) -> tuple[object, ...]:
    return (gate.probe, gate.name, gate.at, gate.of, gate.op, gate.bound, gate.status, gate.observed, gate.limit)


def _content(report: Report, there: Mapping[Key, Sample]) -> Iterator[str]:
    """Yield what does not follow from the values by query."""
    data = {used.name: used for used in report.data}
    expected: set[Key] = set()
    for result in report.results:
        if result.dataset not in data:
            yield f"{_shown(result.dataset)} is not among its collections"
            continue
        for m in result.measurements:
            yield from _words(m)
            key = Key(result.dataset, result.probe, m.name, values.coordinates(m.at))
            if key in expected:
                yield f"{_called(result, m)} stands twice"
            if m.aggregate is not None:
                expected.add(key)
                yield from _aggregate(result, m, there.get(key), data[result.dataset])
    unknown = there.keys() - expected
    if unknown:
        yield f"values by query of {len(unknown)} measurements that the report does not hold"


def _words(m: Measurement) -> Iterator[str]:
    for word in (m.name, *m.at, *(value for value in m.at.values() if isinstance(value, str))):
        if not _WORD.fullmatch(word):
            yield f"the name {_shown(word)}"


def _aggregate(result: Result, m: Measurement, sample: Sample | None, data: DataUsed) -> Iterator[str]:

    def what() -> str:
        return _called(result, m)

    if sample is None:
        yield f"{what()} has no values by query"
        return
    if len(sample.values) > data.queries:
        yield f"{what()} has values for {len(sample.values)} queries of {data.queries}"
    if (sample.base is None) != (m.aggregate == "mean"):
        yield f"{what()} is called a {m.aggregate}, and its values are not those of one"
        return
    if sample.base is not None and not sample.base.sum() > 0:
        yield f"{what()} has nothing to divide by"
        return
    value = float(sample.values.mean() if sample.base is None else sample.values.sum() / sample.base.sum())
    if abs(value - m.value) > _TOLERANCE * max(1.0, abs(value)):
        yield f"{what()} is {m.value:.6g} in the report and {value:.6g} by its values"
    if m.n != (len(sample.values) if sample.clusters is None else len(set(sample.clusters.tolist()))):
        yield f"{what()} says n = {m.n}, and its values are of another number"
    if (m.low is not None and m.low > m.value + _TOLERANCE) or (m.high is not None and m.high < m.value - _TOLERANCE):
        yield f"{what()} lies outside its own interval"
    if is_share(m.name) and (sample.values.min() < 0 or sample.values.max() > 1):
        yield f"{what()} has values outside 0..1"


def _called(result: Result, m: Measurement) -> str:
    at = ",".join(f"{key}={value}" for key, value in m.at.items())
    return _shown(f"{result.probe} {m.name}[{at}] on {result.dataset}")


def _shown(text: str) -> str:
    plain = safe(text)
    return repr(plain if len(plain) <= 100 else plain[:100] + "...")  # noqa: PLR2004 - enough to find it
