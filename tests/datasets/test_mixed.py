"""Several folders as one collection."""

from __future__ import annotations

import json

import pytest

from lidiag import catalog
from lidiag.dataset import DataOptions
from lidiag.errors import LidiagError


@pytest.fixture
def folders(tmp_path):
    for name, words in (("en", ("water", "fire")), ("de", ("Wasser", "Feuer"))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": f"p{i}", "text": word}) + "\n" for i, word in enumerate(words)))
        (folder / "queries.jsonl").write_text(json.dumps({"_id": "q0", "text": f"{words[0]}?"}) + "\n")
        (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tp0\t1\n")
    return tmp_path


def test_translations_are_relevant_to_each_others_questions(folders):
    mixed = catalog.dataset(f"mixed:{folders / 'en'},{folders / 'de'}", DataOptions())
    assert mixed.name == "mixed:en+de"
    assert [document.id for document in mixed.documents] == ["en/p0", "en/p1", "de/p0", "de/p1"]
    assert mixed.relevance == {"en/q0": {"en/p0": 1, "de/p0": 1}, "de/q0": {"en/p0": 1, "de/p0": 1}}
    assert mixed.groups == {"en/q0": "q0", "de/q0": "q0"}, "one question in two languages is one unit"
    assert mixed.facets["de/p1"] == {"part": "de", "original": "p1"}


@pytest.mark.parametrize("name", ["mixed:{0}/en", "mixed:{0}/en,{0}/en", "mixed:{0}/en,{0}/fr"])
def test_what_is_no_mixture_is_refused(folders, name):
    with pytest.raises(LidiagError):
        catalog.dataset(name.format(folders), DataOptions())
