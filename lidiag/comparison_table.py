"""A comparison as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tabulate import tabulate

from lidiag.compare import Comparison, Ranked, Row
from lidiag.terminal import number, safe, where

_FEW = 5
_DETECTABLE = "Detectable: the difference that these queries would show four times in five (80 % power, 5 % two-sided, paired, before the adjustment)."


def text(comparison: Comparison, *, everything: bool = False) -> str:
    """Return the decided differences and the ranks, or every difference."""
    return safe("\n".join(_lines(comparison, everything=everything)))


def _lines(comparison: Comparison, *, everything: bool) -> Iterator[str]:
    baseline, *others = comparison.models
    for other in others:
        rows = [row for row in comparison.rows if row.other == other]
        shown = [row for row in rows if everything or row.verdict in {"better", "worse", "higher", "lower"}]
        count = Counter(row.verdict for row in rows)
        yield f"{other} against {baseline}: {', '.join(f'{n} {verdict}' for verdict, n in count.most_common())} (of {len(rows)} measurements)"
        if shown:
            header = ("probe", "measure", "at", baseline, other, "difference", "95 % interval", "detectable", "p (adjusted)", "verdict")
            yield tabulate([_row(row) for row in shown], header, tablefmt="simple", disable_numparse=True)
        yield ""
    yield _DETECTABLE
    yield f"p: random signs by query, two-sided, adjusted over all {len(comparison.rows)} (Benjamini-Hochberg). Negligible: sure, but below {comparison.floor:g}."
    for ranked in comparison.ranked:
        yield ""
        yield f"{ranked.probe} {ranked.name} ({where(ranked.at)}) on {ranked.dataset}: equal ranks cannot be told apart"
        yield tabulate(
            [(rank, name, number(value)) for rank, name, value in ranked.order], ("rank", "model", "value"), disable_numparse=True
        )
        yield from _missed(comparison, ranked)
    if comparison.left_out:
        yield ""
        shown = comparison.left_out if everything else comparison.left_out[:_FEW]
        more = len(comparison.left_out) - len(shown)
        yield f"Not compared: {'; '.join(shown)}" + (f"; and {more} more (--all)" if more else "")


def _row(row: Row) -> tuple[str, ...]:
    interval = "-" if row.low is None or row.high is None else f"{number(row.low)} .. {number(row.high)}"
    values = (number(row.baseline_value), number(row.other_value), number(row.difference))
    return (row.probe, row.name, where(row.at), *values, interval, _detectable(row), number(row.adjusted_p), row.verdict)


def _detectable(row: Row) -> str:
    return "-" if row.detectable is None else number(row.detectable)


def _missed(comparison: Comparison, ranked: Ranked) -> Iterator[str]:
    """Say, where a headline difference cannot be told, how small a one these queries would have shown."""
    for row in comparison.rows:
        place = (row.dataset, row.probe, row.name, row.at)
        if place == (ranked.dataset, ranked.probe, ranked.name, ranked.at) and row.verdict == "cannot tell" and row.detectable is not None:
            yield (
                f"{row.other} against {row.baseline}: {number(row.difference)} is too little to tell; with these {row.n} units a difference shows four "
                f"times in five from {number(row.detectable)} on, before the adjustment for many measurements."
            )
