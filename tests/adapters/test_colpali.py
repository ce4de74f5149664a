from __future__ import annotations

import shutil
import sys

import pytest
import torch
from colpali_engine import models as engine
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import ImageDraw

from lidiag import store
from lidiag.adapter import LoadOptions
from lidiag.adapters import colpali
from lidiag.adapters import transformers as native
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.similarity import Needs, similarity_pass
from tests.zoo_visual import ENGINE, Zoo, changed, document, page, rewritten

QUERIES = ["what is the revenue?", "cat", "a much longer question über 中文"]
PAGES = [
    document(page("revenue 2023\n 1,200")),
    document(page("cat\ncat", (300, 180))),
    document(page("x", (100, 100))),
    document(page("long", (90, 400), "grey")),
]
CLASSES = {
    "colpali": (engine.ColPali, engine.ColPaliProcessor),
    "colqwen2": (engine.ColQwen2, engine.ColQwen2Processor),
    "colqwen2_5": (engine.ColQwen2_5, engine.ColQwen2_5_Processor),
    "colqwen2_5_lora": (engine.ColQwen2_5, engine.ColQwen2_5_Processor),
    "colqwen3": (engine.ColQwen3, engine.ColQwen3Processor),
    "colqwen3_5": (engine.ColQwen3_5, engine.ColQwen3_5Processor),
    "colidefics3": (engine.ColIdefics3, engine.ColIdefics3Processor),
    "colmodernvbert": (engine.ColModernVBert, engine.ColModernVBertProcessor),
}
HEADS = {family: "linear" if family == "colidefics3" else "custom_text_proj" for family in ENGINE}
CLOSE = 1e-6  # fp32, vectors of length 1


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def model(zoo):
    """Load each family once."""
    loaded = {}

    def get(family):
        if family not in loaded:
            loaded[family] = colpali.load(str(zoo[family]), LoadOptions())
        return loaded[family]

    return get


def by_hand(network, batch):
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        return [row[kept.bool()] for row, kept in zip(network(**inputs), batch["attention_mask"], strict=True)]


def difference(a, b):
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("family", ENGINE)
def test_vectors_and_scores_equal_the_familys_own_path_taken_by_hand(zoo, model, family):
    kind, processing = CLASSES[family]
    network = kind.from_pretrained(zoo[family], dtype=torch.float32, device_map="cpu").eval()
    processor = processing.from_pretrained(zoo[family])
    queries = [by_hand(network, processor.process_queries([text]))[0] for text in QUERIES]
    pages = [by_hand(network, processor.process_images([item.page.open()]))[0] for item in PAGES]
    ours = model(family).queries(QUERIES), model(family).documents(PAGES)
    assert difference(ours[0], queries) < CLOSE
    assert difference(ours[1], pages) < CLOSE
    # One page at a time: the library's scorer pads the shorter ones with zeros.
    theirs = torch.cat([processor.score_multi_vector(queries, [vectors], device="cpu") for vectors in pages], 1)
    block = next(similarity_pass(*ours, Needs((MaxSim(),))))
    assert float((block.scores(MaxSim()) - theirs).abs().max()) < 1e-4


@pytest.mark.parametrize("family", ENGINE)
def test_vectors_do_not_depend_on_the_batch(model, family):
    alone = [model(family).queries([text])[0] for text in QUERIES], [model(family).documents([item])[0] for item in PAGES]
    assert difference(model(family).queries(QUERIES), alone[0]) < CLOSE
    assert difference(model(family).documents(PAGES), alone[1]) < CLOSE
    assert difference(model(family).queries(QUERIES[::-1]), alone[0][::-1]) < CLOSE


def test_colpalis_own_path_does_depend_on_the_batch_and_ours_follows_the_query_alone(zoo, model):
    kind, processing = CLASSES["colpali"]
    network = kind.from_pretrained(zoo["colpali"], dtype=torch.float32, device_map="cpu").eval()
    processor = processing.from_pretrained(zoo["colpali"])
    alone = [by_hand(network, processor.process_queries([text]))[0] for text in QUERIES]
    together = by_hand(network, processor.process_queries(QUERIES))
    assert difference(together, alone) > 0.01
    assert difference(model("colpali").queries(QUERIES), alone) < CLOSE


