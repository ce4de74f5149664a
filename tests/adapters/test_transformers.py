from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch
import transformers

from lidiag.adapter import LoadOptions
from lidiag.adapters import transformers as native
from lidiag.errors import LidiagError
from lidiag.pooling import MaxSim
from lidiag.similarity import Needs, similarity_pass
from tests.zoo_visual import NATIVE, Zoo, changed, document, page

QUERIES = ["what is the revenue?", "cat", "a much longer question über 中文"]
PAGES = [document(page("revenue 2023\n 1,200")), document(page("cat\ncat", (300, 180))), document(page("long", (90, 400), "grey"))]
CLASSES = {
    "native_colpali": (transformers.ColPaliForRetrieval, transformers.ColPaliProcessor),
    "native_colqwen2": (transformers.ColQwen2ForRetrieval, transformers.ColQwen2Processor),
    "native_colmodernvbert": (transformers.ColModernVBertForRetrieval, transformers.ColModernVBertProcessor),
}
CLOSE = 1e-6


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module", params=NATIVE)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(zoo, family):
    return native.load(str(zoo[family]), LoadOptions())


def by_hand(network, batch):
    batch.pop("labels", None)
    with torch.no_grad():
        return network(**batch).embeddings[0]


def difference(a, b):
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


def test_vectors_and_scores_equal_the_familys_own_path_taken_by_hand(zoo, family, model):
    kind, processing = CLASSES[family]
    network = kind.from_pretrained(zoo[family], dtype=torch.float32).eval()
    processor = processing.from_pretrained(zoo[family])
    queries = [by_hand(network, processor.process_queries([text])) for text in QUERIES]
    pages = [by_hand(network, processor.process_images(images=[item.page.open()])) for item in PAGES]
    ours = model.queries(QUERIES), model.documents(PAGES)
    assert difference(ours[0], queries) < CLOSE
    assert difference(ours[1], pages) < CLOSE
    theirs = torch.cat([processor.score_retrieval(queries, [vectors]) for vectors in pages], 1)
    assert float((next(similarity_pass(*ours, Needs((MaxSim(),)))).scores(MaxSim()) - theirs).abs().max()) < 1e-4
    assert torch.allclose(model.library_scores(*ours), processor.score_retrieval(queries, pages), atol=1e-4)


def test_vectors_do_not_depend_on_the_batch(model):
    assert difference(model.queries(QUERIES), [model.queries([text])[0] for text in QUERIES]) < CLOSE
    assert difference(model.documents(PAGES), [model.documents([item])[0] for item in PAGES]) < CLOSE


def test_every_vector_has_one_label_and_the_patches_tile_the_page(family, model):
    for text, vectors in zip(QUERIES, model.queries(QUERIES), strict=True):
        labels = model.labels("query", text)
        assert len(labels) == len(vectors)
        assert {i for label in labels if label.type == "word" for i in range(*label.span)} == set(range(len(text)))
        assert sum(label.type == "augmentation" for label in labels) == 10
    for item, vectors in zip(PAGES, model.documents(PAGES), strict=True):
        labels = model.labels("document", item)
        assert len(labels) == len(vectors)
        boxes = torch.tensor([label.box for label in labels if label.type == "patch"])
        area = float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())
        assert area == pytest.approx(2 if family == "native_colmodernvbert" else 1, abs=1e-4)


def test_labels_spell_the_query_as_this_version_writes_it(family, model):
    labels = model.labels("query", "cat")
    assert "".join(label.text for label in labels) == model.card.prompts["query"].replace("{text}", "cat")
    # transformers 5.16 and later end the queries of these two with a line break.
    ends = labels[-1].type, labels[-1].text
    assert ends == (("augmentation", "<end_of_utterance>") if family == "native_colmodernvbert" else ("prompt", "\n"))


def test_the_card_says_what_was_loaded(family, model):
    assert model.card.family == CLASSES[family][0].__name__
    assert model.card.randomly_initialised == ()
    assert model.card.dim == 16
    first, second = model.queries(["the revenue of x", "the revenue of y"])
    same = float((first[0] - second[0]).abs().max()) < CLOSE
    assert model.card.attention == ("causal" if same else "bidirectional")


def test_a_missing_head_is_said_to_be_random(zoo, tmp_path, family):
    folder = changed(zoo[family], tmp_path / "m", lambda w: {k: v for k, v in w.items() if "embedding_proj_layer" not in k})
    card = native.load(str(folder), LoadOptions()).card
    assert card.randomly_initialised == ("embedding_proj_layer.bias", "embedding_proj_layer.weight")


def test_a_folder_is_claimed_by_its_architecture(zoo, family):
    assert native.claims(zoo[family]) == f"config.json names {CLASSES[family][0].__name__}"
    assert native.claims(zoo["colpali"]) is None


def test_a_checkpoint_of_another_kind_is_refused_with_what_it_says(zoo):
    with pytest.raises(LidiagError, match=r"names ColPali; transformers: reads ColPaliForRetrieval"):
        native.load(str(zoo["colpali"]), LoadOptions())


def test_it_works_without_torchvision(zoo):
    script = """
        import importlib.machinery as machinery
        find = machinery.PathFinder.find_spec
        hidden = {"torchvision", "colpali_engine"}
        machinery.PathFinder.find_spec = staticmethod(
            lambda name, path=None, target=None: None if name.split(".")[0] in hidden else find(name, path, target)
        )
        import sys
        from lidiag.adapter import LoadOptions
        from lidiag.adapters import transformers as native
        from lidiag.dataset import Document, Page
        from PIL import Image
        import io
        buffer = io.BytesIO()
        Image.new("RGB", (220, 300), "white").save(buffer, "PNG")
        model = native.load(sys.argv[1], LoadOptions())
        print(len(model.documents([Document("d", page=Page(buffer.getvalue()))])[0]), "torchvision" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(zoo["native_colqwen2"])], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.stdout.split() == ["83", "False"], done.stderr
