"""The report card: one report as one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from lidiag.advice import Advice, advise
from lidiag.files import write_text
from lidiag.html import figures, heat, page
from lidiag.html.summary import Point, in_short
from lidiag.measurement import Measurement
from lidiag.report import DataUsed, Report, Result
from lidiag.terminal import is_headline


@dataclass(frozen=True)
class _Section:
    """One probe on one collection, ready to be laid out."""

    anchor: str
    result: Result
    plots: Sequence[tuple[str, Markup]]
    headline: Sequence[Measurement]


@dataclass(frozen=True)
class _Collection:
    """One collection with the sections of its probes."""

    data: DataUsed
    advice: Advice | None
    plots: Sequence[tuple[str, Markup]]
    sections: Sequence[_Section]


def write(report: Report, path: Path) -> None:
    """Write the report's page whole or not at all.

    Raises:
        LidiagError: the file cannot be written.
    """
    write_text(path, text(report))


def text(report: Report) -> str:
    """Return the report's page as HTML."""
    points: list[Point] = in_short(report)
    collections = [_collection(report, i) for i in range(len(report.data))]
    return page.render("card.html", {"report": report, "points": points, "collections": collections})


def _collection(report: Report, number: int) -> _Collection:
    data = report.data[number]
    advice = advise(report, data.name)
    results = [result for result in report.results if result.dataset == data.name]
    sections = [_section(result, f"d{number}-p{i}") for i, result in enumerate(results)]
    return _Collection(data, advice, list(figures.trade_off(advice, f"d{number}-advice")) if advice else [], sections)


def _section(result: Result, anchor: str) -> _Section:
    return _Section(
        anchor, result, [*figures.figures(result, anchor), *heat.maps(result, anchor)], [m for m in result.measurements if is_headline(m)]
    )
