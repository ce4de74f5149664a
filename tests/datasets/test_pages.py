from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from lidiag.dataset import DataOptions, Page
from lidiag.datasets import builtin, drawing
from lidiag.datasets.drawing import WIDTH, Chart, Heading, Paragraph, Table, png
from lidiag.datasets.pages import _FORMATS, pages
from lidiag.errors import LidiagError

PAGES = pages(0, text=False)
WITH_TEXT = pages(0, text=True)


def pixels(*blocks: drawing.Block) -> np.ndarray:
    return np.asarray(Page(png(blocks)).open())


def ink(*blocks: drawing.Block) -> np.ndarray:
    return (pixels(*blocks) < 128).any(axis=2)


def test_every_question_is_answered_by_one_page_and_every_page_by_one_question():
    assert (len(PAGES.documents), len(PAGES.queries), len({query.text for query in PAGES.queries})) == (60, 60, 60)
    answers = [document for row in PAGES.relevance.values() for document in row]
    assert sorted(answers) == sorted(document.id for document in PAGES.documents)
    assert {query.id for query in PAGES.queries} == set(PAGES.relevance)


def test_pages_are_images_without_text_unless_text_is_asked_for():
    assert PAGES.modalities == {"image"}
    assert WITH_TEXT.modalities == {"text", "image"}
    assert WITH_TEXT.name == "builtin:pages?text=1"


def test_loading_draws_nothing(monkeypatch):
    monkeypatch.setattr(drawing, "_write", lambda *_: pytest.fail("a page was drawn"))
    assert builtin.load("pages", DataOptions(parameters={"seed": "77"})).revision


def test_the_same_seed_gives_the_same_pages_and_another_other_ones():
    png.cache_clear()
    first = [document.digest() for document in PAGES.documents[:5]]
    png.cache_clear()
    again = pages(0, text=False)
    assert [document.digest() for document in again.documents[:5]] == first
    assert again.revision == PAGES.revision != pages(1, text=False).revision != WITH_TEXT.revision


def test_every_page_has_ink_within_its_margins():
    for document in PAGES.documents:
        assert document.page is not None
        image = document.page.open()
        form = _FORMATS[str(PAGES.facets[document.id]["format"])]
        assert image.size == form.size
        dark = np.asarray(image.convert("L")) < 128
        left, below = round(40 * form.scale), round(30 * form.scale)
        assert 0.005 < dark.mean() < 0.3
        assert not dark[:below].any()
        assert not dark[-below:].any()
        assert not dark[:, :left].any()
        assert not dark[:, -left:].any()


def test_formats_are_crossed_with_towns_and_sorts_so_that_length_does_not_tell_what_is_relevant():
    facets = list(PAGES.facets.values())
    assert Counter(facet["format"] for facet in facets) == {"note": 20, "page": 20, "strip": 20}
    assert set(Counter((facet["town"], facet["format"]) for facet in facets).values()) == {1}
    by_sort = Counter(("notice" if facet["sort"] == "notice" else "other", facet["format"]) for facet in facets)
    assert {by_sort["notice", form] for form in _FORMATS} <= {6, 7}


def test_a_strip_has_talk_below_what_the_question_asks_for():
    words = {form: [len(d.text.split()) for d in WITH_TEXT.documents if WITH_TEXT.facets[d.id]["format"] == form] for form in _FORMATS}
    assert min(words["strip"]) > max(words["note"] + words["page"])


def test_models_with_a_patch_per_pixel_see_pages_of_several_lengths():
    patches = {(image.width // 28) * (image.height // 28) for image in (document.page.open() for document in PAGES.documents)}
    assert len(patches) == 3
    assert max(patches) > 3 * min(patches)


def test_a_question_names_the_town_and_its_page_alone_says_the_answer():
    text = {document.id: document.text for document in WITH_TEXT.documents}
    for query in WITH_TEXT.queries:
        (page,) = WITH_TEXT.relevance[query.id]
        assert str(WITH_TEXT.facets[page]["town"]) in query.text
        if found := re.fullmatch(r"When does the ferry (\w+) leave (\w+)\?", query.text):
            assert re.search(rf"{found[1]} \d\d:\d\d", text[page])
        elif found := re.fullmatch(r"How many crates of (\w+) did the market of (\w+) sell in (\w+)\?", query.text):
            assert re.search(rf"{found[1]} \d+ \d+ \d+ \d+", text[page])
            assert found[3] in text[page]


def test_bars_rise_with_their_values():
    chart = Chart("t", "bars", ("a", "b", "c"), (40, 80, 20))
    blue = (pixels(chart) == (38, 84, 124)).all(axis=2)
    columns = np.flatnonzero(blue.any(axis=0))
    bars = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    heights = [int(blue[:, bar].any(axis=1).sum()) for bar in bars]
    assert len(heights) == 3
    assert heights[1] == pytest.approx(2 * heights[0], abs=3)
    assert heights[0] == pytest.approx(2 * heights[2], abs=3)


def test_a_line_has_its_lowest_point_where_its_value_is_lowest():
    blue = (pixels(Chart("t", "line", ("a", "b", "c"), (40, 80, 20))) == (38, 84, 124)).all(axis=2)
    columns = np.flatnonzero(blue.any(axis=0))
    low = [int(np.flatnonzero(blue[:, column]).max()) for column in columns]
    assert columns[int(np.argmax(low))] > columns[0] + 0.9 * (columns[-1] - columns[0])


def test_blocks_stand_one_under_the_other():
    one, both = ink(Heading("A")), ink(Heading("A"), Paragraph("B " * 200), Table((("x", "y"), ("1", "2"))))
    last = np.flatnonzero(one.any(axis=1)).max()
    assert (both[: last + 1] == one[: last + 1]).all()
    assert both[last + 1 :].any()


def test_long_paragraphs_wrap():
    assert not ink(Paragraph("wide " * 100))[:, WIDTH - 40 :].any()


@pytest.mark.parametrize("parameters", [{"text": "2"}, {"text": "yes"}, {"seed": "-1"}, {"colour": "1"}])
def test_parameters_that_it_does_not_take_are_refused(parameters):
    with pytest.raises(LidiagError):
        builtin.load("pages", DataOptions(parameters=parameters))
