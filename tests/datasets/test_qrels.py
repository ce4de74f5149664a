from __future__ import annotations

import pytest

from lidiag.datasets import qrels
from lidiag.datasets.lines import Faults
from lidiag.errors import LidiagError


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq 1\td1\t2\nq2\td1\t-1\n",
        "q 1\td1\t2\nq2\td1\t-1\n",
        "q 1\t0\td1\t2\nq2\tQ0\td1\t-1",
        "query_id\tdoc_id\trelevance\nq 1\td1\t2\nq2\td1\t-1\n",
    ],
)
def test_three_columns_with_or_without_a_header_and_trec_columns_read_alike(text, tmp_path):
    faults = Faults()
    (tmp_path / "qrels.tsv").write_text(text)
    assert qrels.read(tmp_path / "qrels.tsv", faults).relevance == {"q 1": {"d1": 2}, "q2": {"d1": -1}}
    assert not faults.count


def test_trec_columns_parted_by_spaces(tmp_path):
    (tmp_path / "qrels.tsv").write_text("q1 0  d1 2\nq2 0 d1 1\n")
    assert qrels.read(tmp_path / "qrels.tsv", Faults()).relevance == {"q1": {"d1": 2}, "q2": {"d1": 1}}


def test_a_judgement_given_twice_alike_is_one(tmp_path):
    faults = Faults()
    (tmp_path / "qrels.tsv").write_text("q1\td1\t2\nq1\td1\t2\n")
    assert len(qrels.read(tmp_path / "qrels.tsv", faults).rows) == 1
    assert not faults.count


def test_scores_that_only_look_like_whole_numbers_are_refused(tmp_path):
    faults = Faults()
    (tmp_path / "qrels.tsv").write_text("q1\td1\t1_0\nq1\td2\t٣\nq1\td3\t9999999999\nq1\td4\t\n\td5\t1\nq1\t\t1\n")
    assert not qrels.read(tmp_path / "qrels.tsv", faults).rows
    assert [fault.line for fault in faults.kept] == [1, 2, 3, 4, 5, 6]


def test_a_file_and_a_split_cannot_both_be_asked_for(tmp_path):
    with pytest.raises(LidiagError, match="Both split=dev and qrels="):
        qrels.choose(tmp_path, ["qrels.tsv", "qrels/dev.tsv"], "dev", "qrels.tsv")


def test_a_file_outside_the_folder_cannot_be_asked_for(tmp_path):
    with pytest.raises(LidiagError, match="no file of judgements"):
        qrels.choose(tmp_path, ["qrels.tsv"], None, "../qrels.tsv")


def test_the_only_file_is_the_one_even_under_another_name(tmp_path):
    assert qrels.choose(tmp_path, ["qrels/dev.tsv"], None, None) == "qrels/dev.tsv"


def test_variants_beside_qrels_tsv_are_not_taken_unasked(tmp_path):
    assert qrels.choose(tmp_path, ["qrels.raw.tsv", "qrels.tsv", "qrels/test.tsv"], None, None) == "qrels.tsv"
