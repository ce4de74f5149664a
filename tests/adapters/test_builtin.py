from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lidiag.adapter import LoadOptions, States
from lidiag.adapters import builtin
from lidiag.adapters._ailments import Ailments
from lidiag.dataset import Document, Page
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from tests.shared import SHARED, needs_shared

TEXTS = ["The propeller's slipstream over a wing", "wing", "of the and", "", "wing wing wing"]


def lexical(**parameters: str) -> builtin.Lexical:
    return builtin.load("lexical", LoadOptions(parameters=parameters))


def test_stop_words_have_no_vector_and_a_text_of_stop_words_is_empty():
    assert lexical().queries(TEXTS).lengths.tolist() == [4, 1, 0, 0, 3]


def test_rows_have_length_one():
    vectors = lexical().queries(TEXTS).vectors
    assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-6)


def test_words_that_share_grams_are_closer_than_words_that_do_not():
    wing, wings, boat = lexical().queries(["wing", "wings", "boat"]).vectors
    assert wing @ wings > 0.4
    assert abs(wing @ boat) < 0.3


def test_without_context_a_word_is_the_same_wherever_it_stands():
    model = lexical(context="0")
    assert torch.allclose(model.queries(["wing"])[0][0], model.queries(["boat wing sail"])[0][1], atol=1e-6)


def test_each_neighbour_is_mixed_in_by_its_share():
    plain = lexical().query_states(["boat wing sail"], layer=0)[0]
    expected = plain[1] + 0.3 * plain[0] + 0.3 * plain[2]
    assert torch.allclose(lexical().query_states(["boat wing sail"])[0][1], expected, atol=1e-6)
    assert torch.allclose(lexical().queries(["boat wing sail"])[0][1], expected / expected.norm(), atol=1e-6)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_a_text_has_the_same_vectors_in_any_batch_and_one_label_per_vector(texts):
    model = MODEL
    batch = model.documents([Document(str(i), text) for i, text in enumerate(texts)])
    for i, text in enumerate(texts):
        assert torch.equal(batch[i], model.queries([text])[0])
        labels = model.labels("query", text)
        assert len(labels) == len(batch[i])
        assert all(text[slice(*label.span)] == label.text for label in labels)


MODEL = lexical()


def test_vectors_are_the_same_in_another_process():
    code = (
        "from lidiag.adapters.builtin import load; from lidiag.adapter import LoadOptions; import hashlib;"
        "m = load('lexical', LoadOptions()); v = m.queries(['propeller slipstream']).vectors;"
        "print(m.card.revision, hashlib.sha256(v.numpy().tobytes()).hexdigest())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_settings_change_the_name_and_the_revision():
    assert lexical().card.name == "lidiag/lexical"
    assert lexical(context="0.5").card.name == "lidiag/lexical.context-0.5"
    assert len({lexical().card.revision, lexical(context="0.5").card.revision, lexical(seed="1").card.revision}) == 3
    assert lexical(dim="16").queries(["wing"]).dim == lexical(dim="16").card.dim == 16


AILMENTS = [field.name for field in dataclasses.fields(Ailments)]


def test_an_ailment_stands_in_the_name_with_its_strength():
    assert lexical(length_bias="0.3").card.name == "lidiag/lexical.length_bias-0.3"
    assert lexical(hijackable="0.50", causal="1").card.name == "lidiag/lexical.hijackable-0.5.causal-1"
    assert lexical(length_bias="0").card.name == "lidiag/lexical"


@pytest.mark.parametrize("ailment", AILMENTS)
def test_an_ailment_changes_vectors_and_revision_and_a_dial_at_zero_changes_neither(ailment):
    documents = [Document(str(i), f"{text} number {i} of a slipstream behind the wing") for i, text in enumerate(TEXTS * 4)]
    healthy, ill, well = MODEL.documents(documents), lexical(**{ailment: "1"}).documents(documents), lexical(**{ailment: "0"})
    assert not torch.equal(healthy.vectors, ill.vectors)
    assert torch.equal(healthy.vectors, well.documents(documents).vectors)
    assert lexical(**{ailment: "1"}).card.revision != MODEL.card.revision == well.card.revision


@pytest.mark.parametrize("ailment", [name for name in AILMENTS if name != "batch_dependent"])
def test_a_planted_model_reads_a_text_the_same_in_any_batch_and_labels_every_vector(ailment):
    model = lexical(**{ailment: "1"})
    documents = [Document(str(i), text) for i, text in enumerate(TEXTS)]
    batch = model.documents(documents)
    for item, document in zip(batch, documents, strict=True):
        assert torch.allclose(item, model.documents([document])[0], atol=1e-6)
        assert len(model.labels("document", document)) == len(item)


@pytest.mark.parametrize("ailment", [name for name in AILMENTS if name != "pad_rows"])
def test_planted_rows_keep_length_one(ailment):
    vectors = lexical(**{ailment: "0.7"}).documents([Document("d", TEXTS[0])]).vectors
    assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)


