"""The figures of a report card: a list of what to draw, and one function that draws any of it.

A figure is a measurement over one coordinate, a series by another; what is left of the coordinates makes panels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup
from matplotlib.axes import Axes

from lidiag.advice import Advice
from lidiag.html import svg
from lidiag.measurement import Coordinate, Measurement
from lidiag.report import Result
from lidiag.terminal import number, safe, where

_MARKERS = "osD^vPX*"
_LINES = ("-", "--", "-.", ":")
_LONGEST = 24  # letters of a label


@dataclass(frozen=True)
class Curve:
    """What to draw: a probe's measurement along `x`, one line per value of `series`, one panel per rest of the coordinates."""

    probe: str
    measurement: str
    x: str
    title: str
    series: str = "pooling"
    at: dict[str, Coordinate] = field(default_factory=dict)
    log: bool = False
    reference: float | None = None


CURVES = (
    Curve("retrieval", "nDCG@10", "pooling", "Ranking quality by pooling"),
    Curve("length-bias", "score_length_correlation", "pooling", "Correlation of score and length", reference=0),
    Curve("length-bias", "length_lift", "decile", "Retrieved more often than relevant, by length decile", reference=1),
    Curve("length-sweep", "ndcg_retained", "growth", "nDCG@10 retained as documents grow", log=True, reference=1),
    Curve("length-sweep", "recall_retained", "growth", "Recall retained as documents grow", log=True, reference=1),
    Curve("distractor-hijacking", "recall_retained", "k", "Recall retained against injected vectors", series="distractor", reference=1),
    Curve("distractor-hijacking", "hijack_rate", "k", "Share of wins taken by injected vectors", series="distractor"),
    Curve("similarity-tail", "similarity", "rank", "Similarity by rank", series="documents", log=True),
    Curve("similarity-tail", "rank_auc", "rank", "How well each rank tells relevant documents apart", log=True, reference=0.5),
    Curve("similarity-tail", "topk_ndcg", "k", "nDCG@10 of TopK(k)"),
    Curve("token-use", "pruned_ndcg_retained", "keep", "nDCG@10 retained by share of vectors kept", reference=1),
    Curve("token-type", "score_share", "type", "Share of the score by token type"),
    Curve("token-type", "variance_share", "type", "Share of the score's variance by token type"),
    Curve("minimal-pairs", "right_wins", "kind", "The right document wins, by kind of pair", reference=0.5),
    Curve("compression", "ndcg_retained", "scheme", "nDCG@10 retained by compression", reference=1),
    Curve("gradient-gini", "gini_excess", "pooling", "Concentration beyond chance", reference=0),
    Curve("fine-tune", "gini_by_step", "step", "Concentration of the gradient in training", series="train_pooling"),
    Curve("fine-tune", "R@1_by_step", "step", "R@1 in training", series="train_pooling"),
    Curve("fine-tune", "loss_by_step", "step", "Held-out loss in training", series="train_pooling"),
    Curve("fine-tune", "nDCG@10_change", "train_pooling", "What training changes", series="eval_pooling", reference=0),
    Curve("synthetic-routing", "gini_by_epoch", "epoch", "Concentration of the gradient in training"),
    Curve("synthetic-routing", "R@1_by_length", "m", "R@1 by document length, trained anew", log=True),
    Curve("synthetic-routing", "R@1_by_length_evaluated", "m", "R@1 by document length, trained at one", log=True),
    Curve("synthetic-routing", "gini_by_length", "m", "Concentration by document length", log=True),
    Curve("projection-heads", "nDCG@10", "head", "Ranking quality by head"),
    Curve("projection-heads", "effective_rank", "head", "Effective rank by head"),
    Curve("smart-gain", "nDCG@10", "pooling", "Ranking quality by score"),
    Curve("smart-gain", "nDCG@10_by_layer", "layer", "Late scores by layer"),
)


def figures(result: Result, name: str) -> Iterator[tuple[str, Markup]]:
    """Yield (caption, svg) of everything that can be drawn of a result; `name` starts the ids."""
    for number_of, curve in enumerate(curve for curve in CURVES if curve.probe == result.probe):
        points = [m for m in result.measurements if m.name == curve.measurement and curve.x in m.at and curve.at.items() <= m.at.items()]
        for panel, (rest, chosen) in enumerate(_panels(points, curve)):
            caption = curve.title + (f" ({where(dict(rest))})" if rest else "")
            yield caption, _draw(curve, chosen, f"{name}-{number_of}-{panel}", caption)


def trade_off(advice: Advice, name: str) -> Iterator[tuple[str, Markup]]:
    """Yield one scatter of clean nDCG@10 against each other condition of the advice."""
    clean, *others = advice.complete
    for i, axis in enumerate(others):
        with svg.style():
            axes = svg.axes(2.2, legend=len(advice.poolings))
            for j, pooling in enumerate(advice.poolings):
                x, y = clean.values[pooling], axis.values[pooling]
                axes.plot(x, y, marker=_MARKERS[j % 8], color=svg.SERIES[j % 8], linestyle="", markersize=8, label=_short(pooling))
            axes.set_xlabel("nDCG@10, clean")
            axes.set_ylabel(f"nDCG@10, {axis.name}")
            axes.margins(0.15)
            svg.legend(axes, len(advice.poolings))
        told = "; ".join(f"{pooling}: {number(clean.values[pooling])} clean, {number(axis.values[pooling])}" for pooling in advice.poolings)
        caption = f"Clean against {axis.name}: {axis.meaning}"
        yield caption, svg.inline(axes, f"{name}-{i}", caption, f"nDCG@10 by pooling. {told}.")


