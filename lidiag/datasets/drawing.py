"""Pages drawn with Pillow and its own font: headings, paragraphs, tables, bar and line charts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

WIDTH, HEIGHT = 640, 896
_MARGIN = 48
_INK, _FAINT, _ACCENT = (30, 30, 34), (200, 204, 210), (38, 84, 124)
_CHART = 330
_TICKS = 4


class Format(NamedTuple):
    """A page of `WIDTH` x `height`, drawn and then scaled: pixels are what a model's number of patches follows."""

    height: int
    scale: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image."""
        return round(WIDTH * self.scale), round(self.height * self.scale)


PAGE = Format(HEIGHT, 1.0)


@dataclass(frozen=True)
class Heading:
    """A line in large type over a rule."""

    text: str

    def draw(self, canvas: ImageDraw, top: int) -> int:
        """Draw it at height `top`; return where the next block may start, as all blocks do."""
        bottom = _write(canvas, self.text, top, 26, _ACCENT)
        canvas.line((_MARGIN, bottom + 4, WIDTH - _MARGIN, bottom + 4), _ACCENT, 2)
        return bottom + 24


@dataclass(frozen=True)
class Paragraph:
    """Running text, wrapped."""

    text: str

    def draw(self, canvas: ImageDraw, top: int) -> int:
        """Draw it."""
        return _write(canvas, self.text, top, 16, _INK) + 18


@dataclass(frozen=True)
class Table:
    """A grid; the first row is its head."""

    rows: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        """Its cells, row by row."""
        return "\n".join(" ".join(row) for row in self.rows)

    def draw(self, canvas: ImageDraw, top: int) -> int:
        """Draw it."""
        height, width = 30, (WIDTH - 2 * _MARGIN) // len(self.rows[0])
        for i, row in enumerate(self.rows):
            for j, cell in enumerate(row):
                left, y = _MARGIN + j * width, top + i * height
                canvas.rectangle((left, y, left + width, y + height), (232, 238, 244) if i == 0 else None, _FAINT)
                canvas.text((left + 8, y + 7), cell, _INK, _font(15))
        return top + len(self.rows) * height + 24


@dataclass(frozen=True)
class Chart:
    """One series over labels, as bars or as a line; values are to be read off the axis."""

    title: str
    style: Literal["bars", "line"]
    labels: tuple[str, ...]
    values: tuple[int, ...]

    @property
    def text(self) -> str:
        """What is written in it: its title and the labels."""
        return f"{self.title}\n{' '.join(self.labels)}"

    def draw(self, canvas: ImageDraw, top: int) -> int:
        """Draw it."""
        top = _write(canvas, self.title, top, 17, _INK) + 12
        left, right, bottom = _MARGIN + 44, WIDTH - _MARGIN, top + _CHART
        most = -(-max(self.values) // (10 * _TICKS)) * 10 * _TICKS
        for tick in range(_TICKS + 1):
            y = bottom - _CHART * tick // _TICKS
            canvas.line((left, y, right, y), _FAINT)
            canvas.text((_MARGIN, y - 8), str(most * tick // _TICKS), _INK, _font(13))
        step = (right - left) / len(self.values)
        peaks = [(left + step * (i + 0.5), bottom - _CHART * value / most) for i, value in enumerate(self.values)]
        for (x, y), label in zip(peaks, self.labels, strict=True):
            canvas.text((x, bottom + 6), label, _INK, _font(13), anchor="ma")
            if self.style == "bars":
                canvas.rectangle((x - step * 0.32, y, x + step * 0.32, bottom), _ACCENT)
            else:
                canvas.ellipse((x - 4, y - 4, x + 4, y + 4), _ACCENT)
        if self.style == "line":
            canvas.line(peaks, _ACCENT, 3)
        return bottom + 44


Block: TypeAlias = Heading | Paragraph | Table | Chart


@lru_cache(maxsize=128)
def png(blocks: tuple[Block, ...], form: Format = PAGE) -> bytes:
    """Draw blocks one under the other; return the page as PNG.

    The same blocks give the same bytes under one version of Pillow; another one may draw letters otherwise.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415 - Pillow is not needed for text

    page = Image.new("RGB", (WIDTH, form.height), "white")
    canvas = ImageDraw.Draw(page)
    top = _MARGIN
    for block in blocks:
        top = block.draw(canvas, top)
    buffer = io.BytesIO()
    (page if form.size == page.size else page.resize(form.size, Image.Resampling.LANCZOS)).save(buffer, "PNG")
    return buffer.getvalue()


def _write(canvas: ImageDraw, text: str, top: int, size: int, ink: tuple[int, int, int]) -> int:
    for line in _wrapped(text.split(), size):
        canvas.text((_MARGIN, top), line, ink, _font(size))
        top += round(size * 1.4)
    return top


def _wrapped(words: Sequence[str], size: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font(size).getlength(longer) <= WIDTH - 2 * _MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@lru_cache(maxsize=8)
def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont  # noqa: PLC0415 - as above

    return ImageFont.load_default(size)
