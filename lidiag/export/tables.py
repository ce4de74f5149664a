"""A report's numbers as CSV, and as a table for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from tabulate import tabulate

from lidiag.measurement import Measurement
from lidiag.report import Report, Result
from lidiag.terminal import is_headline, number, safe, where

_COLUMNS = ("model", "revision", "dataset", "probe", "name", "at", "value", "low", "high", "n", "unit_of_n", "unit", "better")
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
})  # fmt: skip
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(report: Report) -> str:
    """Return every measurement as a line; coordinates as `key=value;key=value`, empty cells where there is no interval."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for result, m in _measured(report):
        at = ";".join(f"{key}={value}" for key, value in m.at.items())
        words = (report.model.name, report.model.revision, result.dataset, result.probe, m.name, at)
        writer.writerow((*map(_cell, words), repr(m.value), _end(m.low), _end(m.high), m.n, m.unit_of_n, m.unit, m.better))
    return out.getvalue()


def as_latex(report: Report) -> str:
    """Return the headline numbers as a booktabs table, with their intervals."""
    rows = [
        [*(_tex(text) for text in (result.dataset, result.probe, m.name, where(m.at))), _tex(number(m.value)), _tex(_interval(m)), f"{m.n}"]
        for result, m in _measured(report)
        if is_headline(m)
    ]
    head = ["collection", "probe", "measure", "at", "value", r"95 \% interval", "$n$"]
    table = tabulate(rows, head, tablefmt="latex_raw", disable_numparse=True, colalign=("left",) * 4 + ("right",) * 3)
    lines = [line for line in table.splitlines() if line]
    rules = iter((r"\toprule", r"\midrule", r"\bottomrule"))
    drawn = [next(rules) if line.strip() == r"\hline" else line for line in lines]
    return f"% {safe(report.model.name)} @ {report.model.revision}, lidiag {report.lidiag}; needs booktabs\n" + "\n".join(drawn) + "\n"


def _measured(report: Report) -> Iterator[tuple[Result, Measurement]]:
    return ((result, m) for result in report.results for m in result.measurements)


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _end(value: float | None) -> str:
    return "" if value is None else repr(value)


def _interval(m: Measurement) -> str:
    return "-" if m.low is None or m.high is None else f"{number(m.low)} to {number(m.high)}"


def _tex(text: str) -> str:
    return safe(text).translate(_LATEX)
