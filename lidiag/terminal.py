"""A report in 80 columns: what was found in words, the headline numbers with their intervals, the gates."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tabulate import tabulate

from lidiag.advice import advise, table
from lidiag.claim import ClaimVerdict
from lidiag.gate import Verdict
from lidiag.measurement import Coordinate, Finding, Measurement
from lidiag.report import Report, Result

_WIDTH = 80
_FIRST_PAGE = 8
# What may steer a terminal: control characters, and marks that turn the direction of writing; halves of surrogate pairs break it.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def safe(text: str) -> str:
    """Replace characters that could steer a terminal."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def summary(report: Report, *, everything: bool = False) -> str:
    """Return the report as text: per collection and probe the verdicts and the headline numbers, or all that was said."""
    return safe("\n".join(_lines(report, everything=everything)))


def of_result(result: Result) -> str:
    """Return one probe's result as text, with every number."""
    return safe("\n".join(_result(result, everything=True, several=True)))


def _lines(report: Report, *, everything: bool) -> Iterator[str]:
    model = report.model
    yield f"{model.name} @ {model.revision[:12]}  ({model.family}, {model.dim} dimensions, {model.dtype})"
    for data in report.data:
        left = sum(data.left_out.values())
        yield f"on {data.name}: {data.queries:,} queries" + (f" ({left:,} left out)" if left else "") + f", {data.documents:,} documents"
        yield from _wrapped(data.notes, "   note: ")
    if report.limit is not None:
        yield f"LIMITED to {report.limit} queries: a first look, not a result to submit."
    for data in report.data:
        results = [result for result in report.results if result.dataset == data.name]
        if len(results) > 1 and _ended_alike(results):
            yield ""
            yield from _wrapped([f"{results[0].status} on {data.name}, all {len(results)} probes: {results[0].reason}"], "")
            continue
        for result in results:
            yield ""
            yield from _result(result, everything=everything, several=len(report.data) > 1)
        yield from _advice(report, data.name)
    if report.claims:
        yield ""
        yield "Published claims"
        for claim in report.claims:
            yield from _wrapped([claim_line(claim, everything=everything)], "  ")
    if report.gates:
        yield ""
        yield "Gates"
        yield from _gates(report)


def _gates(report: Report) -> Iterator[str]:
    """Yield every gate's outcome; those of a collection on which nothing was measured in one line."""
    unmeasured: dict[str, str] = {}
    for data in report.data:
        results = [result for result in report.results if result.dataset == data.name]
        if len(results) > 1 and _ended_alike(results):
            unmeasured[data.name] = results[0].status
    yield from gate_lines(gate for gate in report.gates if gate.dataset not in unmeasured)
    for name, status in unmeasured.items():
        count = sum(gate.dataset == name for gate in report.gates)
        yield from _wrapped([f"{status.upper()}  all {count} gates on {name}: nothing was measured there"] if count else [], "  ")


def _ended_alike(results: Sequence[Result]) -> bool:
    """Tell whether one cause kept all probes from measuring: the collection could not be had, or the model cannot read it."""
    return results[0].status in {"skipped", "broken"} and len({(result.status, result.reason) for result in results}) == 1


def _result(result: Result, *, everything: bool, several: bool) -> Iterator[str]:
    title = result.probe + (f" on {result.dataset}" if several else "")
    yield from textwrap.wrap(f"{title} - {result.question}", _WIDTH, break_on_hyphens=False)
    if result.status in {"skipped", "broken"}:
        yield from _wrapped([f"{result.status}: {result.reason}"], "  ")
        return
    said = [finding for finding in result.findings if everything or is_key(finding)]
    yield from _wrapped([_finding(finding) for finding in said], "  * ")
    rows = list(result.measurements) if everything else _chosen(result)
    if rows:
        yield from _table(rows)
    numbers, words = len(result.measurements) - len(rows), len(result.findings) - len(said)
    if numbers or words:
        yield f"  (and {numbers:,} numbers and {words:,} findings more: lidiag show --all)"


def is_key(finding: Finding) -> bool:
    """Tell whether a finding stands on the first page: a fault, a warning, or a verdict about the model's own pooling."""
    at = finding.data.get("at")
    place = at if isinstance(at, dict) else finding.data
    return finding.severity != "note" or ("verdict" in finding.data and place.get("pooling", "maxsim") == "maxsim")


def _chosen(result: Result) -> list[Measurement]:
    """Return the first page's numbers: those of the whole collection, the primary one first, up to eight."""
    shown = [m for m in result.measurements if is_headline(m)]
    return sorted(shown, key=lambda m: m.name != result.primary)[:_FIRST_PAGE]


