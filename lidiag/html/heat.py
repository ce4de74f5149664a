"""Heat maps of a report card: a measurement over two coordinates, each cell with its number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup
from matplotlib.patches import Rectangle

from lidiag.html import svg
from lidiag.measurement import Coordinate, Measurement
from lidiag.report import Result
from lidiag.terminal import number, safe, where

_PALEST, _DARKEST = 0.05, 0.55  # of a cell's opacity: the number on it stays readable in both themes
_LONGEST = 18  # letters of a label


@dataclass(frozen=True)
class Heat:
    """What to draw: a probe's measurement, a row and a column for every value of two coordinates, one map per rest of them."""

    probe: str
    measurement: str
    rows: str
    columns: str
    title: str
    at: dict[str, Coordinate] = field(default_factory=dict)


MAPS = (
    Heat(
        "distractor-hijacking", "recall_retained", "distractor", "k", "Recall retained by distractor and number", at={"pooling": "maxsim"}
    ),
    Heat("distractor-hijacking", "recall_retained", "distractor", "pooling", "Recall retained by distractor and pooling", at={"k": 100}),
    Heat("fine-tune", "nDCG@10_change", "train_pooling", "eval_pooling", "Change of nDCG@10 by training"),
    Heat("fine-tune", "gini_change", "train_pooling", "eval_pooling", "Change of the gradient's Gini by training"),
    Heat("language-preference", "RR@10_by_languages", "query_language", "document_language", "RR@10 by languages"),
)


def maps(result: Result, name: str) -> Iterator[tuple[str, Markup]]:
    """Yield (caption, svg) of every map that a result has at least two cells for; `name` starts the ids."""
    for index, heat in enumerate(heat for heat in MAPS if heat.probe == result.probe):
        cells: dict[tuple[tuple[str, Coordinate], ...], list[Measurement]] = {}
        for m in result.measurements:
            if m.name == heat.measurement and {heat.rows, heat.columns} <= m.at.keys() and heat.at.items() <= m.at.items():
                rest = tuple((key, value) for key, value in m.at.items() if key not in {heat.rows, heat.columns, *heat.at})
                cells.setdefault(rest, []).append(m)
        for panel, (rest, chosen) in enumerate(cells.items()):
            if len(chosen) > 1:
                caption = heat.title + f" ({where({**heat.at, **dict(rest)})})" * bool(heat.at or rest)
                yield caption, _draw(heat, chosen, f"{name}-heat-{index}-{panel}", caption)


def _draw(heat: Heat, cells: Sequence[Measurement], name: str, caption: str) -> Markup:
    rows = list(dict.fromkeys(str(m.at[heat.rows]) for m in cells))
    columns = list(dict.fromkeys(str(m.at[heat.columns]) for m in cells))
    low, high = min(m.value for m in cells), max(m.value for m in cells)
    with svg.style():
        axes = svg.axes(0.35 * len(rows) + 0.1, legend=0, left=min(_LONGEST, max(map(len, rows))))
        for m in cells:
            x, y = columns.index(str(m.at[heat.columns])), rows.index(str(m.at[heat.rows]))
            depth = (m.value - low) / (high - low) if high > low else 0.0
            alpha = _PALEST + (_DARKEST - _PALEST) * depth
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=svg.SERIES[0], alpha=alpha, linewidth=0))
            axes.text(x, y, number(m.value), ha="center", va="center", color=svg.INK, fontsize=8 if len(columns) > 4 else 9.5)  # noqa: PLR2004 - narrow cells
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        turned = sum(map(len, columns)) > 36  # noqa: PLR2004 - letters that fit below the map
        axes.set_xticks(
            range(len(columns)), [_short(column, 8 if turned else _LONGEST) for column in columns], fontsize=8 if turned else None
        )
        axes.set_yticks(range(len(rows)), [_short(row) for row in rows])
        axes.tick_params(length=0)
        axes.set_xlabel(heat.columns, labelpad=1)
    told = "; ".join(f"{m.at[heat.rows]}, {m.at[heat.columns]}: {number(m.value)}" for m in cells)
    return svg.inline(axes, name, caption, f"{heat.measurement} by {heat.rows} and {heat.columns}. {told}.")


def _short(text: str, most: int = _LONGEST) -> str:
    plain = safe(text)
    return plain if len(plain) <= most else plain[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