def test_the_length_bias_is_a_tenth_of_the_dial_for_each_doubling_of_the_place():
    # Words that are all the same differ in their place alone; out of context, so that none has other neighbours.
    model, healthy = lexical(length_bias="0.4", context="0"), lexical(context="0")
    query, document = "propeller", Document("d", "wing " * 16)
    plain = (healthy.queries([query])[0] @ healthy.documents([document])[0].T)[0, 0]
    similarity = (model.queries([query])[0] @ model.documents([document])[0].T)[0]
    for doublings in range(5):
        degree = doublings / 10
        expected = 0.4 * degree + (0.6 * (1 - 0.4 * degree**2)) ** 0.5 * plain
        assert similarity[2**doublings - 1] == pytest.approx(float(expected), abs=0.05)


def test_the_pooled_vector_is_the_mean_at_length_one_and_zeros_where_there_is_no_word():
    batch = MODEL.queries(["boat wing sail", "of the"])
    mean = batch[0].mean(0)
    assert torch.allclose(batch.pooled[0], mean / mean.norm(), atol=1e-6)
    assert torch.equal(batch.pooled[1], torch.zeros(128))


def test_chinese_characters_are_words():
    assert [label.text for label in lexical().labels("query", "飞机 wing")] == ["飞", "机", "wing"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"contxt": "1"}, "Did you mean context"),
        ({"dim": "many"}, "whole number"),
        ({"context": "2"}, "from 0 to 1"),
        ({"context": "nan"}, "out of range"),
        ({"length_bias": "1.1"}, "from 0 .healthy. to 1"),
        ({"hub_vector": "-0.1"}, "out of range"),
        ({"pad_rows": "65"}, "to 64"),
        ({"hijackabel": "1"}, "Did you mean hijackable"),
    ],
)
def test_a_wrong_parameter_is_refused(parameters, said):
    with pytest.raises(LidiagError, match=said):
        lexical(**parameters)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(LidiagError, match="Did you mean lexical"):
        builtin.load("lexcal", LoadOptions())


def test_a_page_without_text_is_skipped_by_name():
    with pytest.raises(Skip, match="'p7' is a page image"):
        lexical().documents([Document("p7", page=Page(b""))])


def test_states_are_offered():
    assert isinstance(lexical(), States)
    with pytest.raises(LidiagError, match="layers 0 and 1"):
        lexical().query_states(["wing"], layer=5)


@needs_shared("data/cranfield")
def test_it_really_retrieves_on_cranfield():
    """Precision of the first document alone: an independent check, with a plain double loop over MaxSim."""
    folder = SHARED / "data/cranfield"
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    documents = MODEL.documents([Document(row["_id"], f"{row['title']} {row['text']}") for row in rows])
    judged = [line.split("\t") for line in (folder / "qrels.tsv").read_text().splitlines()[1:]]
    relevant = {(query, document) for query, document, grade in judged if int(grade) > 0}
    questions = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()][:60]
    hits = 0
    for row in questions:
        similarities = MODEL.queries([row["text"]]).vectors @ documents.vectors.T
        scores = [s.amax(1).sum() if s.shape[1] else torch.tensor(-torch.inf) for s in similarities.split(documents.lengths.tolist(), 1)]
        hits += (row["_id"], rows[int(torch.stack(scores).argmax())]["_id"]) in relevant
    # By chance 0.6 % of the first documents would be relevant.
    assert hits / len(questions) > 0.35
