"""Single, late and hybrid scores, and what they are held against."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lidiag import catalog
from lidiag.adapter import LoadOptions
from lidiag.dataset import Document
from lidiag.encoding import Encoder
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.probes import _smart_controls as controls
from lidiag.store import Store
from tests import zoo_text
from tests.probes.toy import gaussian, measure, toy_bench, unit

QUERIES = 60
FEW = {"steps": 4, "seeds": 2, "batch": 8, "layers": ()}


def pooled_bench(noise, late_noise=0.3, seed=0):
    """Token vectors near their topic, and single vectors near it too, each with noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    topics = gaussian(generator, QUERIES, 16)

    def near(topic, tokens, spread):
        return torch.nn.functional.normalize(topics[topic] + spread * torch.randn(tokens, 16, generator=generator), dim=1)

    queries, documents = ([near(q, tokens, late_noise) for q in range(QUERIES)] for tokens in (3, 9))
    words = [f"word{q} common" for q in range(QUERIES)]
    bench = toy_bench(queries, documents, {q: {q: 1} for q in range(QUERIES)}, texts=words, query_texts=words)
    single = [torch.cat([near(q, 1, noise) for q in range(QUERIES)]) for _ in range(2)]
    return dataclasses.replace(
        bench,
        queries=MultiVectors(bench.queries.vectors, bench.queries.offsets, single[0]),
        documents=MultiVectors(bench.documents.vectors, bench.documents.offsets, single[1]),
    )


def gain(found, name="nDCG@10_gain", **at):
    return found.get(name, at)


def test_token_states_that_add_are_found():
    found = measure("smart-gain", pooled_bench(noise=1.0), **FEW)
    assert gain(found, pooling="maxsim").low > 0.05
    assert gain(found, "tuned_gain").low > 0
    assert {f.data["verdict"] for f in found.findings if f.data.get("pooling") == "maxsim"} == {"strong"}


def test_token_states_that_only_repeat_or_disturb_are_not():
    found = measure("smart-gain", pooled_bench(noise=0.3, late_noise=3.0), **FEW)
    assert gain(found, pooling="maxsim").high < 0
    assert gain(found, "tuned_gain").value == pytest.approx(0, abs=0.02), "the weight is chosen, and nothing is added"


def test_words_that_decide_are_the_rivals_strength():
    found = measure("smart-gain", pooled_bench(noise=2.0, late_noise=2.0), **FEW)
    assert gain(found, "nDCG@10_bm25").value == 1
    assert gain(found, "bm25_gain").low > gain(found, "tuned_gain").high
    assert gain(found, "late_over_bm25").high < 0


def test_gains_are_differences_of_what_stands_there():
    found = measure("smart-gain", pooled_bench(noise=1.0), **FEW)
    by = {m.at["pooling"]: m.value for m in found.measurements if m.name == "nDCG@10"}
    for pooling in ("maxsim", "hybrid(1,1)", "hybrid(1,0.5)", "hybrid(1,2)"):
        assert gain(found, pooling=pooling).value == pytest.approx(by[pooling] - by["single"])


def test_a_model_without_a_single_vector_is_skipped():
    with pytest.raises(Skip, match="smart:"):
        measure("smart-gain", toy_bench([unit([1, 0])], [unit([1, 0])], {0: {0: 1}}))


def test_bm25_ranks_the_word_that_is_rare_and_bears_empty_texts():
    bench = toy_bench([unit([1, 0])], [unit([1, 0])] * 3, {0: {0: 1}}, texts=["common rare", "common", ""], query_texts=["rare common"])
    scores = controls.bm25(bench, [0, 1, 2])[0]
    assert scores[0] > scores[1] > scores[2] == 0


def test_a_query_without_words_scores_nothing():
    bench = toy_bench([unit([1, 0])], [unit([1, 0])] * 2, {0: {0: 1}}, texts=["one word", "two"], query_texts=["of the"])
    assert controls.bm25(bench, [0, 1]).tolist() == [[0, 0]]


def test_standardised_scores_have_no_unit():
    scores = controls.standardised(np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
    assert scores[0] == pytest.approx(np.array([-1, 0, 1]) * np.sqrt(1.5))
    assert scores[1].tolist() == [0, 0, 0]


@pytest.fixture(scope="module")
def smart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    return catalog.model(f"smart:{zoo_text.single_vector(folder / 'model', zoo_text.bert(folder / 'bert'))}", LoadOptions())


def test_a_layer_that_is_not_there_is_left_out_and_a_full_disk_is_no_layer(smart, tmp_path, monkeypatch):
    encoder = Encoder(smart, Store(tmp_path), 8, "cpu")
    with pytest.raises(Skip, match="-99"):
        encoder.states("query", ["lens"], -99)

    def full(*_):
        raise LidiagError("The disk is full.", "Free space.")

    monkeypatch.setattr(Store, "fetch", full)
    with pytest.raises(LidiagError, match="full"):
        encoder.states("query", ["lens"], -1)


def test_layers_and_random_weights_of_a_network(smart, tmp_path):
    texts = [f"lens mirror {q} heat flow" for q in range(20)]
    made = [Document(f"d{q}", text) for q, text in enumerate(texts)]
    of_queries, of_documents = smart.queries(texts), smart.documents(made)
    bench = toy_bench(list(of_queries), list(of_documents), {q: {q: 1} for q in range(20)}, texts=texts, query_texts=texts, adapter=smart)

    encode_states = Encoder(smart, Store(tmp_path), 8, "cpu").states
    bench = dataclasses.replace(bench, queries=of_queries, documents=of_documents, encode_states=encode_states)
    before = {name: value.clone() for name, value in smart.model.state_dict().items()}
    state = torch.get_rng_state()
    found = measure("smart-gain", bench, **FEW | {"layers": (0, -99)})
    assert torch.equal(torch.get_rng_state(), state), "the caller's generator is left alone"
    assert all(torch.equal(before[name], value) for name, value in smart.model.state_dict().items())
    last = found.get("nDCG@10_by_layer", {"layer": -1})
    assert last.value == pytest.approx(found.get("nDCG@10", {"pooling": "maxsim"}).value)
    assert any("layer=-99" in f.text and "was not measured" in f.text for f in found.findings)
    assert found.get("nDCG@10_random", {"pooling": "maxsim"}).n == 20
    again, _ = controls.random_weights(bench, range(20))
    drawn, _ = controls.random_weights(bench, range(20))
    assert torch.equal(again.vectors, drawn.vectors)
    assert not torch.allclose(drawn.vectors, of_queries.vectors)


@pytest.mark.parametrize("wrong", [{"hybrids": ("maxsim",)}, {"folds": 1}, {"steps": 0}])
def test_what_measures_nothing_is_refused(wrong):
    with pytest.raises(LidiagError):
        catalog.probe("smart-gain", wrong)
