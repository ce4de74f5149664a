from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from lidiag import catalog
from lidiag.adapter import Label, LoadOptions
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.probes._token_types import TYPES, all_codes, codes, of_word
from tests import zoo_visual
from tests.probes.toy import ToyAdapter, measure, toy_bench, unit


class Named(ToyAdapter):
    """Takes its labels from a function: (side, text or document) -> labels."""

    def __init__(self, label) -> None:
        super().__init__(lambda text: torch.zeros(max(1, len(text.split())), 2))
        self.label = label

    def labels(self, side, item):
        return self.label(side, item)


def named(adapter, side, item, vectors) -> list[str]:
    return [TYPES[code] for code in codes(adapter, side, item, vectors)]


def value(found, name, **at) -> float:
    return found.get(name, at).value


def verdict(found) -> str:
    return next(f.data["verdict"] for f in found.findings if f.name == "topicless")


@pytest.mark.parametrize(("text", "kind"), [
    ("The", "stop word"), ("wing", "content"), ("don", "stop word"), (",", "punctuation"), ("$", "punctuation"), ("1984", "number"), ("b52", "content"),
    ("Flügel", "content"), ("पंख", "content"), ("ि", "content"), ("翼", "content"), ("\ufffd", "content"), ("_", "punctuation"), ("", "punctuation"),
])  # fmt: skip
def test_words_are_sorted_by_list_and_letters(text, kind):
    assert of_word(text) == kind


def test_a_piece_is_of_its_whole_word_where_its_place_is_known():
    text = "the theorem, 3"
    spans = [(0, 3), (3, 7), (7, 11), (11, 12), (12, 14)]  # a byte-level tokenizer puts the blank before a word into its piece
    adapter = Named(lambda *_: [Label("word", text[a:b], span=(a, b)) for a, b in spans])
    assert named(adapter, "query", text, 5) == ["stop word", "content", "content", "punctuation", "number"]
    pieces = ["the", "##orem", "\u0120the", "\u2581of", "##,"]
    adapter = Named(lambda *_: [Label("word", piece) for piece in pieces])
    assert named(adapter, "query", text, 5) == ["stop word", "content", "stop word", "stop word", "punctuation"]


def by_hand(**more):
    """A query of a stop word and a content word against four documents of two vectors each; similarities are coordinates.

    The stop word's maxima are 0.6, 0.2, 0.4, 0.4 and the content word's 0.2, 0.6, 0.8, 0.4: S = 0.8, 0.8, 1.2, 0.8.
    """
    axes = torch.eye(4)
    query = torch.stack((axes[0], axes[1]))
    best = [(0.6, 0.2), (0.2, 0.6), (0.4, 0.8), (0.4, 0.4)]
    documents = [torch.tensor([[a, b, 0, 0], [-1.0, -1.0, 0, 0]]) for a, b in best]
    label = lambda side, item: [Label("word", "the"), Label("word", "wing" if side == "query" else ".")]  # noqa: E731
    return toy_bench([query], documents, {0: {1: 1}}, adapter=Named(label), **more)


def test_shares_by_hand():
    found = measure("token-type", by_hand())
    assert value(found, "token_share", type="content") == 0.5
    assert value(found, "score_share", type="stop word") == pytest.approx(1.6 / 3.6)
    # S deviates by -.1, -.1, .3, -.1; the stop word's deviations .2, -.2, 0, 0 do not go with it.
    assert value(found, "variance_share", type="stop word") == pytest.approx(0, abs=1e-6)
    assert value(found, "variance_share", type="content") == pytest.approx(1)
    assert value(found, "topicless_variance_share") == pytest.approx(0, abs=1e-6)
    # S ranks document 2 first, then 3, 1, 0 (equal scores by falling id): document 1 is third. Alone, the content word has it second.
    assert value(found, "ndcg") == pytest.approx(1 / np.log2(4))
    assert value(found, "ndcg_without", type="stop word") == pytest.approx(1 / np.log2(3))
    assert value(found, "ndcg_without", type="content") == pytest.approx(1 / np.log2(5))
    assert value(found, "ndcg_without_change", type="stop word") == pytest.approx(1 / np.log2(3) - 0.5)
    # The first vector of a document always wins.
    assert value(found, "wins_share", type="stop word") == 1
    assert value(found, "wins_share", type="punctuation") == 0
    assert value(found, "vector_share", type="punctuation") == 0.5
    assert "no query has augmentation vectors" in next(f.text for f in found.findings if "augmentation_ndcg[masks=8]" in f.text)


