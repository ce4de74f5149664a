from __future__ import annotations

import dataclasses
import io
import subprocess
import sys

import pytest
from PIL import Image

from lidiag import dataset as module
from lidiag.dataset import DataOptions, Dataset, Document, Page, Query
from lidiag.errors import LidiagError


def png(colour: str = "white", size: tuple[int, int] = (4, 3)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


SMALL = Dataset(
    name="small",
    queries=[Query("q1", "a"), Query("q2", "b")],
    documents=[Document("d1", "x"), Document("d2", "y", Page(png()))],
    relevance={"q1": {"d1": 1, "d2": 0}, "q2": {"d2": 2}},
)


@pytest.mark.parametrize(
    "change",
    [
        {"queries": [Query("q1", "a"), Query("q2", "B")]},
        {"queries": [Query("q2", "b"), Query("q1", "a")]},
        {"documents": [Document("d1", "x"), Document("d2", "y", Page(png("black")))]},
        {"documents": [Document("d1", "x"), Document("d2", "y")]},
        {"relevance": {"q1": {"d1": 1, "d2": 1}, "q2": {"d2": 2}}},
    ],
)
def test_the_fingerprint_changes_with_texts_pages_order_and_grades(change):
    assert dataclasses.replace(SMALL, **change).fingerprint != SMALL.fingerprint


def test_the_fingerprint_is_blind_to_the_order_of_judgements_and_to_the_name():
    shuffled = {"q2": {"d2": 2}, "q1": {"d2": 0, "d1": 1}}
    assert dataclasses.replace(SMALL, relevance=shuffled, name="other").fingerprint == SMALL.fingerprint


def test_a_page_reads_alike_from_a_file_from_bytes_and_from_what_makes_it(tmp_path):
    (tmp_path / "page.png").write_bytes(png())
    pages = [Page(tmp_path / "page.png"), Page(png()), Page(png)]
    assert len({Document("d", "", page).digest() for page in pages}) == 1
    assert {page.open().size for page in pages} == {(4, 3)}


def test_a_page_is_not_made_before_it_is_asked_for():
    made: list[int] = []
    page = Page(lambda: made.append(1) or png())
    dataclasses.replace(SMALL, documents=[Document("d1", "", page)])
    assert not made


def test_a_page_that_is_gone_no_image_or_too_large_is_refused(tmp_path, monkeypatch):
    with pytest.raises(LidiagError, match="cannot be read"):
        Page(tmp_path / "gone.png").bytes()
    with pytest.raises(LidiagError, match="an image of 3 bytes cannot be read as an image"):
        Page(b"abc").open()
    monkeypatch.setattr(module, "MAX_PIXELS", 11)
    with pytest.raises(LidiagError, match="claims 4 x 3 pixels"):
        Page(png()).open()


def test_modalities_are_what_the_documents_hold():
    assert SMALL.modalities == {"text", "image"}
    assert dataclasses.replace(SMALL, documents=SMALL.documents[:1]).modalities == {"text"}


def test_options_refuse_what_a_collection_does_not_read():
    DataOptions(parameters={"split": "dev"}).require("x", ("split",))
    with pytest.raises(LidiagError, match=r"no parameter of x named 'splt'. Did you mean split"):
        DataOptions(parameters={"splt": "dev"}).require("x", ("split",))
    with pytest.raises(LidiagError, match="x has no revisions, and 'abc'"):
        DataOptions(revision="abc").require("x", ())
    DataOptions(revision="abc").require("x", (), revision=True)


def test_collections_are_read_without_torch():
    code = "import sys; from lidiag.datasets import beir; assert not {'torch', 'mteb', 'datasets', 'PIL'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000"])
def test_the_usual_formats_are_read(kind):
    written = io.BytesIO()
    Image.new("RGB", (16, 16), "white").save(written, kind)
    assert Page(written.getvalue()).open().size == (16, 16)


def test_postscript_is_refused_as_another_program_would_draw_it(monkeypatch):
    written = io.BytesIO()
    Image.new("RGB", (16, 16), "white").save(written, "EPS")
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(LidiagError, match="cannot be read as an image"):
        Page(written.getvalue()).open()
