"""Every family's trainable copy: the same vectors as the model's own, with gradients, and the model left alone."""

from __future__ import annotations

import pytest
import torch

from lidiag import catalog
from lidiag.adapter import LoadOptions, Trainable
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from tests import zoo_text, zoo_visual

TEXTS = ["lens mirror", "the flow of heat over a wing"]


@pytest.fixture(scope="module", params=["native", "single vector"])
def textual(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    backbone = zoo_text.bert(folder / "bert")
    if request.param == "native":
        return catalog.model(f"sentence-transformers:{zoo_text.native(folder / 'model', backbone)}", LoadOptions())
    return catalog.model(f"smart:{zoo_text.single_vector(folder / 'model', backbone)}", LoadOptions())


def check(adapter, side, items, own):
    assert isinstance(adapter, Trainable)
    copy = adapter.copy()
    made = adapter.encode(copy, side, items)
    torch.testing.assert_close(made.vectors.detach(), own.vectors, atol=1e-5, rtol=1e-5)
    assert torch.equal(made.offsets, own.offsets)
    # A sum over unit vectors, each with its own weights, moves with every layer.
    (made.vectors * torch.randn(made.vectors.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    moved = [name for name, value in copy.named_parameters() if value.grad is not None and bool(value.grad.abs().sum() > 0)]
    assert len(moved) > 3
    assert all(value.grad is None for value in adapter.model.parameters())


def test_queries_and_documents_of_a_text_model(textual):
    check(textual, "query", TEXTS, textual.queries(TEXTS))
    documents = [Document(str(i), text) for i, text in enumerate(TEXTS)]
    check(textual, "document", documents, textual.documents(documents))


@pytest.mark.parametrize("family", ["colqwen2_5_lora", "colpali", "native_colqwen2"])
def test_queries_and_pages_of_a_visual_model(family, tmp_path):
    zoo = zoo_visual.Zoo(tmp_path)
    adapter = catalog.model(f"{'transformers' if family.startswith('native') else 'colpali'}:{zoo[family]}", LoadOptions())
    check(adapter, "query", TEXTS, adapter.queries(TEXTS))
    pages = [zoo_visual.document(zoo_visual.page("heat"), "a"), zoo_visual.document(zoo_visual.page("lens", (300, 220)), "b")]
    check(adapter, "document", pages, adapter.documents(pages))


def test_a_copy_moves_without_the_model(textual):
    before = textual.queries(TEXTS)
    copy = textual.copy()
    with torch.no_grad():
        for value in copy.parameters():
            value.add_(0.1)
        assert not torch.allclose(textual.encode(copy, "query", TEXTS).vectors, before.vectors)
    assert torch.equal(textual.queries(TEXTS).vectors, before.vectors)


def test_the_last_layer_alone_is_trained(tmp_path):
    folder = zoo_text.single_vector(tmp_path / "model", zoo_text.bert(tmp_path / "bert"))
    adapter = catalog.model(f"smart:{folder}?layer=0", LoadOptions())
    with pytest.raises(LidiagError, match="only the last one"):
        adapter.encode(adapter.copy(), "query", TEXTS)
