from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lidiag.adapter import LoadOptions
from lidiag.adapters import builtin, precomputed
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

DOCUMENTS = [("d1", "Wings", "a wing in a slipstream"), ("d2", "", ""), ("d3", "", "boats"), ("d4", "", "boats")]
QUERIES = [("q1", "which wing"), ("q2", "boat")]
MODEL = builtin.load("lexical", LoadOptions())


def encoded():
    documents = [Document(name, f"{title} {text}" if title and text else title or text) for name, title, text in DOCUMENTS]
    return MODEL.documents(documents), MODEL.queries([text for _, text in QUERIES])


@pytest.fixture
def collection(tmp_path):
    folder = tmp_path / "collection"
    folder.mkdir()
    rows = [json.dumps({"_id": name, "title": title, "text": text}) for name, title, text in DOCUMENTS]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": name, "text": text}) for name, text in QUERIES))
    return folder


@pytest.fixture
def folder(collection):
    documents, queries = encoded()
    documents.save(collection / "documents.safetensors")
    queries.save(collection / "queries.safetensors")
    return collection


def save_arrays(folder, side, vectors, dtype=np.float32):
    np.save(folder / f"{side}.npy", vectors.vectors.numpy().astype(dtype))
    np.save(folder / f"{side}.offsets.npy", vectors.offsets.numpy())


def load(folder, **parameters):
    return precomputed.load(str(folder), LoadOptions(parameters=parameters))


def test_vectors_are_found_by_content_in_any_order(folder):
    documents, queries = encoded()
    model = load(folder)
    found = model.documents([Document("other-id", "boats"), Document("d1", "Wings a wing in a slipstream"), Document("d2", "")])
    assert [torch.equal(a, b) for a, b in zip(found, documents.select([2, 0, 1]), strict=True)] == [True] * 3
    assert torch.equal(model.queries(["boat"])[0], queries[1])


def test_the_vectors_may_lie_apart_from_the_collection(folder, tmp_path):
    apart = tmp_path / "apart"
    apart.mkdir()
    for name in ("documents.safetensors", "queries.safetensors"):
        (folder / name).rename(apart / name)
    assert load(apart, collection=str(folder)).card.name == "local/apart"
    with pytest.raises(LidiagError, match=r"no .*corpus.jsonl, which says what was encoded"):
        load(apart)


def test_plain_arrays_of_half_precision_are_read_with_their_pooled_vectors(collection):
    documents, queries = encoded()
    save_arrays(collection, "documents", documents, np.float16)
    save_arrays(collection, "queries", queries, np.float16)
    pooled = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.save(collection / "documents.pooled.npy", pooled)
    model = load(collection)
    found = model.documents([Document("d3", "boats")])
    assert found.vectors.dtype == torch.float32
    assert torch.allclose(found[0], documents[2], atol=1e-3)
    assert found.pooled.tolist() == [[4, 5]]
    assert model.card.dtype == "float16"
    assert precomputed.claims(collection) == "it holds documents.npy"


def test_a_text_that_was_not_encoded_is_skipped_and_never_answered_with_another(folder):
    model = load(folder)
    with pytest.raises(Skip, match="none of the document 'd1' as it stands here"):
        model.documents([Document("d1", "Wings a wing in a slipstream, and more")])
    with pytest.raises(Skip, match="none of the query 'never seen'"):
        model.queries(["never seen"])
    with pytest.raises(Skip, match="do not say what token"):
        model.labels("query", "boat")


def test_the_card_says_what_model_json_says(folder):
    plain = load(folder).card
    assert (plain.name, plain.dim, plain.unit_rows, plain.attention) == ("local/collection", 128, True, "unknown")
    assert (plain.modalities, plain.randomly_initialised) == (("text",), None)
    (folder / "model.json").write_text(json.dumps({"name": "org/mine", "attention": "causal", "prompts": {"query": "Q: "}}))
    told = load(folder).card
    assert (told.name, told.attention, told.prompts) == ("org/mine", "causal", {"query": "Q: "})
    assert told.revision != plain.revision


def test_rows_that_are_not_of_length_one_are_not_promised_to_be(folder):
    _, queries = encoded()
    MultiVectors(queries.vectors * 2, queries.offsets).save(folder / "queries.safetensors")
    assert load(folder).card.unit_rows is False


def rewrite(name, text):
    return lambda folder: (folder / name).write_text(text)


def keep_three(folder):
    encoded()[0].select([0, 1, 2]).save(folder / "documents.safetensors")


def change_a_twin(folder):
    encoded()[0].select([0, 1, 2, 0]).save(folder / "documents.safetensors")


def narrow(folder):
    queries = encoded()[1]
    MultiVectors(queries.vectors[:, :64].contiguous(), queries.offsets).save(folder / "queries.safetensors")


def as_objects(folder):
    (folder / "documents.safetensors").unlink()
    np.save(folder / "documents.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(folder / "documents.offsets.npy", np.array([0, 1]))


def as_integers(folder):
    documents = encoded()[0]
    MultiVectors(documents.vectors.to(torch.int32), documents.offsets).save(folder / "documents.safetensors")


REFUSED = {
    "an item too few": (keep_three, "vectors of 3 items, and there are 4 lines"),
    "twins that differ": (change_a_twin, "items 3 and 4 have the same content and different vectors"),
    "two widths": (narrow, "documents have 128 dimensions and queries 64"),
    "a pickle": (as_objects, "documents.npy is not an .npy file of numbers"),
    "integers": (as_integers, "holds documents of torch.int32"),
    "no vectors": (lambda folder: (folder / "queries.safetensors").unlink(), "holds neither queries.safetensors nor queries.npy"),
    "a damaged file": (rewrite("queries.safetensors", "x"), "is not a whole safetensors file"),
    "a broken line": (rewrite("queries.jsonl", "{"), "queries.jsonl line 1 is not JSON"),
    "an unknown key": (rewrite("model.json", '{"atention": "causal"}'), "Did you mean attention"),
    "a wrong value": (rewrite("model.json", '{"attention": "both"}'), "model.json: attention"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_the_cause(folder, case):
    spoil, said = REFUSED[case]
    spoil(folder)
    with pytest.raises(LidiagError, match=said):
        load(folder)


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(LidiagError, match="no folder /nowhere"):
        precomputed.load("/nowhere", LoadOptions())
