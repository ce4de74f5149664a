from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from colpali_engine import models as engine
from mteb.models import get_model_meta as registry
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_implementations.colpali_models import ColPaliEngineWrapper
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from lidiag.adapter import LoadOptions
from lidiag.adapters import colpali
from lidiag.adapters import mteb as adapter
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.similarity import Needs, similarity_pass
from tests.zoo_visual import Zoo, document, page

TEXTS = ["paris is the capital", "cats", "the rhine is a river in germany"]


def word(text, side):
    vector = np.random.default_rng(zlib.crc32(f"{side}:{text}".encode())).standard_normal(8)
    return vector / np.linalg.norm(vector)


class Toy(AbsEncoder):
    """A word is a vector, another one on each side; padded with zeros in front or behind, as mteb's wrappers do."""

    def __init__(self, model_name, revision, device=None, torch_dtype="none", *, left=True):
        self.model_name, self.revision, self.device, self.torch_dtype, self.left = model_name, revision, device, torch_dtype, left
        self.model_prompts = {"query": "find: "}

    def encode(self, inputs, *, task_metadata, prompt_type=None, **_place):
        assert task_metadata.name == "lidiag"
        rows = []
        for batch in inputs:
            if "image" in batch:
                rows += [torch.full((2, 8), float(np.asarray(image).mean() / 255)) for image in batch["image"]]
            else:
                side = "q" if prompt_type == PromptType.query else "d"
                rows += [torch.tensor(np.stack([word(w, side) for w in text.split()])).float() for text in batch["text"]]
        longest = max(len(row) for row in rows)
        pads = [torch.zeros(longest - len(row), 8) for row in rows]
        return torch.stack([torch.cat((pad, row) if self.left else (row, pad)) for row, pad in zip(rows, pads, strict=True)])


def registered(monkeypatch, loader=Toy, **settings):
    meta = ModelMeta.create_empty(
        overwrites={
            "name": "lidiag/toy", "revision": "r1", "loader": loader, "modalities": ["text", "image"],
            "model_type": ["late-interaction"], "similarity_fn_name": ScoringFunction.MAX_SIM, **settings,
        }
    )  # fmt: skip
    monkeypatch.setitem(registry.MODEL_REGISTRY, "lidiag/toy", meta)
    return meta


@pytest.mark.parametrize("left", [True, False])
def test_vectors_come_through_mtebs_loader_without_its_padding(monkeypatch, left):
    registered(monkeypatch, loader_kwargs={"left": left})
    model = adapter.load("lidiag/toy", LoadOptions(parameters={"torch_dtype": "float32"}))
    assert model.model.torch_dtype == "float32"
    for side, encoded in (("q", model.queries(TEXTS)), ("d", model.documents([Document(str(i), t) for i, t in enumerate(TEXTS)]))):
        assert encoded.lengths.tolist() == [4, 1, 7]
        for text, vectors in zip(TEXTS, encoded, strict=True):
            assert torch.allclose(vectors, torch.tensor(np.stack([word(w, side) for w in text.split()])).float())


def test_pages_reach_the_model_as_images(monkeypatch):
    registered(monkeypatch)
    model = adapter.load("lidiag/toy", LoadOptions())
    grey, white = model.documents([document(page(colour="#808080")), document(page())])
    assert float(white.mean()) == pytest.approx(1)
    assert float(grey.mean()) == pytest.approx(128 / 255, abs=1e-3)
    with pytest.raises(Skip, match="mixes"):
        model.documents([document(page()), Document("t", "text")])


def test_the_card_says_what_mteb_knows_and_what_it_does_not(monkeypatch):
    registered(monkeypatch)
    model = adapter.load("lidiag/toy", LoadOptions())
    card = model.card
    assert (card.name, card.revision, card.family, card.dim) == ("lidiag/toy", "r1", "Toy", 8)
    assert card.modalities == ("text", "image")
    assert card.prompts == {"query": "find: "}
    assert card.randomly_initialised is None
    assert not card.unit_rows
    with pytest.raises(Skip, match="does not tell what the vectors"):
        model.labels("query", "cats")


