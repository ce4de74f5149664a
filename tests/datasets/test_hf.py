from __future__ import annotations

import pytest

datasets = pytest.importorskip("datasets")
Dataset, Image = datasets.Dataset, datasets.Image

from lidiag.dataset import DataOptions  # noqa: E402 - after the skip
from lidiag.datasets import hf  # noqa: E402
from lidiag.errors import LidiagError  # noqa: E402
from tests.datasets.test_mteb import CORPUS, QRELS, QUERIES, mirror, png  # noqa: E402


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "lidiag"))


def load(tmp_path, name="org/mine", **parameters):
    return hf.load(name, DataOptions(data_dir=tmp_path, parameters=parameters))


def test_three_tables_under_their_usual_names_need_no_parameters(tmp_path):
    tables = {"corpus": Dataset.from_list(CORPUS), "queries": Dataset.from_list(QUERIES), "default": Dataset.from_list(QRELS[:2])}
    mirror(tmp_path / "org/mine", "test", tables)
    dataset = load(tmp_path)
    assert [(d.id, d.text) for d in dataset.documents] == [("d1", "Wings lift"), ("d2", "drag"), ("d3", "")]
    assert [(q.id, q.text) for q in dataset.queries] == [("q1", "lift?"), ("q2", "drag?")]
    assert dataset.relevance == {"q1": {"d1": 2}, "q2": {"d2": 1}}
    assert dataset.name == "hf:org/mine"


def test_three_tables_of_other_names_are_read_by_a_column_map(tmp_path):
    tables = {
        "pages": Dataset.from_list([{"key": 1, "scan": {"bytes": png(80), "path": None}}]).cast_column("scan", Image()),
        "questions": Dataset.from_list([{"number": 7, "asked": "which?"}]),
        "answers": Dataset.from_list([{"number": 7, "page": 1, "grade": 2}]),
    }
    mirror(tmp_path / "mine", "train", tables)
    names = {"corpus": "pages", "queries": "questions", "qrels": "answers", "id": "key", "image": "scan", "query-id": "number"}
    dataset = load(tmp_path, **names, **{"query": "asked", "corpus-id": "page", "score": "grade"})
    assert dataset.relevance == {"7": {"1": 2}}
    assert dataset.modalities == {"image"}
    assert dataset.documents[0].page is not None
    assert dataset.documents[0].page.bytes() == png(80)


def test_a_table_of_pairs_holds_equal_documents_and_equal_queries_once(tmp_path):
    rows = [
        {"question": "a?", "passage": "one"},
        {"question": "b?", "passage": "two"},
        {"question": "b?", "passage": "one"},
        {"question": None, "passage": "three"},
    ]
    mirror(tmp_path / "org/mine", "test", {"default": Dataset.from_list(rows)})
    dataset = load(tmp_path, query="question", text="passage")
    assert [(d.id, d.text) for d in dataset.documents] == [("d1", "one"), ("d2", "two"), ("d3", "three")]
    assert [(q.id, q.text) for q in dataset.queries] == [("q1", "a?"), ("q2", "b?")]
    assert dataset.relevance == {"q1": {"d1": 1}, "q2": {"d2": 1, "d1": 1}}


def test_a_table_of_questions_and_page_images_is_read_with_the_usual_columns(tmp_path):
    rows = [{"query": f"q{i}?", "image": {"bytes": png(80 * i), "path": None}} for i in (1, 2)]
    mirror(tmp_path / "org/mine", "test", {"default": Dataset.from_list(rows).cast_column("image", Image())})
    dataset = load(tmp_path)
    assert [document.page and document.page.bytes() for document in dataset.documents] == [png(80), png(160)]
    assert dataset.relevance == {"q1": {"d1": 1}, "q2": {"d2": 1}}


def test_a_column_may_name_the_documents(tmp_path):
    rows = [{"query": "a?", "text": "same", "doc": "x"}, {"query": "b?", "text": "same", "doc": "y"}]
    mirror(tmp_path / "org/mine", "test", {"default": Dataset.from_list(rows)})
    assert load(tmp_path, id="doc").relevance == {"q1": {"x": 1}, "q2": {"y": 1}}


PAIRS = {"default": Dataset.from_list([{"question": "a?", "passage": "one"}])}
TABLES = {"corpus": Dataset.from_list(CORPUS), "queries": Dataset.from_list(QUERIES), "qrels": Dataset.from_list(QRELS)}


@pytest.mark.parametrize(
    ("tables", "parameters", "said"),
    [
        (PAIRS, {}, r"does not say which column holds the documents; it has passage\. Say which: \?text=passage"),
        (PAIRS, {"query": "qestion", "text": "passage"}, "no column of hf:org/mine named 'qestion'. Did you mean question"),
        (PAIRS, {"text": "passage", "split": "dev"}, "no split dev in default, but test"),
        (PAIRS, {"text": "passage", "corpus": "pages"}, "config"),
        (PAIRS, {"txt": "passage"}, "no parameter of hf:org/mine named 'txt'"),
        (TABLES, {}, "judges 1 unknown document ids: d9"),
        (TABLES | {"more": PAIRS["default"]}, {"corpus": "corpsu"}, "Did you mean corpus"),
        ({"a": PAIRS["default"], "b": PAIRS["default"]}, {"text": "passage"}, r"several configs: a, b\. Say which: \?config=a"),
    ],
)
def test_what_cannot_be_told_is_asked_with_the_choices(tmp_path, tables, parameters, said):
    mirror(tmp_path / "org/mine", "test", tables)
    with pytest.raises(LidiagError, match=said):
        load(tmp_path, **parameters)


def test_offline_and_out_of_the_cache_the_cause_is_said():
    with pytest.raises(LidiagError, match=r"org/mine cannot be loaded: this run is offline, and "):
        hf.load("org/mine", DataOptions(offline=True))
