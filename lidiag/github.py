"""A judgement for GitHub: annotations on standard output, and a summary of the step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lidiag.errors import LidiagError
from lidiag.judgement import Judgement
from lidiag.terminal import number, safe

_MOST_ANNOTATIONS = 10  # of one kind are shown by GitHub
_MOST_BYTES = 2**20 - 1024  # GitHub refuses a summary above 1 MiB
_MARKED = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>&~@:])")


def commands(judgement: Judgement) -> str:
    """Return workflow commands: an error for what failed or broke, as many as GitHub shows."""
    found = [f"::error title={_property(title)}::{_message(text)}" for title, text in _faults(judgement)]
    more = len(found) - _MOST_ANNOTATIONS
    if more > 0:
        found = [*found[: _MOST_ANNOTATIONS - 1], f"::error title=lidiag::and {more + 1} more faults: see the step's summary"]
    return "\n".join(found or [f"::notice title=lidiag::{_message(judgement.headline())}"])


def append_summary(judgement: Judgement, path: str | None) -> None:
    """Append the summary to GitHub's file for it.

    Raises:
        LidiagError: there is no such file here, or it cannot be written to.
    """
    if not path:
        raise LidiagError("--github needs GITHUB_STEP_SUMMARY, which GitHub sets in a step.", "Leave --github out elsewhere.")
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(summary(judgement))
    except OSError as error:
        raise LidiagError(f"GITHUB_STEP_SUMMARY ({path}) cannot be written: {error.strerror}.", "Check the step's environment.") from error


def summary(judgement: Judgement) -> str:
    """Return the judgement as Markdown, faults first, cut at what GitHub takes."""
    lines = [f"### lidiag: {inert(judgement.headline())}", ""]
    lines += [f"- **broken** {inert(result.probe)} on {inert(result.dataset)}: {inert(result.reason)}" for result in judgement.broken]
    if judgement.verdicts:
        lines += ["", "| outcome | gate | bound | observed | |", "|---|---|---|---|---|"]
    order = {"failed": 0, "broken": 1, "skipped": 2, "passed": 3}
    used = sum(len(line.encode()) + 1 for line in lines)
    rows = sorted(judgement.verdicts, key=lambda verdict: order[verdict.status])
    for i, verdict in enumerate(rows):
        limit = "" if verdict.limit is None else f"{verdict.op} {number(verdict.limit)}"
        observed = "" if verdict.observed is None else number(verdict.observed)
        cells = (verdict.status, f"{verdict} on {verdict.dataset}", limit, observed, verdict.why or verdict.reason)
        line = f"| {' | '.join(inert(cell) for cell in cells)} |"
        used += len(line.encode()) + 1
        if used > _MOST_BYTES:
            lines += ["", f"{len(rows) - i} more gates do not fit here."]
            break
        lines.append(line)
    return "\n".join(lines) + "\n"


def _faults(judgement: Judgement) -> Iterator[tuple[str, str]]:
    for result in judgement.broken:
        yield f"lidiag: {result.probe} broke", f"{result.dataset}: {result.reason}"
    for verdict in judgement.verdicts:
        if verdict.status in {"failed", "broken"}:
            seen = (
                ""
                if verdict.observed is None or verdict.limit is None
                else f"{number(verdict.observed)}, {verdict.op} {number(verdict.limit)} was asked. "
            )
            yield f"lidiag: {verdict} {verdict.status}", f"{verdict.dataset}: {seen}{verdict.reason} {verdict.why}".strip()


def _message(text: str) -> str:
    return safe(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def inert(text: str) -> str:
    """Escape what Markdown or HTML would act on, and a mention."""
    return _MARKED.sub(r"\\\1", " ".join(safe(text).split())).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
