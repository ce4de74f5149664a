"""An attribution as a picture: the page or the text, warm where the score comes from; clean, and with distractors beside it."""

from __future__ import annotations

from pathlib import Path

import matplotlib.patches
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lidiag.attribution import Attribution
from lidiag.files import write_atomically

_COLUMNS = 64  # characters in a line of text
_MOST_LINES = 60
_WARM = (0.85, 0.22, 0.10)


def draw(attribution: Attribution, path: Path) -> None:
    """Write the picture as PNG, whole or not at all."""
    lines = min(len(_lines(attribution.document.text)), _MOST_LINES)
    height = 8.0 if attribution.document.page is not None else max(2.0, 0.24 * lines)
    figure = Figure(figsize=(14, height + 1.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(2, 2, height_ratios=(height, 0.6))
    hijacked = sum(match.hijacked for match in attribution.matches)
    attacked = f"{attribution.injected} spikes injected: score {attribution.injected_score:.2f}, "
    attacked += f"{hijacked} of {len(attribution.matches)} query tokens hijacked"
    for column, (title, clean) in enumerate(((f"clean: score {attribution.score:.2f}", True), (attacked, False))):
        axes, strip = rows[0][column], rows[1][column]
        axes.set_title(title, fontsize=11)
        axes.set_axis_off()
        strip.set_axis_off()
        shares = attribution.shares(clean=clean)
        if attribution.document.page is not None:
            _page(axes, attribution, shares)
        else:
            _text(axes, attribution, shares)
        _query(strip, attribution, clean=clean)
    figure.suptitle(f"{attribution.query}\n{attribution.model}", fontsize=12, parse_math=False)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))


def _query(axes: Axes, attribution: Attribution, *, clean: bool) -> None:
    """Write the query's tokens with the similarity each reached, crossed out where it was hijacked."""
    place = 0.0
    for match in attribution.matches:
        lost = match.hijacked and not clean
        number = match.injected if lost else match.similarity
        word = f"{match.label.text or match.label.type} {number:.2f}"
        row, column = divmod(place, 100)
        if column + len(word) > 100:  # noqa: PLR2004 - characters in a line
            row, column, place = row + 1, 0.0, (row + 1) * 100
        colour, style = (_WARM, "italic") if lost else ("black", "normal")
        axes.text(
            column / 100, 1 - 0.3 * row, word, transform=axes.transAxes, fontsize=8, color=colour, style=style, va="top", parse_math=False
        )
        place += len(word) + 3


def _page(axes: Axes, attribution: Attribution, shares: NDArray[np.float64]) -> None:
    page = attribution.document.page
    if page is None:
        return
    image = page.open()
    axes.imshow(image)
    most = shares.max() or 1.0
    for label, share in zip(attribution.labels, shares, strict=True):
        if label.box is None or share <= 0:
            continue
        left, top, right, bottom = label.box
        corner = (left * image.width, top * image.height)
        size = ((right - left) * image.width, (bottom - top) * image.height)
        axes.add_patch(matplotlib.patches.Rectangle(corner, *size, facecolor=(*_WARM, 0.15 + 0.6 * share / most), edgecolor=_WARM))
    outside = sum(share for label, share in zip(attribution.labels, shares, strict=True) if label.box is None)
    if outside > 0:
        axes.text(0, -0.02, f"{outside:.0%} of the score comes from vectors that are no patch", transform=axes.transAxes, fontsize=9)


def _text(axes: Axes, attribution: Attribution, shares: NDArray[np.float64]) -> None:
    text = attribution.document.text
    heat = np.zeros(len(text))
    for label, share in zip(attribution.labels, shares, strict=True):
        if label.span:
            heat[slice(*label.span)] = np.maximum(heat[slice(*label.span)], share)
    most = heat.max() or 1.0
    lines = _lines(text)
    axes.set_xlim(0, _COLUMNS)
    axes.set_ylim(min(len(lines), _MOST_LINES) + 0.5, -0.7)
    for row, (start, end) in enumerate(lines[:_MOST_LINES]):
        for column, position in enumerate(range(start, end)):
            if heat[position] > 0:
                colour = (*_WARM, 0.15 + 0.6 * heat[position] / most)
                axes.add_patch(matplotlib.patches.Rectangle((column, row - 0.5), 1, 1, facecolor=colour, edgecolor="none"))
            axes.text(column + 0.5, row, text[position], family="monospace", fontsize=8, ha="center", va="center", parse_math=False)
    if len(lines) > _MOST_LINES:
        axes.text(0, _MOST_LINES + 0.5, f"... {len(lines) - _MOST_LINES} more lines, in the HTML", fontsize=9)


def _lines(text: str) -> list[tuple[int, int]]:
    """Break a text into lines of whole words, as (start, end) in it."""
    lines: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        end = min(start + _COLUMNS, len(text))
        newline = text.find("\n", start, end)
        if newline >= 0:
            lines.append((start, newline))
            start = newline + 1
            continue
        if end < len(text):
            space = text.rfind(" ", start, end + 1)
            end = space if space > start else end
        lines.append((start, end))
        start = end + (end < len(text) and text[end] == " ")
    return lines
