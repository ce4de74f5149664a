"""A report in plain words: what is wrong, how sure that is, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lidiag.gate import Verdict
from lidiag.report import Report, Result
from lidiag.terminal import is_headline, is_key, number, where

Tone = Literal["bad", "warn", "good", "plain"]

# What usually helps, by the probe whose gate failed; a plugin's probe has its gate's reason alone.
_WHAT_TO_DO = {
    "retrieval": "Check the prompts and the maximum lengths with `lidiag check`, and that the right adapter read the checkpoint.",
    "length-bias": "Compare the poolings below, split long documents, or train with negatives of all lengths.",
    "length-sweep": "Choose a pooling that keeps more (below), or index documents in parts of equal length.",
    "distractor-hijacking": "Choose a pooling that keeps more under attack (below), and filter documents stuffed with query words.",
    "similarity-tail": "A score that uses more than the best match may rank better: see the weight that was fitted.",
    "gradient-gini": "Training with a softer pooling spreads the gradient over more document vectors.",
    "token-use": "Find the vectors that win everywhere, and drop or penalise them.",
    "token-type": "Leave the token types out that carry score without telling documents apart.",
    "minimal-pairs": "Add hard negatives that differ by one word of the failing kind.",
    "compression": "Choose a scheme that keeps the quality, or keep full precision.",
    "load-check": "Load the checkpoint with the library that wrote it, and compare the vectors.",
}


@dataclass(frozen=True)
class Point:
    """One thing to know: a word for its kind, the statement, how sure, what to do."""

    tone: Tone
    word: str
    statement: str
    sure: str = ""
    action: str = ""


def in_short(report: Report) -> list[Point]:
    """Return what to know of a report, the worst first."""
    return [*_overall(report), *_gates(report), *_broken(report), *_found(report)]


def _overall(report: Report) -> Iterator[Point]:
    count = Counter(gate.status for gate in report.gates)
    if not report.gates:
        yield Point("plain", "Not judged", "No gate was set, so nothing was judged: the numbers below stand by themselves.")
    elif count["failed"] or count["broken"]:
        parts = [f"{count[status]} {status}" for status in ("failed", "broken", "skipped", "passed") if count[status]]
        yield Point("bad", "Gates failed" if count["failed"] else "Incomplete", f"Of {len(report.gates)} gates: {', '.join(parts)}.")
    elif count["passed"]:
        skipped = f" and {count['skipped']} did not apply" if count["skipped"] else ""
        yield Point(
            "good", "Gates hold", f"{count['passed']} of {len(report.gates)} gates passed{skipped}. They cover what they name, and no more."
        )
    else:
        yield Point("warn", "Not judged", f"None of the {len(report.gates)} gates applied.")
    if report.limit is not None:
        yield Point(
            "warn", "A first look", f"The run was limited to {report.limit} queries: differences this small sample shows may not last."
        )


def _gates(report: Report) -> Iterator[Point]:
    for gate in report.gates:
        on = f" on {gate.dataset}" if len(report.data) > 1 else ""
        if gate.status == "failed":
            yield Point(
                "bad",
                "Failed",
                f"{gate.probe}{on}: {_observed(gate)}. {gate.reason}",
                _sure(report, gate),
                _WHAT_TO_DO.get(gate.probe, ""),
            )
        elif gate.status == "broken":
            yield Point(
                "bad",
                "Broken gate",
                f"{gate}{on} could not be judged: {gate.why}.",
                action="Mend the gate or the run: this is not a pass.",
            )


def _observed(gate: Verdict) -> str:
    end = {"value": "", "low": "the lower end of the interval of ", "high": "the upper end of the interval of "}[gate.of]
    place = f" ({where(gate.at)})" if gate.at else ""
    bound = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}[gate.op]
    seen, limit = (None if value is None else number(value) for value in (gate.observed, gate.limit))
    return f"{end}{gate.name}{place} is {seen} and should be {bound} {limit}"


def _sure(report: Report, gate: Verdict) -> str:
    results = (result for result in report.results if result.probe == gate.probe and result.dataset == gate.dataset)
    found = next((m for result in results for m in result.measurements if m.name == gate.name and m.at == gate.at), None)
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return f"{number(found.value)}, without an interval: {found.no_interval}."
    return f"{number(found.value)}, 95 % interval {number(found.low)} to {number(found.high)}, over {found.n:,} {found.unit_of_n}."


def _broken(report: Report) -> Iterator[Point]:
    for result in report.results:
        on = f" on {result.dataset}" if len(report.data) > 1 else ""
        if result.status == "broken":
            yield Point("bad", "Broken", f"{result.probe}{on} broke: {result.reason}", action="Its questions have no answer here.")
        elif result.status == "skipped":
            yield Point("plain", "Skipped", f"{result.probe}{on}: {result.reason}")


def _found(report: Report) -> Iterator[Point]:
    """Yield every probe's verdict in its own words, with its primary number; without a verdict that number alone, or its first finding."""
    for result in report.results:
        on = f" on {result.dataset}" if len(report.data) > 1 else ""
        verdicts = [finding.text for finding in result.findings if "verdict" in finding.data and is_key(finding)]
        number_of = _primary(result)
        fallback = [""] if number_of else [finding.text for finding in result.findings[:1]]
        for i, text in enumerate(verdicts or fallback):
            yield Point("plain", f"{result.probe}{on}", text, number_of if i == 0 else "")


def _primary(result: Result) -> str:
    found = next((m for m in result.measurements if m.name == result.primary and is_headline(m)), None)
    if found is None or found.low is None or found.high is None:
        return ""
    place = f" ({where(found.at)})" if found.at else ""
    return f"{found.name}{place} {number(found.value)}, 95 % interval {number(found.low)} to {number(found.high)}, {found.n:,} {found.unit_of_n}."
