import io

import numpy as np
import pytest
import torch
from PIL import Image

from lidiag.adapter import Label
from lidiag.attribution import attribute
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.explanation import document_from_file, write
from lidiag.heatmap import draw
from lidiag.multivector import MultiVectors
from tests.probes.toy import ToyAdapter

AXES = {"a": torch.tensor([1.0, 0, 0]), "b": torch.tensor([0, 1.0, 0]), "c": torch.tensor([0.6, 0.8, 0]), "z": torch.tensor([0, 0, 1.0])}


class Words(ToyAdapter):
    """One vector per letter; the last vector of a document is special."""

    def labels(self, side, item):
        text = item if isinstance(item, str) else item.text
        labels = [Label("word", letter, span=(i, i + 1)) for i, letter in enumerate(text)]
        return [*labels[:-1], Label("special", "[END]")] if side == "document" else labels


def encode(text):
    return torch.stack([AXES[letter] for letter in text]) if text else torch.empty(0, 3)


def test_each_query_token_is_given_its_best_vector_and_the_shares_of_the_score():
    found = attribute(Words(encode), "abz", Document("d", "acz"), spikes=0, seed=0)
    assert [match.winner for match in found.matches] == [0, 1, 2]
    assert [match.similarity for match in found.matches] == pytest.approx([1.0, 0.8, 1.0])
    assert found.score == pytest.approx(2.8)
    np.testing.assert_allclose(found.shares(clean=True), [1 / 2.8, 0.8 / 2.8, 1 / 2.8], atol=1e-6)


def test_a_spike_hijacks_a_token_that_matches_badly_and_not_one_that_matches_well():
    # The spike of a query of two tokens is the mean of both: cosine sqrt(1/2) with each.
    found = attribute(Words(encode), "ab", Document("d", "az"), spikes=3, seed=0)
    assert [match.hijacked for match in found.matches] == [False, True]
    assert found.matches[1].injected == pytest.approx(0.5**0.5)
    assert found.injected_score == pytest.approx(1 + 0.5**0.5)
    np.testing.assert_allclose(found.shares(clean=False), [1 / (1 + 0.5**0.5), 0], atol=1e-6)


def test_a_tie_stays_with_the_document():
    found = attribute(Words(encode), "aa", Document("d", "az"), spikes=3, seed=0)
    assert not any(match.hijacked for match in found.matches)


def test_labels_that_do_not_fit_the_vectors_and_empty_sides_are_refused():
    class Short(Words):
        def labels(self, side, item):
            return super().labels(side, item)[1:]

    with pytest.raises(LidiagError, match="labels"):
        attribute(Short(encode), "ab", Document("d", "az"), spikes=0, seed=0)
    with pytest.raises(LidiagError, match="document"):
        attribute(Words(encode), "ab", Document("d", ""), spikes=0, seed=0)


def test_the_page_and_the_picture_show_the_words_and_nothing_is_executed(tmp_path):
    class Plain(Words):
        def labels(self, side, item):
            return [Label("word", letter, span=(i, i + 1)) for i, letter in enumerate(item if isinstance(item, str) else item.text)]

    adapter = Plain(lambda text: torch.nn.functional.normalize(torch.ones(len(text), 3), dim=1))
    found = attribute(adapter, "<script>alert(1)</script> $x$", Document("<b>", "<img src=x onerror=alert(1)>"), spikes=2, seed=0)
    write(found, tmp_path / "e.html")
    html = (tmp_path / "e.html").read_text()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    draw(found, tmp_path / "e.png")
    with Image.open(tmp_path / "e.png") as picture:
        assert picture.width > 1000


class Patches(ToyAdapter):
    def documents(self, documents):
        return MultiVectors.pack([encode("abz") for _ in documents])

    def labels(self, side, item):
        if side == "query":
            return [Label("word", letter) for letter in item]
        return [Label("patch", box=(0, 0, 0.5, 1)), Label("patch", box=(0.5, 0, 1, 1)), Label("prompt", "Describe")]


def test_a_page_is_drawn_with_its_winning_patches_and_what_lies_outside_is_said(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (40, 20), "white").save(content, "PNG")
    (tmp_path / "page.png").write_bytes(content.getvalue())
    found = attribute(Patches(encode), "bz", document_from_file(tmp_path / "page.png"), spikes=0, seed=0)
    assert [match.winner for match in found.matches] == [1, 2]
    write(found, tmp_path / "e.html")
    html = (tmp_path / "e.html").read_text()
    assert html.count("left:50.000%;top:0.000%;width:50.000%;height:100.000%") == 1
    assert "Describe 50.0 %" in html
    draw(found, tmp_path / "e.png")
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")


def test_a_document_from_a_file_is_a_page_or_a_text(tmp_path):
    (tmp_path / "t.txt").write_text(" words \n")
    assert document_from_file(tmp_path / "t.txt").text == "words"
    (tmp_path / "bad.png").write_bytes(b"not an image")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xff")
    for name in ("bad.png", "bad.txt", "none.txt", "none.png"):
        with pytest.raises(LidiagError, match=name):
            document_from_file(tmp_path / name)
