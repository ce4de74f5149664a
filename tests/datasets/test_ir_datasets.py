from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from lidiag.dataset import DataOptions
from lidiag.datasets import ir_datasets
from lidiag.errors import LidiagError


class Qrel(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int


class Text(NamedTuple):
    doc_id: str
    query_id: str
    title: str
    text: str

    def default_text(self):
        return f"{self.title} {self.text}".strip()


class Source:
    """What `ir_datasets.load` returns, as far as it is used."""

    def __init__(self, parts=("docs", "queries", "qrels"), broken=None):
        self.parts, self.broken = parts, broken

    def __getattr__(self, name):
        if name.startswith("has_"):
            return lambda: name.removeprefix("has_") in self.parts
        raise AttributeError(name)

    def docs_iter(self):
        if self.broken:
            raise self.broken
        return iter([Text("d1", "", "Wings", "lift"), Text("d2", "", "", "drag")])

    def queries_iter(self):
        return iter([Text("", "1", "", "what lifts"), Text("", "2", "", "unjudged")])

    def qrels_iter(self):
        return iter([Qrel("1", "d1", 2), Qrel("1", "d9", 1)])


@pytest.fixture
def library(monkeypatch, tmp_path):
    known = {"tiny": Source(("docs",)), "tiny/test": Source(), "gone": Source(broken=OSError("no route to host"))}
    stand_in = SimpleNamespace(load=known.__getitem__, registry=list(known), util=SimpleNamespace(home_path=lambda: tmp_path))
    monkeypatch.setitem(sys.modules, "ir_datasets", stand_in)


@pytest.mark.usefixtures("library")
def test_a_collection_is_read_with_the_librarys_own_texts():
    dataset = ir_datasets.load("tiny/test", DataOptions())
    assert [(d.id, d.text) for d in dataset.documents] == [("d1", "Wings lift"), ("d2", "drag")]
    assert [(q.id, q.text) for q in dataset.queries] == [("1", "what lifts")]
    assert dataset.relevance == {"1": {"d1": 2}}
    assert dataset.name == "ir-datasets:tiny/test"
    assert dataset.notes[0].startswith("1 judgements name")


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("tiny/tset", DataOptions(), "Did you mean tiny/test"),
        ("tiny", DataOptions(), "has no queries. Name a part that has: tiny/test"),
        ("gone", DataOptions(), "cannot be had: no route to host"),
        ("gone", DataOptions(offline=True), "not downloaded yet, and this run is offline"),
        ("tiny/test", DataOptions(parameters={"split": "x"}), "no parameter of ir-datasets:tiny/test named 'split'"),
    ],
)
def test_what_cannot_be_loaded_is_said(name, options, said):
    with pytest.raises(LidiagError, match=said):
        ir_datasets.load(name, options)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(LidiagError, match=r"pip install 'lidiag\[ir-datasets\]'"):
        ir_datasets.load("beir/scifact/test", DataOptions())


def test_the_library_itself_knows_what_is_asked_of_it():
    library = pytest.importorskip("ir_datasets", reason="ir_datasets, of the extra ir-datasets, is not installed")
    assert "beir/scifact/test" in library.registry
    source = library.load("beir/scifact/test")
    assert source.has_docs()
    assert source.has_queries()
    assert source.has_qrels()
    assert hasattr(source.docs_cls(), "default_text")
    assert hasattr(source.queries_cls(), "default_text")
    with pytest.raises(LidiagError, match=r"beir/scifact has no qrels\. Name a part that has: beir/scifact/"):
        ir_datasets.load("beir/scifact", DataOptions())