def worlds(weights, queries=24, documents=60):
    """Queries of a stop word, punctuation, special and two content words, whose similarities vary over documents by `weights`."""
    rng = np.random.default_rng(0)
    kinds = [Label("special", "[CLS]"), Label("word", "the"), Label("word", "."), Label("word", "wing"), Label("word", "flutter")]
    axes = torch.eye(len(kinds))
    items = torch.from_numpy(0.5 + weights * rng.standard_normal((documents, 1, len(kinds)))).float()
    asked = axes * torch.from_numpy(rng.uniform(0.8, 1.2, (queries, len(kinds), 1))).float()
    adapter = Named(lambda side, _: kinds if side == "query" else kinds[:1])
    return toy_bench(list(asked), list(items), {q: {q: 1} for q in range(queries)}, adapter=adapter)


def test_planted_stop_words_that_dominate_are_found():
    found = measure("token-type", worlds(np.array([0.01, 0.1, 0.01, 0.02, 0.02])))
    assert verdict(found) == "strong"
    assert value(found, "variance_share", type="stop word") > 0.8
    assert value(found, "variance_share", type="special") < 0.1


def test_words_of_content_that_decide_are_cleared():
    found = measure("token-type", worlds(np.array([0.01, 0.02, 0.01, 0.1, 0.1])))
    assert verdict(found) == "none"
    assert sum(value(found, "variance_share", type=kind) for kind in ("special", "stop word", "punctuation", "content")) == pytest.approx(1)


def augmented(masks: int):
    """A content word that finds the wrong document, and augmentation vectors of which only the ninth finds the right one."""
    axes = torch.eye(2)
    query = torch.stack([axes[0], *(0 * axes[0] for _ in range(8)), 3 * axes[1]])[: 1 + masks]
    label = lambda side, _: [Label("word", "wing"), *[Label("augmentation")] * masks] if side == "query" else [Label("word", "x")]  # noqa: E731
    return toy_bench([query], [unit([1, 0]), unit([0, 1])], {0: {1: 1}}, adapter=Named(label))


def test_augmentation_vectors_are_left_out_one_after_another():
    found = measure("token-type", augmented(9))
    assert [value(found, "augmentation_ndcg", masks=masks) for masks in (0, 8, 32)] == pytest.approx([1 / np.log2(3), 1 / np.log2(3), 1])
    assert value(found, "ndcg_without", type="augmentation") == pytest.approx(1 / np.log2(3))
    assert value(found, "ndcg_without", type="content") == 1


def page(text_in: tuple[float, float, float, float] | None = None, name: str = "d0") -> Document:
    """A white page, with black ink inside one box of it."""
    image = Image.new("RGB", (80, 80), "white")
    if text_in:
        left, top, right, bottom = (80 * part for part in text_in)
        ImageDraw.Draw(image).line((left + 2, top + 2, right - 2, bottom - 2), fill="black", width=2)
    return zoo_visual.document(image, name)


QUARTERS = [(x, y, x + 0.5, y + 0.5) for y in (0, 0.5) for x in (0, 0.5)]


def on_page(*_) -> list[Label]:
    return [Label("special", "<s>"), *(Label("patch", box=box) for box in QUARTERS), Label("padding"), Label("patch")]


def test_patches_are_blank_by_what_is_on_the_page():
    adapter = Named(on_page)
    around = ("special",), ("padding", "patch")
    assert named(adapter, "document", page(), 7) == [*around[0], *["blank"] * 4, *around[1]]
    for i, box in enumerate(QUARTERS):
        assert named(adapter, "document", page(box), 7) == [*around[0], *("patch" if j == i else "blank" for j in range(4)), *around[1]]


def test_a_patch_thinner_than_a_pixel_is_of_the_pixel_it_lies_in():
    adapter = Named(lambda *_: [Label("patch", box=(0.999, 0.999, 1.0, 1.0))])
    assert named(adapter, "document", page(), 1) == ["blank"]


def test_blank_patches_that_win_are_counted():
    bench = toy_bench([unit([1, 0])] * 3, [unit([0, 1], [1, 0], *[[0, 1]] * 5)] * 2, {q: {0: 1} for q in range(3)},
                      adapter=Named(lambda side, item: [Label("word", "x")] if side == "query" else on_page()))  # fmt: skip
    bench.dataset.documents[:] = [page(), page(QUARTERS[0], "d1")]
    found = measure("token-type", bench)
    # The second vector wins: a blank quarter of the first page, the inked one of the second.
    assert value(found, "wins_share", type="blank") == 0.5
    assert value(found, "wins_share", type="patch") == 0.5
    assert value(found, "vector_share", type="blank") == pytest.approx((4 + 3) / 14)
    assert value(found, "vector_share", type="padding") == pytest.approx(1 / 7)
    assert "Blank patches" in next(f.text for f in found.findings if f.name == "blank")


