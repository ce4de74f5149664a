"""Where on the page each image token lies, from the token sequence alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isqrt

Box = tuple[float, float, float, float]
_TILE = re.compile(r"<row_(\d+)_col_(\d+)>")


@dataclass(frozen=True)
class Run:
    """Image tokens that follow one another: `count` of them from position `start`, after the text `before`."""

    start: int
    count: int
    before: str


def runs(is_image: Sequence[bool], pieces: Sequence[str]) -> list[Run]:
    """Find the runs of image tokens in one item; `pieces` are its tokens as text."""
    found: list[Run] = []
    position, before = 0, ""
    for image, group in groupby(is_image):
        count = len(list(group))
        if image:
            found.append(Run(position, count, before))
        else:
            before = "".join(pieces[position : position + count])
        position += count
    return found


def boxes(found: Sequence[Run], grid: tuple[int, int] | None) -> dict[int, Box]:
    """Return position -> (left, top, right, bottom) as fractions of the page, for every image token whose place is known.

    `grid` is (rows, columns) of a page seen as one rectangle (Qwen-VL). Without it a run is a square of tokens: the whole
    page (PaliGemma, and the last, global view of Idefics3), or the tile that the tag `<row_i_col_j>` before it names
    (Idefics3's splitting: the page is first resized to whole tiles, so tiles divide it evenly).
    """
    tags = [_TILE.findall(run.before) for run in found]
    places = [(int(tag[-1][0]) - 1, int(tag[-1][1]) - 1) if tag else None for tag in tags]
    tiled = [place for place in places if place]
    rows = max((row for row, _ in tiled), default=0) + 1
    columns = max((column for _, column in tiled), default=0) + 1
    placed: dict[int, Box] = {}
    for run, place in zip(found, places, strict=True):
        whole = (0.0, 0.0, 1.0, 1.0)
        area = whole if place is None else (place[1] / columns, place[0] / rows, (place[1] + 1) / columns, (place[0] + 1) / rows)
        shape = grid or (isqrt(run.count), isqrt(run.count))
        if shape[0] * shape[1] == run.count:
            placed |= dict(enumerate(_cells(area, *shape), start=run.start))
    return placed


def _cells(area: Box, rows: int, columns: int) -> list[Box]:
    """Divide an area into cells, row by row."""
    left, top, right, bottom = area
    width, height = (right - left) / columns, (bottom - top) / rows
    return [
        (left + width * column, top + height * row, left + width * (column + 1), top + height * (row + 1))
        for row in range(rows)
        for column in range(columns)
    ]
