from __future__ import annotations

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lidiag.adapter import LoadOptions, States
from lidiag.adapters import sentence_transformers as adapter
from lidiag.dataset import Document, Page
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from tests import zoo_text as zoo
from tests import zoo_visual
from tests.shared import SHARED, needs_shared

LAYOUTS = ["native", "native_prompts", "pylate", "pylate_attending", "pylate_unexpanded", "stanford"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    bert, modernbert = zoo.bert(root / "bert"), zoo.modernbert(root / "modernbert")
    return {
        "bert": bert,
        "native": zoo.native(root / "native", bert),
        "native_prompts": zoo.native(root / "native_prompts", modernbert, prompts={"query": "query: ", "document": "document: "}),
        "pooled": zoo.native(root / "pooled", bert, pooling=2),
        "pylate": zoo.pylate(root / "pylate", bert),
        "pylate_attending": zoo.pylate(
            root / "pylate_attending", modernbert, query_expansion={"strategy": "min", "attend": True, "length": 10}
        ),
        "pylate_unexpanded": zoo.pylate(root / "pylate_unexpanded", bert, do_query_expansion=False),
        "stanford": zoo.stanford(root / "stanford", bert),
        "single": zoo.single_vector(root / "single", bert),
    }


@pytest.fixture(scope="module")
def loaded(folders):
    return {name: adapter.load(str(folders[name]), LoadOptions()) for name in [*LAYOUTS, "pooled"]}


@pytest.fixture
def spoiled(folders, tmp_path):
    def copy(name):
        return shutil.copytree(folders[name], tmp_path / name)

    return copy


def documents(*texts):
    return [Document(str(i), text) for i, text in enumerate(texts)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_librarys_own_vectors(loaded, layout):
    model = loaded[layout]
    queries, found = model.queries(zoo.QUERIES), model.documents(documents(*zoo.TEXTS))
    for ours, theirs in (
        (queries, model.model.encode_query(zoo.QUERIES, show_progress_bar=False)),
        (found, model.model.encode_document(zoo.TEXTS, show_progress_bar=False)),
    ):
        assert ours.lengths.tolist() == [len(item) for item in theirs]
        assert torch.allclose(ours.vectors, torch.cat(list(theirs)), atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_by_hand_equal_the_librarys_masked_maxsim(loaded, layout):
    model = loaded[layout]
    queries, found = model.queries(zoo.QUERIES), model.documents(documents(*zoo.TEXTS))
    by_hand = torch.tensor([[float((q @ d.T).amax(1).sum()) for d in found] for q in queries])
    assert torch.allclose(model.library_scores(queries, found), by_hand, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_is_one_label_per_vector_and_none_for_padding(loaded, layout):
    model = loaded[layout]
    for side, texts, vectors in (
        ("query", zoo.QUERIES, model.queries(zoo.QUERIES)),
        ("document", zoo.TEXTS, model.documents(documents(*zoo.TEXTS))),
    ):
        for text, length in zip(texts, vectors.lengths.tolist(), strict=True):
            labels = model.labels(side, text)
            assert len(labels) == length
            assert "[PAD]" not in {label.text for label in labels}
            words = [label for label in labels if label.type == "word"]
            assert all(text[slice(*label.span)].lower() == label.text.removeprefix("##") for label in words)


def test_labels_tell_marker_words_and_expansion_apart(loaded):
    types = [label.type for label in loaded["pylate"].labels("query", "capital of france")]
    assert types == ["special", "prompt", "word", "word", "word", "special", *["augmentation"] * 10]


def test_punctuation_that_the_model_skips_in_documents_has_no_label(loaded):
    texts = {side: [label.text for label in loaded["pylate"].labels(side, "cat, dog.")] for side in ("query", "document")}
    assert "," in texts["query"]
    assert texts["document"] == ["[CLS]", "[unused1]", "cat", "dog", "[SEP]"]


def test_the_card_says_what_is_in_effect(loaded, folders):
    card = loaded["pylate"].card
    assert card.prompts == {
        "query": "[unused0] ",
        "document": "[unused1] ",
        "query_augmentation": "[MASK] to 16 tokens, not attended to",
    }
    assert (card.query_length, card.document_length, card.dim) == (16, 24, zoo.DIM)
    assert (card.name, card.family, card.attention) == ("local/pylate", "MultiVectorEncoder(BertModel)", "bidirectional")
    assert (card.modalities, card.similarity, card.unit_rows, card.randomly_initialised) == (("text",), "maxsim", True, ())
    assert card.versions.keys() == {"torch", "transformers", "sentence-transformers", "tokenizers"}
    assert loaded["native_prompts"].card.prompts == {"query": "query: ", "document": "document: "}
    assert adapter.claims(folders["pylate"]) == "config_sentence_transformers.json says ColBERT"


def test_truncated_texts_are_named(loaded):
    model, long = loaded["pylate"], "the river " * 40
    # Of 24 tokens, [CLS], the marker and [SEP] take three.
    assert model.documents(documents("cat", long, "dog " * 21, "dog " * 22)).cut.tolist() == [False, True, False, True]
    assert model.queries(["cat", long]).cut.tolist() == [False, True]
    assert len(model.labels("document", long)) == 24


def test_the_same_batch_gives_the_same_bytes(loaded):
    for model in loaded.values():
        assert torch.equal(model.queries(zoo.QUERIES).vectors, model.queries(zoo.QUERIES).vectors)


def test_an_empty_batch_gives_nothing(loaded):
    assert loaded["native"].queries([]).vectors.shape == (0, 128)


def test_last_states_projected_and_normalised_are_the_vectors(loaded, folders):
    model = loaded["pylate"]
    assert isinstance(model, States)
    weight = load_file(folders["pylate"] / "1_Dense/model.safetensors")["linear.weight"]
    states = model.document_states(documents(*zoo.TEXTS))
    found = model.documents(documents(*zoo.TEXTS))
    assert states.dim == zoo.HIDDEN
    assert torch.allclose(torch.nn.functional.normalize(states.vectors @ weight.T, dim=1), found.vectors, atol=1e-5)


def test_layers_are_counted_from_the_embeddings(loaded):
    model = loaded["native"]
    first, middle, last = (model.query_states(["cat cat"], layer).vectors for layer in (0, 1, 2))
    assert torch.equal(last, model.query_states(["cat cat"], -1).vectors)
    assert not torch.allclose(first, middle)
    with pytest.raises(LidiagError, match="layers 0 to 2, not 3"):
        model.query_states(["cat"], 3)


def test_a_model_that_merges_tokens_has_no_labels(loaded):
    model = loaded["pooled"]
    assert model.documents(documents("cat dog river")).lengths.tolist() == [3]
    assert model.labels("query", "cat")
    for refused in (lambda: model.labels("document", "cat"), lambda: model.document_states(documents("cat"))):
        with pytest.raises(Skip, match="merges document tokens"):
            refused()


def test_half_precision_is_the_models_and_fp32_is_the_vectors(folders, loaded):
    model = adapter.load(str(folders["native"]), LoadOptions(dtype="bfloat16"))
    assert model.card.dtype == "bfloat16"
    assert next(model.model.parameters()).dtype == torch.bfloat16
    vectors = model.queries(zoo.QUERIES).vectors
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors, loaded["native"].queries(zoo.QUERIES).vectors, atol=0.05)


def test_a_page_without_text_is_skipped(loaded):
    with pytest.raises(Skip, match="reads text only"):
        loaded["native"].documents([Document("p1", page=Page(b""))])


def test_a_changed_file_changes_the_revision(spoiled, loaded):
    folder = spoiled("pylate")
    assert adapter.load(str(folder), LoadOptions()).card.revision == loaded["pylate"].card.revision
    rewrite(folder / "config_sentence_transformers.json", query_length=17)
    assert adapter.load(str(folder), LoadOptions()).card.revision != loaded["pylate"].card.revision


def test_a_missing_backbone_weight_is_named_and_an_unused_pooler_is_not(spoiled, tmp_path):
    folder = spoiled("native")
    weights = load_file(folder / "model.safetensors")
    lost = "encoder.layer.1.attention.self.query.weight"
    kept = {name: tensor for name, tensor in weights.items() if name != lost and not name.startswith("pooler.")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    assert adapter.load(str(folder), LoadOptions()).card.randomly_initialised == (lost,)
    headless = zoo.pylate(tmp_path / "no_pooler", zoo.bert(tmp_path / "bare", pooler=False))
    assert "pooler.dense.weight" not in load_file(headless / "model.safetensors")
    assert adapter.load(str(headless), LoadOptions()).card.randomly_initialised == ()


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def remove(name):
    return lambda folder: (folder / name).unlink()


def lose_projection(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in weights.items() if name != "linear.weight"}, folder / "model.safetensors")


def cut_file(folder):
    path = folder / "1_Dense" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


REFUSED = {
    "a bare BERT": ("bert", None, "bare BertModel.*random projection"),
    "a sentence encoder": ("single", None, "SentenceTransformer, not a multi-vector model.*smart:"),
    "a folder that lost its modules.json": ("native", remove("modules.json"), "says MultiVectorEncoder, but there is no modules.json"),
    "a PyLate folder that lost its modules.json": ("pylate", remove("modules.json"), "says ColBERT, but there is no modules.json"),
    "a Stanford folder without its settings": ("stanford", remove("artifact.metadata"), "no artifact.metadata"),
    "a Stanford folder without its projection": ("stanford", lose_projection, "no linear.weight"),
    "an adapter on a base": (
        "native",
        lambda folder: (folder / "adapter_config.json").write_text("{}"),
        "is an adapter.*colpali:",
    ),
    "a projection that lost its weights": ("pylate", remove("1_Dense/model.safetensors"), "cannot be loaded"),
    "a damaged file": ("pylate", cut_file, "is not a whole safetensors file"),
    "a pickled projection": (
        "pylate",
        lambda folder: (folder / "1_Dense/model.safetensors").rename(folder / "1_Dense/pytorch_model.bin"),
        "pickle only \\(1_Dense/pytorch_model.bin\\)",
    ),
    "a projection with code of its own": (
        "pylate",
        lambda folder: rewrite(folder / "1_Dense/config.json", activation_function="mine.Activation"),
        "would ignore mine.Activation",
    ),
    "a projection with settings unknown to the library": (
        "pylate",
        lambda folder: rewrite(folder / "1_Dense/config.json", gate="glu"),
        "would ignore gate",
    ),
    "a config that is no JSON": ("native", lambda folder: (folder / "config.json").write_text("{"), "config.json is not valid JSON"),
    "modules outside the folder": (
        "native",
        lambda folder: (folder / "modules.json").write_text('[{"type": "sentence_transformers.x.Dense", "path": "../other"}]'),
        "not a list of modules",
    ),
    "a module that is someone's code": (
        "native",
        lambda folder: (folder / "modules.json").write_text('[{"type": "os.path", "path": ""}]'),
        "needs the code of os.path",
    ),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_it_is_refused_with_the_cause(spoiled, case):
    name, spoil, said = REFUSED[case]
    folder = spoiled(name)
    if spoil:
        spoil(folder)
    with pytest.raises(LidiagError, match=f"(?s){said}"):
        adapter.load(str(folder), LoadOptions())


def test_what_is_not_late_interaction_is_not_claimed(folders):
    assert adapter.claims(folders["bert"]) is None
    assert adapter.claims(folders["single"]) is None
    assert adapter.claims(folders["stanford"]) == "config.json says HF_ColBERT"


def test_unknown_parameters_and_dtypes_are_refused(folders):
    with pytest.raises(LidiagError, match="no parameter of"):
        adapter.load(str(folders["native"]), LoadOptions(parameters={"layer": "1"}))
    with pytest.raises(LidiagError, match=r"no dtype named 'float31'\. Did you mean float32"):
        adapter.load(str(folders["native"]), LoadOptions(dtype="float31"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return zoo_visual.Zoo(tmp_path_factory.mktemp("pages"))


@pytest.mark.parametrize("family", ["native_colpali", "native_colqwen2"])
def test_the_retrieval_models_of_transformers_give_their_own_vectors_without_padding(pages, family):
    folder = pages[family]
    model = adapter.load(str(folder), LoadOptions())
    images = [zoo_visual.page("revenue 2023"), zoo_visual.page("cat", (128, 64))]
    network = getattr(transformers, model.card.family.partition("(")[2].rstrip(")")).from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    found = model.documents([zoo_visual.document(image) for image in images])
    for image, vectors in zip(images, found, strict=True):
        batch = processor.process_images(images=[image])
        batch.pop("labels", None)
        with torch.no_grad():
            assert torch.allclose(vectors, network(**batch).embeddings[0], atol=1e-5)
    asked = model.queries(["cat", "what is the revenue?"])
    with torch.no_grad():
        assert torch.allclose(asked[0], network(**processor.process_queries(["cat"])).embeddings[0], atol=1e-5)
    assert [len(model.labels("document", zoo_visual.document(image))) for image in images] == found.lengths.tolist()
    patches = [label for label in model.labels("document", zoo_visual.document(images[0])) if label.type == "patch"]
    assert len(patches) == int((processor.process_images(images=images[:1])["input_ids"] == processor.image_token_id).sum()) > 3
    labels = model.labels("query", "cat")
    assert len(labels) == len(asked[0])
    assert "".join(label.text for label in labels if label.type == "word") == "cat"
    assert model.card.modalities == ("image",)


def test_what_a_processor_writes_around_a_text_and_a_page_is_on_the_card(pages):
    card = adapter.load(str(pages["native_colqwen2"]), LoadOptions()).card
    assert card.prompts["query"] == "Query: {text}" + "<|endoftext|>" * 10 + "\n"
    assert "<|vision_start|>{page}<|vision_end|>" in card.prompts["document"]


def test_a_text_is_no_document_of_a_model_that_writes_texts_as_queries(pages):
    with pytest.raises(Skip, match="reads page images only, and document '0' has none"):
        adapter.load(str(pages["native_colqwen2"]), LoadOptions()).documents(documents("cat"))


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("native_colmodernvbert", "does not read the pages of a ColModernVBertForRetrieval.*transformers:/"),
        ("colqwen2_5", "a bare ColQwen2_5 without modules.json.*colpali:/"),
        ("colqwen2_5_lora", "is an adapter.*colpali:/"),
    ],
)
def test_pages_that_it_would_read_wrongly_are_left_to_other_adapters(pages, family, said):
    pytest.importorskip("colpali_engine", reason="the visual extra is not installed")
    assert adapter.claims(pages[family]) is None
    with pytest.raises(LidiagError, match=f"(?s){said}"):
        adapter.load(str(pages[family]), LoadOptions())


@needs_shared("models/minilm-colbert")
@needs_shared("data/cranfield")
def test_the_real_colbert_reads_cranfield_as_its_library_does():
    model = adapter.load(str(SHARED / "models/minilm-colbert"), LoadOptions())
    lines = (SHARED / "data/cranfield/queries.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    queries = model.queries(texts)
    assert len(queries.vectors) == 5192
    theirs = model.model.encode_query(texts[:32], batch_size=8, show_progress_bar=False)
    assert torch.allclose(torch.cat([queries[i] for i in range(32)]), torch.cat(list(theirs)), atol=1e-5)