def test_a_visual_model_end_to_end(tmp_path: Path):
    model = catalog.model(f"transformers:{zoo_visual.Zoo(tmp_path)['native_colqwen2']}", LoadOptions())
    pages = [zoo_visual.document(zoo_visual.page(word), name) for word, name in (("", "d0"), ("wing", "d1"))]
    vectors = model.documents(pages)
    empty, written = (named(model, "document", item, len(v)) for item, v in zip(pages, vectors, strict=True))
    patches = sum(label.type == "patch" for label in model.labels("document", pages[0]))
    assert empty.count("blank") == patches
    first = empty.index("blank")
    # The word stands in the corner: the first patch, and no other row of them.
    assert written[first] == "patch"
    assert written.count("patch") <= 2
    texts = ["the wing", "of 42 wings, flutter"]
    asked = model.queries(texts)
    assert set(named(model, "query", texts[1], len(asked[1]))) >= {
        "augmentation",
        "prompt",
        "stop word",
        "number",
        "punctuation",
        "content",
    }
    bench = toy_bench(list(asked), list(vectors), {0: {1: 1}, 1: {0: 1}}, query_texts=texts, adapter=model)
    bench.dataset.documents[:] = pages
    found = measure("token-type", bench)
    held = {m.at["type"]: m.value for m in found.measurements if m.name == "vector_share"}
    assert sum(held.values()) == pytest.approx(1)
    assert held["blank"] == pytest.approx((empty.count("blank") + written.count("blank")) / (2 * len(empty)))
    assert sum(m.value for m in found.measurements if m.name == "wins_share") == pytest.approx(1)
    assert {m.at["masks"] for m in found.measurements if m.name == "augmentation_ndcg"} == {0, 8, 32}


def refusing(side_refused):
    def label(side, _item):
        if side == side_refused:
            raise Skip("vectors of merged tokens")
        return [Label("word", "the"), Label("word", "wing")]

    return label


def test_labels_that_are_refused_are_no_measurement():
    bench = by_hand()
    bench.adapter.label = refusing("query")
    with pytest.raises(Skip, match="merged tokens"):
        measure("token-type", bench)
    bench.adapter.label = refusing("document")
    found = measure("token-type", bench)
    assert value(found, "token_share", type="content") == 0.5
    assert sum("merged tokens" in f.text for f in found.findings) == 2
    assert not [m for m in found.measurements if m.name in {"wins_share", "vector_share"}]


def test_a_wrong_number_of_labels_is_an_adapters_fault():
    bench = by_hand()
    bench.adapter.label = lambda *_: [Label("word", "the")]
    with pytest.raises(LidiagError, match="labels 1 of a query's 2 vectors"):
        measure("token-type", bench)


def test_documents_without_vectors_are_left_out_and_alike_ones_have_no_variance():
    adapter = Named(lambda side, _: [Label("word", "the"), Label("word", "wing")] if side == "query" else [Label("word", "x")])
    same = [unit([1, 1]), unit([1, 1]), torch.zeros(0, 2)]
    found = measure("token-type", toy_bench([torch.eye(2)], same, {0: {0: 1}}, adapter=adapter))
    assert value(found, "score_share", type="content") == pytest.approx(0.5)
    assert found.get("vector_share", {"type": "content"}).n == 2
    assert any("no query's score differs" in f.text for f in found.findings)
    with pytest.raises(Skip, match="two documents"):
        measure("token-type", toy_bench([torch.eye(2)], same[1:], {0: {0: 1}}, adapter=adapter))


def test_a_query_of_one_type_is_left_out_where_that_type_is():
    adapter = Named(lambda *_: [Label("word", "wing")])
    found = measure("token-type", toy_bench([unit([1, 0])], [unit([1, 0]), unit([0, 1])], {0: {0: 1}}, adapter=adapter))
    assert not [m for m in found.measurements if m.name == "ndcg_without"]
    assert any("ndcg_without[type=content] was not measured" in f.text for f in found.findings)


def test_masks_that_are_none_are_refused():
    for masks in ((-1,), (8, 8)):
        with pytest.raises(LidiagError, match="masks"):
            catalog.probe("token-type", {"masks": masks})


def test_vectors_of_many_items_keep_their_places():
    adapter = Named(lambda _, text: [Label("word", word) for word in text.split()])
    packed = MultiVectors.pack([torch.zeros(2, 2), torch.zeros(0, 2), torch.zeros(1, 2)])
    assert [TYPES[code] for code in all_codes(adapter, "query", ["the wing", "lost", "7"], packed)] == ["stop word", "content", "number"]