def test_scores_are_mtebs_where_nothing_is_padded_and_show_its_padding_where_something_is(monkeypatch):
    registered(monkeypatch)
    model = adapter.load("lidiag/toy", LoadOptions())
    queries, documents = model.queries(TEXTS), model.documents([Document(str(i), t) for i, t in enumerate(TEXTS)])
    ours = next(similarity_pass(queries, documents, Needs((MaxSim(),)))).scores(MaxSim())
    for i in range(3):
        assert torch.allclose(model.library_scores(queries, documents.select([i])), ours[:, [i]], atol=1e-5)
    against = torch.tensor([[-1.0] + [0.0] * 7])
    padded = MultiVectors.pack([against, torch.cat((against, against))])
    assert model.library_scores(MultiVectors.pack([-against]), padded).tolist() == [[0.0, -1.0]]


def test_a_vector_that_is_not_a_number_is_not_taken_for_padding(monkeypatch):
    registered(monkeypatch)
    model = adapter.load("lidiag/toy", LoadOptions())
    monkeypatch.setitem(globals(), "word", lambda *_: np.full(8, np.nan))
    assert model.queries(["cats"]).vectors.isnan().all()


def test_mtebs_own_random_baseline_loads():
    model = adapter.load("mteb/baseline-random-colbert", LoadOptions())
    first, again = model.queries(["cats"])[0], model.queries(["cats"])[0]
    assert torch.equal(first, again)
    assert first.shape[1] == model.card.dim


def test_a_visual_model_through_mtebs_own_wrapper_equals_ours(monkeypatch, tmp_path):
    folder = str(Zoo(tmp_path)["colqwen2"])

    def local(*_where, device=None, **_settings):
        classes = {"model_class": engine.ColQwen2, "processor_class": engine.ColQwen2Processor}
        return ColPaliEngineWrapper(folder, **classes, device=device, query_prefix="Query: ", torch_dtype=torch.float32)

    registered(monkeypatch, loader=local)
    theirs = adapter.load("lidiag/toy", LoadOptions())
    ours = colpali.load(folder, LoadOptions(parameters={"query_prefix": "Query: "}))
    assert theirs.card.prompts == {"query_prefix": "Query: "}
    assert theirs.card.dtype == "float32"
    pages = [document(page("a")), document(page("b", (300, 180)))]
    for a, b in ((theirs.queries(TEXTS), ours.queries(TEXTS)), (theirs.documents(pages), ours.documents(pages))):
        assert a.lengths.tolist() == b.lengths.tolist()
        assert float((a.vectors - b.vectors).abs().max()) < 1e-5


def test_a_name_or_revision_that_mteb_does_not_have_is_refused_with_what_it_has(monkeypatch):
    registered(monkeypatch)
    with pytest.raises(LidiagError, match="Did you mean lidiag/toy"):
        adapter.load("lidiag/toys", LoadOptions())
    with pytest.raises(LidiagError, match="pins lidiag/toy to revision r1, not r2"):
        adapter.load("lidiag/toy", LoadOptions(revision="r2"))


def test_a_missing_library_is_named_with_the_way_out(monkeypatch):
    registered(monkeypatch, loader=lambda *_args, **_kwargs: None, extra_requirements_groups=["pylate"])
    with pytest.raises(LidiagError, match=r"missing required dependencies.*sentence-transformers:lidiag/toy"):
        adapter.load("lidiag/toy", LoadOptions())


def test_remote_code_is_not_run_unasked(monkeypatch):
    registered(monkeypatch, loader_kwargs={"trust_remote_code": True})
    with pytest.raises(LidiagError, match="--trust-remote-code"):
        adapter.load("lidiag/toy", LoadOptions())
    with pytest.raises(LidiagError, match="code from the checkpoint itself"):
        adapter.load("ibm-granite/granite-vision-3.3-2b-embedding", LoadOptions(offline=True))


def test_offline_a_model_that_is_not_in_the_cache_is_said_to_be_absent():
    with pytest.raises(LidiagError, match="not in the local cache"):
        adapter.load("vidore/colqwen2.5-v0.2", LoadOptions(offline=True))
