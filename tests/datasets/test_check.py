from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from lidiag.dataset import DataOptions
from lidiag.datasets.check import check
from lidiag.errors import LidiagError
from tests.datasets.folders import QRELS, write
from tests.shared import SHARED, needs_shared


def test_every_fault_is_listed_with_file_and_line(tmp_path):
    found = check(write(tmp_path, {"corpus.jsonl": "x\n" * 7, "qrels.tsv": QRELS + "q1\n"}))
    assert [(fault.file, fault.line) for fault in found.faults] == [*(("corpus.jsonl", line) for line in range(1, 8)), ("qrels.tsv", 5)]
    assert found.fault_count == 8


def test_what_could_be_read_is_counted_beside_the_faults(tmp_path):
    found = check(write(tmp_path, without=("qrels.tsv",)))
    assert found.faults[0].file == "qrels.tsv"
    assert (found.documents.count, found.queries.count, found.judged.count) == (3, 2, 0)
    assert found.judged.relevant_length_ratio is None


def test_the_statistics_of_a_small_folder_are_those_counted_by_hand(tmp_path):
    corpus = "".join(
        f'{{"_id": "{i}", "text": "{text}"}}\n' for i, text in enumerate(["one", "two words", "", "two words", "five 5 words, I count"])
    )
    queries = "".join(f'{{"_id": "q{i}", "text": "{text}"}}\n' for i, text in enumerate(["a b c", "a b c", " "]))
    qrels = "q0\t4\t2\nq0\t3\t1\nq0\t2\t0\nq1\t0\t0\n"
    found = check(write(tmp_path, {"corpus.jsonl": corpus, "queries.jsonl": queries, "qrels.tsv": qrels}))
    assert not found.faults
    assert (found.documents.count, found.documents.empty, found.documents.duplicates) == (5, 1, 1)
    assert found.documents.words is not None
    assert (found.documents.words.least, found.documents.words.median, found.documents.words.most) == (0, 2, 5)
    assert found.documents.words.mean == 2
    assert (found.queries.count, found.queries.empty, found.queries.duplicates) == (3, 1, 1)
    assert (found.judged.count, found.judged.queries, found.judged.queries_without_positive) == (4, 2, 1)
    assert found.judged.positives_per_query is not None
    assert found.judged.positives_per_query.mean == 1
    # q0: relevant are 5 and 2 words, the others 1, 2 and 0.
    assert found.judged.relevant_length_ratio == pytest.approx(3.5 / 1)


def test_characters_count_as_words_where_no_spaces_part_them(tmp_path):
    found = check(write(tmp_path, {"corpus.jsonl": '{"_id": "d1", "text": "黑豹队 308"}\n', "qrels.tsv": "q1\td1\t1\n"}))
    assert found.documents.words is not None
    assert found.documents.words.mean == 4


def test_a_page_that_does_not_decode_is_a_fault(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    corpus = '{"_id": "d1", "image": "good.png"}\n{"_id": "d2", "image": "bad.png"}\n'
    found = check(write(tmp_path, {"corpus.jsonl": corpus}))
    assert (found.documents.pages, found.documents.empty, found.fault_count) == (2, 0, 1)
    assert "document 'd2'" in str(found.faults[0])


def test_the_split_asked_for_is_checked(tmp_path):
    folder = write(tmp_path, {"qrels/dev.tsv": "q1\td1\tx\n"})
    assert not check(folder).faults
    assert [fault.line for fault in check(folder, DataOptions(parameters={"split": "dev"})).faults] == [1]


def test_an_absent_folder_is_refused(tmp_path):
    with pytest.raises(LidiagError, match="does not exist"):
        check(tmp_path / "nothing")


def test_checking_needs_no_torch():
    code = "import sys; from lidiag.datasets import check; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_shared("data/cranfield")
def test_cranfield_is_sound_with_two_empty_documents():
    found = check(SHARED / "data/cranfield")
    assert not found.faults
    assert (found.documents.count, found.documents.empty, found.judged.count) == (1400, 2, 1837)