def test_the_librarys_scorer_lifts_a_short_document_by_its_zero_padding(model):
    against = torch.tensor([[-1.0] + [0.0] * 127])
    query = MultiVectors.pack([-against])
    documents = MultiVectors.pack([against, torch.cat((against, against))])
    assert model("colqwen2").library_scores(query, documents).tolist() == [[0.0, -1.0]]
    assert next(similarity_pass(query, documents, Needs((MaxSim(),)))).scores(MaxSim()).tolist() == [[-1.0, -1.0]]


@pytest.mark.parametrize("family", ENGINE)
def test_every_vector_has_one_label_and_the_patches_tile_the_page(model, family):
    for text, vectors in zip(QUERIES, model(family).queries(QUERIES), strict=True):
        labels = model(family).labels("query", text)
        assert len(labels) == len(vectors)
        words = [label for label in labels if label.type == "word"]
        assert {i for label in words for i in range(*label.span)} == set(range(len(text)))
        assert all(label.text == text[slice(*label.span)] for label in words)
        assert sum(label.type == "augmentation" for label in labels) == 10
    for item, vectors in zip(PAGES, model(family).documents(PAGES), strict=True):
        labels = model(family).labels("document", item)
        assert len(labels) == len(vectors)
        boxes = torch.tensor([label.box for label in labels if label.type == "patch"])
        assert float(boxes.min()) >= 0
        assert float(boxes.max()) <= 1 + 1e-6
        area = float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())
        views = 2 if family in {"colidefics3", "colmodernvbert"} else 1  # tiles, and the page as a whole
        assert area == pytest.approx(views, abs=1e-4)


