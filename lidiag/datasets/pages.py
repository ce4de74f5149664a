"""`builtin:pages`: generated page images, so that visual suites run without a hub.

Three pages for each of twenty invented towns: a notice in paragraphs, a table, and a chart. Each answers one question;
pages of the same sort about other towns, and other pages about the same town, do not.

Pages come in three formats, crossed with towns and sorts: a small note, a page, and a long strip with idle talk below. So
models that cut an image into as many patches as it has pixels give them different numbers of vectors, and no number tells
what a page is about.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from lidiag.dataset import Dataset, Document, Page, Query
from lidiag.datasets.drawing import Block, Chart, Format, Heading, Paragraph, Table, png
from lidiag.datasets.draws import between, shuffled
from lidiag.datasets.talk import talk
from lidiag.datasets.words import CROPS, KINDS, TOWNS

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SEASONS = ("spring", "summer", "autumn", "winter")
_FERRIES = ("Heron", "Puffin", "Cormorant", "Plover", "Gannet", "Curlew")
_YEARS = tuple(str(year) for year in range(2011, 2023))


# Some 210, 470 and 750 patches of 28 pixels, the last as many as models of that kind take.
_FORMATS = {"note": Format(704, 0.6), "page": Format(896, 0.8), "strip": Format(1344, 1.0)}


class _Sheet(NamedTuple):
    town: str
    sort: str
    blocks: tuple[Block, ...]
    question: str
    form: str = "page"

    def on(self, form: str) -> _Sheet:
        """Return the sheet in another format."""
        if form != "strip":
            return self._replace(form=form)
        # Its own draws: the same towns, answers and questions come out whatever is written below them.
        said = talk(16, random.Random(f"{self.town} {self.sort}"))  # noqa: S311 - nothing secret
        return self._replace(form=form, blocks=(*self.blocks, Paragraph(" ".join(said[:8])), Paragraph(" ".join(said[8:]))))


def pages(seed: int, *, text: bool) -> Dataset:
    """Generate the collection: 60 pages and 60 questions; with `text`, each page has its words beside the image.

    Images are drawn when they are asked for.
    """
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    forms = tuple(_FORMATS)
    sheets = shuffled(
        rng,
        [
            sheet.on(forms[(number + place) % len(forms)])
            for number, town in enumerate(shuffled(rng, TOWNS))
            for place, sheet in enumerate(_sheets(number, town, rng))
        ],
    )
    documents = [
        Document(f"p{number:02}", _words(sheet) if text else "", Page(partial(png, sheet.blocks, _FORMATS[sheet.form])))
        for number, sheet in enumerate(sheets, 1)
    ]
    queries = [Query(f"q{number:02}", sheet.question) for number, sheet in enumerate(sheets, 1)]
    given = [f"{key}={value}" for key, value in (("seed", seed), ("text", int(text))) if value]
    return Dataset(
        name="builtin:pages" + (f"?{'&'.join(given)}" if given else ""),
        queries=shuffled(rng, queries),
        documents=documents,
        relevance={query.id: {document.id: 1} for query, document in zip(queries, documents, strict=True)},
        revision=hashlib.sha256(repr((text, sheets)).encode()).hexdigest()[:40],
        language="eng-Latn",
        facets={
            document.id: {"town": sheet.town, "sort": sheet.sort, "format": sheet.form}
            for document, sheet in zip(documents, sheets, strict=True)
        },
    )


def _words(sheet: _Sheet) -> str:
    return "\n".join(block.text for block in sheet.blocks)


def _sheets(number: int, town: str, rng: random.Random) -> Iterator[_Sheet]:
    """Make a town's three pages; two sorts of table and two of chart take turns."""
    yield _notice(number, town, rng)
    yield _sales(town, rng) if number % 2 else _ferries(town, rng)
    yield _visitors(town, rng) if number % 2 else _level(town, rng)


def _notice(number: int, town: str, rng: random.Random) -> _Sheet:
    kind = KINDS[number % len(KINDS)]
    value = kind.values[between(rng, 0, len(kind.values) - 1)]
    paragraphs = [" ".join(talk(4, rng)), kind.statement.format(town=town, value=value), " ".join(talk(3, rng)), " ".join(talk(5, rng))]
    blocks = (Heading(f"News from {town}"), *map(Paragraph, paragraphs))
    return _Sheet(town, "notice", blocks, kind.direct.format(town=town))


def _sales(town: str, rng: random.Random) -> _Sheet:
    crops = shuffled(rng, CROPS)
    rows = tuple((crop, *(str(between(rng, 120, 980)) for _ in _SEASONS)) for crop in crops)
    table = Table((("crates", *_SEASONS), *rows))
    season = _SEASONS[between(rng, 0, 3)]
    blocks = (Heading(f"Market of {town}"), Paragraph("Crates sold by season."), table, Paragraph(" ".join(talk(3, rng))))
    return _Sheet(town, "sales", blocks, f"How many crates of {crops[2]} did the market of {town} sell in {season}?")


def _ferries(town: str, rng: random.Random) -> _Sheet:
    names = shuffled(rng, _FERRIES)
    rows = tuple((name, _time(6 + i, rng), _time(14 + i, rng), str(between(rng, 20, 90))) for i, name in enumerate(names))
    table = Table((("ferry", "leaves", "returns", "minutes"), *rows))
    blocks = (Heading(f"Ferries from {town}"), Paragraph(" ".join(talk(2, rng))), table, Paragraph(" ".join(talk(3, rng))))
    return _Sheet(town, "ferries", blocks, f"When does the ferry {names[3]} leave {town}?")


def _time(hour: int, rng: random.Random) -> str:
    return f"{hour:02}:{between(rng, 0, 59):02}"


def _visitors(town: str, rng: random.Random) -> _Sheet:
    chart = Chart("Guests in thousands, by month", "bars", _MONTHS, _series(len(_MONTHS), rng))
    blocks = (Heading(f"Hotels of {town}"), Paragraph(" ".join(talk(2, rng))), chart, Paragraph(" ".join(talk(2, rng))))
    return _Sheet(town, "guests", blocks, f"In which month did the hotels of {town} have most guests?")


def _level(town: str, rng: random.Random) -> _Sheet:
    chart = Chart("Level of the reservoir in centimetres, by year", "line", _YEARS, _series(len(_YEARS), rng))
    blocks = (Heading(f"Reservoir of {town}"), chart, Paragraph(" ".join(talk(4, rng))))
    return _Sheet(town, "level", blocks, f"In which year was the reservoir of {town} at its lowest level?")


def _series(count: int, rng: random.Random) -> tuple[int, ...]:
    """Return different numbers, so that one is the highest and one the lowest."""
    return tuple(20 + 10 * value + between(rng, 0, 6) for value in shuffled(rng, range(count)))
