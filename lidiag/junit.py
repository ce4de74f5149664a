"""A judgement as JUnit XML: one case per probe, and one per gate."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from lidiag.files import write_text
from lidiag.gate import Status
from lidiag.judgement import Judgement
from lidiag.terminal import safe

# What XML 1.0 cannot hold, even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(judgement: Judgement, path: Path) -> None:
    """Write the file whole or not at all."""
    write_text(path, text(judgement))


def text(judgement: Judgement) -> str:
    """Return the XML."""
    suites = "+".join(suite.name for suite in judgement.report.suites)
    root = ET.Element("testsuite", {"name": _plain(f"lidiag {suites} {judgement.report.model.name}")})
    for result in judgement.report.results:
        # A probe that failed a gate did measure: the gate's own case says so.
        status: Status = "passed" if result.status == "failed" else result.status
        _case(root, f"{suites}.{result.dataset}", result.probe, status, result.reason, seconds=result.seconds)
    for verdict in judgement.verdicts:
        seen = "" if verdict.observed is None else f"observed {verdict.observed:g}, {verdict.op} {verdict.limit:g} was asked. "
        name = f"{verdict} {verdict.op} {verdict.limit:g}" if verdict.limit is not None else str(verdict)
        _case(root, f"{suites}.{verdict.dataset}.{verdict.probe}", name, verdict.status, f"{seen}{verdict.reason} {verdict.why}".strip())
    cases = root.findall("testcase")
    for outcome, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        root.set(outcome, str(sum(case.find(tag) is not None for case in cases)))
    root.set("tests", str(len(cases)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(root: ET.Element, where: str, name: str, status: Status, message: str, *, seconds: float = 0.0) -> None:  # noqa: PLR0913 - what a case holds
    case = ET.SubElement(root, "testcase", {"classname": _plain(where), "name": _plain(name), "time": f"{seconds:.3f}"})
    tag = {"failed": "failure", "broken": "error", "skipped": "skipped"}.get(status)
    if tag:
        ET.SubElement(case, tag, {"message": _plain(message)})


def _plain(words: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", safe(words))