@pytest.mark.parametrize("family", ENGINE)
@pytest.mark.parametrize("size", [(224, 336), (300, 180)])
def test_black_ink_in_a_box_changes_a_patch_there_most(model, family, size):
    blank = page("", size)
    labels = model(family).labels("document", document(blank))
    patches = [i for i, label in enumerate(labels) if label.type == "patch"]
    before = model(family).documents([document(blank)])[0][patches]
    for chosen in patches[:: max(1, len(patches) // 5)]:
        inked = blank.copy()
        left, top, right, bottom = labels[chosen].box
        ImageDraw.Draw(inked).rectangle(
            (left * size[0], top * size[1], right * size[0] - 1, bottom * size[1] - 1), fill="black"
        )  # fmt: skip
        moved = (model(family).documents([document(inked)])[0][patches] - before).norm(dim=1)
        found = labels[patches[int(moved.argmax())]].box
        assert max(left, found[0]) < min(right, found[2])
        assert max(top, found[1]) < min(bottom, found[3])


@pytest.mark.parametrize("family", ENGINE)
def test_the_card_says_how_the_model_attends(model, family):
    first, second = model(family).queries(["the revenue of x", "the revenue of y"])
    same = float((first[0] - second[0]).abs().max()) < CLOSE
    assert model(family).card.attention == ("causal" if same else "bidirectional")


@pytest.mark.parametrize("family", [family for family in ENGINE if family != "colqwen2_5_lora"])
def test_a_missing_head_is_said_to_be_random(zoo, tmp_path, family):
    folder = changed(zoo[family], tmp_path / "headless", lambda weights: {k: v for k, v in weights.items() if HEADS[family] not in k})
    assert colpali.load(str(folder), LoadOptions()).card.randomly_initialised == (f"{HEADS[family]}.bias", f"{HEADS[family]}.weight")


@pytest.mark.parametrize("family", ENGINE)
def test_a_whole_checkpoint_has_no_random_weight_and_shows_its_prompts(model, family):
    card = model(family).card
    assert card.randomly_initialised == ()
    assert card.prompts["query"].count("{text}") == 1
    assert card.prompts["document"].count("{page}") == 1
    assert "Describe the image." in card.prompts["document"]
    assert card.modalities == ("image",)


class TestAdaptersOnABase:
    def test_the_lora_folder_equals_peft_and_differs_from_its_base(self, zoo, model):
        kind, processing = CLASSES["colqwen2_5"]
        base = kind.from_pretrained(zoo["colqwen2_5"], dtype=torch.float32)
        network = PeftModel.from_pretrained(base, zoo["colqwen2_5_lora"]).eval()
        batch = processing.from_pretrained(zoo["colqwen2_5_lora"]).process_queries(QUERIES[:1])
        ours = model("colqwen2_5_lora").queries(QUERIES[:1])
        assert difference(ours, by_hand(network, batch)) < 1e-5
        assert difference(ours, model("colqwen2_5").queries(QUERIES[:1])) > 0.01

    def test_its_base_is_recorded_with_its_revision(self, model):
        base = model("colqwen2_5").card
        assert model("colqwen2_5_lora").card.versions["base model"] == f"{base.name}@{base.revision}"

    def test_a_base_without_its_head_is_found_under_a_whole_adapter(self, zoo, tmp_path):
        base = changed(zoo["colqwen2_5"], tmp_path / "base", lambda w: {k: v for k, v in w.items() if "custom_text_proj" not in k})
        adapter = rewritten(
            shutil.copytree(zoo["colqwen2_5_lora"], tmp_path / "a"), "adapter_config.json", base_model_name_or_path=str(base)
        )
        assert colpali.load(str(adapter), LoadOptions()).card.randomly_initialised == ("custom_text_proj.bias", "custom_text_proj.weight")

    def test_a_head_that_the_adapter_brings_whole_is_not_missing(self, zoo, tmp_path):
        kind, processing = CLASSES["colqwen2_5"]
        base = changed(zoo["colqwen2_5"], tmp_path / "base", lambda w: {k: v for k, v in w.items() if "custom_text_proj" not in k})
        config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["custom_text_proj"], init_lora_weights=False)
        trained = get_peft_model(kind.from_pretrained(base, dtype=torch.float32), config)
        trained.save_pretrained(tmp_path / "a")
        processing.from_pretrained(base).save_pretrained(tmp_path / "a")
        loaded = colpali.load(str(tmp_path / "a"), LoadOptions())
        assert loaded.card.randomly_initialised == ()
        batch = loaded.processor.process_queries(QUERIES[:1])
        assert difference(loaded.queries(QUERIES[:1]), by_hand(trained.eval(), batch)) < 1e-5

    def test_missing_weights_of_the_adapter_are_random(self, zoo, tmp_path):
        adapter = changed(zoo["colqwen2_5_lora"], tmp_path / "a", lambda w: {k: v for k, v in w.items() if "custom_text_proj" not in k})
        random = colpali.load(str(adapter), LoadOptions()).card.randomly_initialised
        assert len(random) == 2
        assert all(name.startswith("custom_text_proj.lora_") for name in random)

    def test_weights_without_a_place_are_refused(self, zoo, tmp_path):
        adapter = changed(zoo["colqwen2_5_lora"], tmp_path / "a", lambda w: {k.replace("language_model", "lm"): v for k, v in w.items()})
        with pytest.raises(LidiagError, match=r"28 weights of the adapter local/a have no place in local/colqwen2_5"):
            colpali.load(str(adapter), LoadOptions())

    def test_a_base_that_is_nowhere_is_named(self, zoo, tmp_path):
        adapter = rewritten(
            shutil.copytree(zoo["colqwen2_5_lora"], tmp_path / "a"), "adapter_config.json", base_model_name_or_path="org/gone"
        )
        with pytest.raises(LidiagError, match="org/gone"):
            colpali.load(str(adapter), LoadOptions(offline=True))


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("colpali", "config.json names ColPali"),
        ("colqwen2_5", "config.json names ColQwen2_5"),
        ("colqwen2_5_lora", "it is an adapter (adapter_config.json) on a base whose config.json names ColQwen2_5"),
        ("native_colpali", None),
    ],
)
def test_a_folder_is_claimed_by_what_its_files_say(zoo, family, reason):
    assert colpali.claims(zoo[family]) == reason


def test_an_adapter_whose_base_is_elsewhere_is_claimed_by_the_layer_it_trains_or_by_its_processor(zoo, tmp_path):
    shutil.copy(zoo["colqwen2_5_lora"] / "adapter_config.json", tmp_path)
    rewritten(tmp_path, "adapter_config.json", base_model_name_or_path="org/base")
    assert colpali.claims(tmp_path) == "adapter_config.json trains custom_text_proj, the projection of colpali-engine's models"
    rewritten(tmp_path, "adapter_config.json", target_modules=["q_proj"])
    assert colpali.claims(tmp_path) is None
    (tmp_path / "preprocessor_config.json").write_text('{"processor_class": "ColQwen2_5_Processor"}')
    assert colpali.claims(tmp_path) == "it is an adapter (adapter_config.json) whose processor is ColQwen2_5_Processor"
    (tmp_path / "preprocessor_config.json").write_text('{"processor_class": "ColQwen2Processor"}')
    rewritten(tmp_path, "adapter_config.json", target_modules=["embedding_proj_layer"])
    assert colpali.claims(tmp_path) is None
    assert native.claims(tmp_path) == "adapter_config.json trains embedding_proj_layer, the projection of transformers' models"