def _advice(report: Report, dataset: str) -> Iterator[str]:
    advice = advise(report, dataset)
    if advice is None:
        return
    yield ""
    yield "Pooling advice" + (f" on {dataset}" if len(report.data) > 1 else "")
    yield table(advice)
    yield from _wrapped(advice.words(), "  ")


def is_headline(m: Measurement) -> bool:
    """Tell whether a number stands on the first page: whole-collection numbers, pooled as the model's own scorer does."""
    return set(m.at) <= {"pooling"} and m.at.get("pooling", "maxsim") in {"maxsim", "single", "hybrid(1,1)"}


def _finding(finding: Finding) -> str:
    return finding.text if finding.severity == "note" else f"{finding.severity.upper()}: {finding.text}"


def _table(rows: Sequence[Measurement]) -> Iterator[str]:
    """Lay numbers out in 80 columns: coordinates where they differ, and below what n counts."""
    several = len({tuple(m.at.items()) for m in rows}) > 1
    head = ("measure", *(("at",) if several else ()), "value", "95 % interval", "n")
    cells = [(m.name, *((where(m.at),) if several else ()), _value(m), _interval(m), f"{m.n:,}") for m in rows]
    widths = [28, *((16,) if several else ()), None, None, None]
    yield tabulate(cells, head, tablefmt="simple", disable_numparse=True, maxcolwidths=widths)
    units = Counter(m.unit_of_n for m in rows)
    usual = units.most_common(1)[0][0]
    by_name: dict[str, list[str]] = {}
    for m in rows:
        by_name.setdefault(m.name, []).append(m.unit_of_n)
    odd = [f"{name}: {' or '.join(dict.fromkeys(counted))}" for name, counted in by_name.items() if set(counted) != {usual}]
    at = "" if several or not rows[0].at else f"at {where(rows[0].at)}; "
    yield from _wrapped([f"{at}n counts {usual}" + (f" ({', '.join(odd)})" if odd else "")], "  ")


def where(at: Mapping[str, Coordinate]) -> str:
    """Print coordinates for people: `maxsim, k=100`."""
    return ", ".join(str(value) if key == "pooling" else f"{key}={value}" for key, value in at.items())


def _value(m: Measurement) -> str:
    return number(m.value) + (f" {m.unit}" if m.unit else "")


def _interval(m: Measurement) -> str:
    return "-" if m.low is None or m.high is None else f"{number(m.low)} .. {number(m.high)}"


def number(value: float) -> str:
    """Print a number with three significant digits, without an exponent where that is short."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:  # noqa: PLR2004 - the range that reads well
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004
    return f"{value:.2e}"


def gate_lines(gates: Iterable[Verdict]) -> Iterator[str]:
    """Yield each gate's outcome, with the reason of one that failed; and its collection, where there are several."""
    gates = list(gates)
    several = len({gate.dataset for gate in gates}) > 1
    for gate in gates:
        limit = "" if gate.limit is None else f" {gate.op} {number(gate.limit)}"
        observed = "" if gate.observed is None else f": {number(gate.observed)}"
        place = str(gate).replace(f"{gate.probe} ", "", 1)
        yield from _wrapped(
            [
                f"{gate.status.upper()}  {gate.probe}{f' on {gate.dataset}' if several else ''}: {place}{limit}{observed}"
                + (f" ({gate.why})" if gate.why else "")
            ],
            "  ",
        )
        if gate.status == "failed":
            yield from _wrapped([gate.reason], "          ")


def claim_line(claim: ClaimVerdict, *, everything: bool = False) -> str:
    """Return a claim's outcome in words: the verdict, what was published and what was measured; where, with `everything`."""
    reach = "" if claim.low is None or claim.high is None else f" ({number(claim.low)} to {number(claim.high)}, n = {claim.n})"
    where = f", {claim.measured} on {claim.dataset}" if everything and claim.measured and claim.dataset else ""
    source = f" ({claim.source})" if everything else ""
    here = "" if claim.value is None else f" Here: {number(claim.value)}{reach}{where}."
    why = f" Why: {claim.why}." if claim.why else ""
    return f"{claim.verdict.upper()}  {claim.claim} Published: {claim.published}{source}.{here}{why}"


def _wrapped(texts: Iterable[str], prefix: str) -> Iterator[str]:
    for text in texts:
        yield from textwrap.wrap(text, _WIDTH, initial_indent=prefix, subsequent_indent=" " * len(prefix), break_on_hyphens=False)
