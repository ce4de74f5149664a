"""Folders of page images and PDFs; PDFs are written with matplotlib, text layer included."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from lidiag.dataset import DataOptions
from lidiag.datasets import beir, pdf
from lidiag.datasets.check import check
from lidiag.errors import LidiagError

QUERIES = '{"_id": "q1", "text": "profit?"}\n{"_id": "q2", "text": "logo?"}\n'


def write_pdf(path, texts, size=(4, 6)):
    import matplotlib as mpl  # noqa: PLC0415 - slow
    from matplotlib.backends.backend_pdf import PdfPages  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"pdf.fonttype": 42}), PdfPages(path) as pages:
        for text in texts:
            figure = Figure(figsize=size)
            figure.text(0.1, 0.5, text, fontsize=30)
            pages.savefig(figure)
    return path


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("pypdfium2", reason="pypdfium2, of the extra pdf, is not installed")
    write_pdf(tmp_path / "reports" / "year.pdf", ["first", "profit rose", "third"])
    Image.new("RGB", (30, 40), "red").save(tmp_path / "logo.png")
    (tmp_path / ".hidden").mkdir()
    Image.new("RGB", (3, 4)).save(tmp_path / ".hidden" / "x.png")
    (tmp_path / "queries.jsonl").write_text(QUERIES)
    (tmp_path / "qrels.tsv").write_text("q1\treports/year.pdf#page=2\t1\nq2\tlogo.png\t1\n")
    return tmp_path


def test_a_folder_of_images_and_pdfs_is_a_collection_of_pages_with_their_text_layers(folder):
    dataset = beir.load(str(folder), DataOptions())
    assert [(d.id, d.text) for d in dataset.documents] == [
        ("logo.png", ""),
        ("reports/year.pdf#page=1", "first"),
        ("reports/year.pdf#page=2", "profit rose"),
        ("reports/year.pdf#page=3", "third"),
    ]
    assert dataset.relevance == {"q1": {"reports/year.pdf#page=2": 1}, "q2": {"logo.png": 1}}
    assert check(folder).fault_count == 0


def test_pages_of_a_pdf_are_drawn_one_by_one_at_150_dots_an_inch_and_only_when_asked_for(folder, monkeypatch):
    drawn = []
    real = pdf._draw
    monkeypatch.setattr(pdf, "_draw", lambda path, index: drawn.append(index) or real(path, index))
    dataset = beir.load(str(folder), DataOptions())
    digests = {document.digest() for document in dataset.documents}
    assert (len(digests), drawn) == (4, [])
    page = dataset.documents[2].page
    assert page is not None
    image = page.open()
    assert drawn == [1]
    assert image.size == pytest.approx((4 * 150, 6 * 150), abs=1)  # pdfium rounds up
    assert (np.asarray(image) < 128).any()


def test_a_poster_is_drawn_no_larger_than_an_a4_page(tmp_path):
    pytest.importorskip("pypdfium2", reason="pypdfium2, of the extra pdf, is not installed")
    path = write_pdf(tmp_path / "poster.pdf", ["big"], size=(30, 120))
    assert max(pdf.page(path, 1).open().size) <= 1755


def test_a_changed_pdf_has_other_digests(folder):
    before = [document.digest() for document in beir.load(str(folder), DataOptions()).documents]
    write_pdf(folder / "reports" / "year.pdf", ["first", "profit fell", "third"])
    after = [document.digest() for document in beir.load(str(folder), DataOptions()).documents]
    assert before[0] == after[0]
    assert before[2] != after[2]


def lines_about(folder, *images):
    text = "".join(f'{{"_id": "d{i}", "image": "{image}"}}\n' for i, image in enumerate(images))
    (folder / "corpus.jsonl").write_text(text)
    (folder / "qrels.tsv").write_text("q1\td0\t1\nq2\td0\t1\n")
    return folder


def test_a_line_of_the_corpus_may_name_a_page_of_a_pdf(folder):
    dataset = beir.load(str(lines_about(folder, "reports/year.pdf#page=3", "logo.png")), DataOptions())
    sizes = [document.page.open().size for document in dataset.documents if document.page]
    assert sizes == [pytest.approx((600, 900), abs=1), (30, 40)]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("reports/year.pdf", "has 3 pages; say which one: year.pdf#page=1"),
        ("reports/year.pdf#page=4", "not one of 1 to 3"),
        ("reports/year.pdf#page=0", "not one of 1 to 3"),
        ("reports/year.pdf#page=two", "not one of 1 to 3"),
        ("logo.png#page=1", "is no PDF"),
        ("missing.pdf#page=1", "there is no such file"),
        ("../up.pdf#page=1", "no relative path inside the folder"),
        ("broken.pdf#page=1", "cannot be read as a PDF"),
    ],
)
def test_what_names_no_page_is_a_fault_with_its_line(folder, image, said):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    with pytest.raises(LidiagError, match=said) as error:
        beir.load(str(lines_about(folder, image)), DataOptions())
    assert "corpus.jsonl line 1" in str(error.value)


def test_a_pdf_that_cannot_be_read_is_a_fault_of_its_folder(folder):
    (folder / "broken.pdf").write_bytes(b"no PDF")
    with pytest.raises(LidiagError, match=r"broken\.pdf cannot be used: .* cannot be read as a PDF"):
        beir.load(str(folder), DataOptions())


def test_judgements_of_a_page_that_is_not_there_are_a_fault(folder):
    (folder / "qrels.tsv").write_text("q1\treports/year.pdf#page=9\t1\n")
    with pytest.raises(LidiagError, match="names a document that the folder does not hold"):
        beir.load(str(folder), DataOptions())


def test_without_pypdfium2_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    (tmp_path / "queries.jsonl").write_text(QUERIES)
    (tmp_path / "qrels.tsv").write_text("q1\ta.pdf#page=1\t1\n")
    with pytest.raises(LidiagError, match=r"pip install 'lidiag\[pdf\]'"):
        beir.load(str(tmp_path), DataOptions())