def test_a_folder_with_modules_is_left_to_sentence_transformers(zoo, tmp_path):
    folder = shutil.copytree(zoo["colqwen2"], tmp_path / "m")
    (folder / "modules.json").write_text("[]")
    assert colpali.claims(folder) is None


def test_a_head_of_another_shape_is_refused(zoo, tmp_path):
    folder = changed(zoo["colqwen2"], tmp_path / "m", lambda w: {k: v[:64] if "custom_text_proj" in k else v for k, v in w.items()})
    with pytest.raises(LidiagError, match="local/m cannot be loaded: RuntimeError"):
        colpali.load(str(folder), LoadOptions())


def test_a_vector_that_is_not_a_number_is_not_hidden(zoo, tmp_path):
    folder = changed(zoo["colqwen2"], tmp_path / "m", lambda w: {k: v * 0 if "custom_text_proj" in k else v for k, v in w.items()})
    loaded = colpali.load(str(folder), LoadOptions())
    vectors = loaded.queries(QUERIES[:1])
    assert vectors.vectors.isnan().all()
    with pytest.raises(LidiagError, match="not finite"):
        store.check(vectors, loaded.card, "query", QUERIES[:1])


def test_a_text_without_a_page_is_skipped_with_the_reason(model):
    with pytest.raises(Skip, match="reads page images, and document 't' has a text only"):
        model("colqwen2").documents([Document("t", "only words")])


def test_a_text_beside_the_page_changes_nothing(model):
    both = Document("d", "some words", PAGES[0].page)
    assert torch.equal(model("colqwen2").documents([both])[0], model("colqwen2").documents([PAGES[0]])[0])


def test_the_query_prefix_can_be_set_and_is_shown(zoo, model):
    loaded = colpali.load(str(zoo["colqwen2"]), LoadOptions(parameters={"query_prefix": "Query: "}))
    assert loaded.card.prompts["query"].startswith("Query: {text}")
    vectors = loaded.queries(["cat"])[0]
    assert len(vectors) == len(model("colqwen2").queries(["cat"])[0]) + len("Query: ")
    assert [label.type for label in loaded.labels("query", "cat")[:8]] == ["prompt"] * 7 + ["word"]
    with pytest.raises(LidiagError, match="query_prefix"):
        colpali.load(str(zoo["colqwen2"]), LoadOptions(parameters={"prefix": "Query: "}))


def test_a_query_that_occurs_in_the_prompt_is_still_found_in_its_own_place(zoo):
    loaded = colpali.load(str(zoo["colqwen2"]), LoadOptions(parameters={"query_prefix": "Query: "}))
    labels = loaded.labels("query", "e<|im_end|>")
    assert [(label.type, label.span) for label in labels[7:9]] == [("word", (0, 1)), ("special", None)]


def test_half_precision_is_kept_to_and_vectors_come_back_in_fp32(zoo, model):
    loaded = colpali.load(str(zoo["colqwen2_5_lora"]), LoadOptions(dtype="bfloat16"))
    assert loaded.card.dtype == "bfloat16"
    assert loaded.model.dtype == torch.bfloat16
    vectors = loaded.documents(PAGES[:2])
    assert vectors.vectors.dtype == torch.float32
    assert 1e-5 < difference(vectors, model("colqwen2_5_lora").documents(PAGES[:2])) < 0.1


def test_without_colpali_engine_the_extra_is_named(zoo, monkeypatch):
    monkeypatch.setitem(sys.modules, "colpali_engine", None)
    with pytest.raises(LidiagError, match=r"pip install 'lidiag\[visual\]'"):
        colpali.load(str(zoo["colqwen2"]), LoadOptions())


def test_a_checkpoint_of_another_kind_is_refused_with_what_it_says(zoo):
    with pytest.raises(LidiagError, match=r"names ColPaliForRetrieval; colpali: reads ColPali, ColQwen2"):
        colpali.load(str(zoo["native_colpali"]), LoadOptions())