def _panels(points: Sequence[Measurement], curve: Curve) -> Iterator[tuple[tuple[tuple[str, Coordinate], ...], list[Measurement]]]:
    axes = {curve.x, curve.series, *curve.at}
    groups: dict[tuple[tuple[str, Coordinate], ...], list[Measurement]] = {}
    for point in points:
        groups.setdefault(tuple((k, v) for k, v in point.at.items() if k not in axes), []).append(point)
    yield from groups.items()


@dataclass(frozen=True)
class _Line:
    """The measurements of one series, and its place among the others, which decides how it looks."""

    number: int
    label: str
    members: Sequence[Measurement]

    @property
    def color(self) -> str:
        return svg.SERIES[self.number % 8]

    @property
    def marker(self) -> str:
        return _MARKERS[self.number % 8]


def _draw(curve: Curve, points: Sequence[Measurement], name: str, caption: str) -> Markup:
    by_label: dict[str, list[Measurement]] = {}
    for point in points:
        by_label.setdefault("" if curve.series == curve.x else str(point.at.get(curve.series, "")), []).append(point)
    lines = [_Line(i, label, members) for i, (label, members) in enumerate(by_label.items())]
    numeric = all(isinstance(point.at[curve.x], int | float) for point in points)
    categories = list(dict.fromkeys(str(point.at[curve.x]) for point in points))
    height = 2.2 if numeric else 0.3 + 0.3 * len(categories)
    with svg.style():
        axes = svg.axes(height, legend=len(lines), left=6 if numeric else min(_LONGEST, max(len(c) for c in categories)))
        for line in lines:
            if numeric:
                _curve(axes, curve, line)
            else:
                _dots(axes, curve, line, categories, (line.number - (len(lines) - 1) / 2) * 0.6 / len(lines))
        _dress(axes, curve, points, numeric=numeric)
        svg.legend(axes, len(lines))
    told = "; ".join(_told(line, curve.x) for line in lines)
    return svg.inline(axes, name, caption, f"{curve.measurement} by {curve.x}. {told}.")


def _curve(axes: Axes, curve: Curve, line: _Line) -> None:
    members = sorted(line.members, key=lambda m: float(m.at[curve.x]))
    places = [float(m.at[curve.x]) for m in members]
    look = _LINES[line.number % 4]
    axes.plot(
        places, [m.value for m in members], color=line.color, marker=line.marker, markersize=4, linestyle=look, label=_short(line.label)
    )
    # A point on the reference is where nothing was done: its interval would hide the curve's.
    banded = [
        (place, m.low, m.high)
        for place, m in zip(places, members, strict=True)
        if m.low is not None and m.high is not None and m.value != curve.reference
    ]
    if banded:
        x, low, high = zip(*banded, strict=True)
        axes.fill_between(x, low, high, color=line.color, alpha=0.15, linewidth=0)


def _dots(axes: Axes, curve: Curve, line: _Line, categories: list[str], shift: float) -> None:
    places = [categories.index(str(m.at[curve.x])) + shift for m in line.members]
    axes.plot(
        [m.value for m in line.members], places, color=line.color, marker=line.marker, markersize=6, linestyle="", label=_short(line.label)
    )
    for place, m in zip(places, line.members, strict=True):
        if m.low is not None and m.high is not None:
            axes.plot([m.low, m.high], [place, place], color=line.color, linewidth=2)
    axes.set_yticks(range(len(categories)), [_short(category) for category in categories])
    axes.set_ylim(len(categories) - 0.5, -0.5)


def _dress(axes: Axes, curve: Curve, points: Sequence[Measurement], *, numeric: bool) -> None:
    unit = f" [{points[0].unit}]" if points[0].unit else ""
    (axes.set_ylabel if numeric else axes.set_xlabel)(_short(curve.measurement + unit))
    if numeric:
        axes.set_xlabel(curve.x, labelpad=1)
        if curve.log and all(float(point.at[curve.x]) > 0 for point in points):
            axes.set_xscale("log", base=2)
            ticks = sorted({float(point.at[curve.x]) for point in points})
            few = [tick for tick in ticks if math.log2(tick).is_integer()] or ticks
            axes.set_xticks(few, [f"{tick:g}" for tick in few])
            axes.minorticks_off()
    if curve.reference is not None:
        (axes.axhline if numeric else axes.axvline)(curve.reference, color=svg.INK, linewidth=0.8, linestyle=":", alpha=0.6)


def _told(line: _Line, x: str) -> str:
    first, last = line.members[0], line.members[-1]
    ends = f"{number(first.value)} at {first.at[x]}" + (f", {number(last.value)} at {last.at[x]}" if last is not first else "")
    return (f"{line.label}: " if line.label else "") + ends


def _short(text: str, most: int = _LONGEST) -> str:
    plain = safe(text)
    return plain if len(plain) <= most else plain[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
