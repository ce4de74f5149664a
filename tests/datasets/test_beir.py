from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lidiag.dataset import DataOptions, Dataset
from lidiag.datasets import beir
from lidiag.errors import LidiagError
from tests.datasets.folders import CORPUS, QRELS, QUERIES, write
from tests.shared import SHARED, needs_shared


def load(folder: Path, **parameters: str) -> Dataset:
    return beir.load(str(folder), DataOptions(parameters=parameters))


def fault(folder: Path, **parameters: str) -> str:
    with pytest.raises(LidiagError) as caught:
        load(folder, **parameters)
    return str(caught.value)


def test_a_document_is_title_space_text_and_either_may_be_missing(tmp_path):
    corpus = '{"_id": "a", "title": "T ", "text": " x"}\n{"_id": "b", "text": " x "}\n{"_id": "c", "title": "T", "text": ""}\n'
    dataset = load(write(tmp_path, {"corpus.jsonl": corpus, "qrels.tsv": "q1\ta\t1\n"}))
    assert [document.text for document in dataset.documents] == ["T   x", "x", "T"]


def test_ids_grades_and_order_are_those_of_the_files(tmp_path):
    dataset = load(write(tmp_path))
    assert [document.id for document in dataset.documents] == ["d1", "d2", "d3"]
    assert [(query.id, query.text) for query in dataset.queries] == [("q1", "what lifts"), ("q2", "what drags")]
    assert dataset.relevance == {"q1": {"d1": 2}, "q2": {"d2": 1, "d1": 0}}
    assert (dataset.name, dataset.notes) == (tmp_path.name, ())


def test_compressed_files_read_as_plain_ones(tmp_path):
    plain = load(write(tmp_path / "plain"))
    packed = {"corpus.jsonl.gz": CORPUS, "queries.jsonl.gz": QUERIES, "qrels/test.tsv.gz": QRELS}
    folder = write(tmp_path / "packed", packed, without=("corpus.jsonl", "queries.jsonl", "qrels.tsv"))
    assert load(folder).fingerprint == plain.fingerprint


def test_byte_order_mark_windows_line_ends_and_blank_lines_change_nothing(tmp_path):
    files = {name: b"\xef\xbb\xbf" + text.replace("\n", "\r\n\r\n").encode() for name, text in
             (("corpus.jsonl", CORPUS), ("queries.jsonl", QUERIES), ("qrels.tsv", QRELS))}  # fmt: skip
    assert load(write(tmp_path / "windows", files)).fingerprint == load(write(tmp_path / "unix")).fingerprint


def test_whole_numbers_serve_as_ids(tmp_path):
    corpus = '{"_id": 7, "text": "lift"}\n'
    assert load(write(tmp_path, {"corpus.jsonl": corpus, "qrels.tsv": "q1\t7\t1\n"})).relevance == {"q1": {"7": 1}}


def test_queries_of_other_splits_are_left_out_and_counted(tmp_path):
    dataset = load(write(tmp_path, {"qrels/test.tsv": "q1\td1\t1\n", "qrels/dev.tsv": "q2\td1\t1\n"}, without=("qrels.tsv",)))
    assert [query.id for query in dataset.queries] == ["q1"]
    assert dataset.notes == (
        "judgements are those of test.tsv; not used: qrels/dev.tsv",
        "1 of 2 queries are not judged in test.tsv and were left out",
    )


def test_the_split_asked_for_is_used_and_stands_in_the_name(tmp_path):
    dataset = load(write(tmp_path, {"qrels/dev.tsv": "q2\td1\t1\n"}), split="dev")
    assert dataset.relevance == {"q2": {"d1": 1}}
    assert dataset.name == f"{tmp_path.name}?split=dev"


def test_the_file_of_judgements_asked_for_is_used(tmp_path):
    assert load(write(tmp_path, {"qrels.strict.tsv": "q2\td1\t1\n"}), qrels="qrels.strict.tsv").relevance == {"q2": {"d1": 1}}


def test_several_splits_without_test_are_listed(tmp_path):
    message = fault(write(tmp_path, {"qrels/dev.tsv": QRELS, "qrels/train.tsv": QRELS}, without=("qrels.tsv",)))
    assert "qrels/dev.tsv, qrels/train.tsv" in message
    assert "?split=dev" in message


def test_an_unknown_split_names_the_near_one(tmp_path):
    assert "Did you mean dev?" in fault(write(tmp_path, {"qrels/dev.tsv": QRELS}), split="devel")


def test_another_judgement_or_another_document_is_another_revision(tmp_path):
    first = load(write(tmp_path)).revision
    assert len(first) == 40
    assert load(write(tmp_path)).revision == first
    assert load(write(tmp_path, {"qrels.tsv": QRELS.replace("q1\td1\t2", "q1\td1\t1")})).revision != first


FAULTS = {
    "malformed line": ("corpus.jsonl", CORPUS + '{"_id": "d4"\n', "corpus.jsonl line 4 is not JSON (Expecting ',' delimiter at column 13)"),
    "no object": ("corpus.jsonl", "[1, 2]\n" + CORPUS, "corpus.jsonl line 1 is not a JSON object but [1, 2]"),
    "no _id": ("corpus.jsonl", '{"id": "d1", "text": ""}\n', "corpus.jsonl line 1 has no _id; its keys are ['id', 'text']"),
    "unusable _id": ("corpus.jsonl", '{"_id": 1.5, "text": ""}\n', "corpus.jsonl line 1 has as _id no usable string but 1.5"),
    "twice": ("corpus.jsonl", CORPUS + '{"_id": "d1", "text": ""}\n', "corpus.jsonl line 4 has the _id 'd1', as line 1 has"),
    "twice in queries": ("queries.jsonl", QUERIES + '{"_id": "q2", "text": ""}\n', "queries.jsonl line 3 has the _id 'q2', as line 2 has"),
    "no text": ("queries.jsonl", '{"_id": "q1"}\n', "queries.jsonl line 1 has no text"),
    "text is no string": ("corpus.jsonl", '{"_id": "d1", "text": 3}\n', "corpus.jsonl line 1 has as text no string but 3"),
    "half a surrogate": ("corpus.jsonl", '{"_id": "d1", "text": "\\ud800"}\n', "corpus.jsonl line 1 cannot be used (it holds half of a surrogate pair)"),
    "key twice": ("corpus.jsonl", '{"_id": "d1", "_id": "d2"}\n', "corpus.jsonl line 1 cannot be used (the key '_id' stands twice)"),
    "NaN": ("corpus.jsonl", '{"_id": "d1", "text": NaN}\n', "corpus.jsonl line 1 cannot be used (NaN is not JSON)"),
    "too deep": ("corpus.jsonl", "[" * 100_000 + "\n", "corpus.jsonl line 1 cannot be used (it is nested more than 64 deep)"),
    "not UTF-8": ("corpus.jsonl", CORPUS.encode() + b'{"\xff"}\n', "corpus.jsonl line 4 is not UTF-8 (byte 3 is 0xff)"),
    "empty corpus": ("corpus.jsonl", "", "corpus.jsonl holds no document"),
    "columns": ("qrels.tsv", QRELS + "q1\td2\n", "qrels.tsv line 5 has 2 columns, not 3 parted by tabs"),
    "score": ("qrels.tsv", QRELS + "q1\td2\t0.5\n", "qrels.tsv line 5 has the score '0.5', not a whole number"),
    "no header": ("qrels.tsv", "q1\td1\tbest\n", "qrels.tsv line 1 has the score 'best', not a whole number"),
    "unknown query": ("qrels.tsv", QRELS + "q9\td1\t1\nq8\td1\t1\n",
                      "qrels.tsv line 5 names a query that queries.jsonl does not hold; 2 of 4 query ids are unknown: 'q9', 'q8'"),
    "unknown document": ("qrels.tsv", QRELS + "q1\td9\t1\n",
                         "qrels.tsv line 5 names a document that corpus.jsonl does not hold; 1 of 3 document ids are unknown: 'd9'"),
    "contradiction": ("qrels.tsv", QRELS + "q1\td1\t1\n",
                      "qrels.tsv line 5 grades query 'q1' and document 'd1' 1, and line 2 grades them 2"),
    "nothing relevant": ("qrels.tsv", "q1\td1\t0\n", "qrels.tsv has no score above 0 in its 1 judgements, so nothing is relevant"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_named_with_file_line_and_next_step(case, tmp_path):
    file, content, said = FAULTS[case]
    message = fault(write(tmp_path, {file: content}))
    assert said in message
    assert f"lidiag data check {tmp_path}" in message
    assert "\n" not in message


def test_several_faults_are_named_at_once_and_the_rest_counted(tmp_path):
    message = fault(write(tmp_path, {"corpus.jsonl": "x\n" * 3, "queries.jsonl": "y\n" * 4}))
    assert "corpus.jsonl line 3" in message
    assert "queries.jsonl line 2" in message
    assert "queries.jsonl line 3" not in message
    assert "and 2 more" in message


def test_a_missing_file_is_named_with_what_is_there(tmp_path):
    message = fault(write(tmp_path, without=("queries.jsonl",)))
    assert "queries.jsonl is missing; the folder holds corpus.jsonl, qrels.tsv" in message


def test_missing_judgements_are_named(tmp_path):
    assert "qrels.tsv is missing, and so is qrels/*.tsv" in fault(write(tmp_path, without=("qrels.tsv",)))


def test_a_folder_that_is_a_file_or_is_absent_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in fault(tmp_path / "file")
    assert "does not exist" in fault(tmp_path / "nothing")


def test_a_file_beside_its_own_archive_is_refused(tmp_path):
    assert "both corpus.jsonl and corpus.jsonl.gz" in fault(write(tmp_path, {"corpus.jsonl.gz": CORPUS}))
    assert "both qrels.tsv and qrels.tsv.gz" in fault(write(tmp_path / "b", {"qrels.tsv.gz": QRELS}))


def test_a_truncated_archive_is_refused(tmp_path):
    packed = gzip.compress(CORPUS.encode())
    assert "cannot be read" in fault(write(tmp_path, {"corpus.jsonl.gz": packed[:-10]}, without=("corpus.jsonl",)))


def test_an_unknown_parameter_and_a_revision_are_refused(tmp_path):
    assert "Did you mean split?" in fault(write(tmp_path), splitt="dev")
    with pytest.raises(LidiagError, match="no revisions"):
        beir.load(str(tmp_path), DataOptions(revision="v1"))


def with_image(folder: Path, value: str) -> Path:
    Image.new("RGB", (8, 6), "white").save(folder / "page.png")
    corpus = f'{{"_id": "d1", "image": {value}}}\n{{"_id": "d2", "text": "drag", "metadata": {{"image": "page.png"}}}}\n'
    return write(folder, {"corpus.jsonl": corpus})


def test_a_page_image_is_read_from_inside_the_folder_and_needs_no_text(tmp_path):
    first, second = load(with_image(tmp_path, '"page.png"')).documents
    assert (first.text, second.text) == ("", "drag")
    assert first.page is not None
    assert first.page.open().size == (8, 6)
    assert second.page == first.page


@pytest.mark.parametrize(
    "value", ['"/etc/hostname"', '"../page.png"', '"no.png"', '"link.png"', "3", '"\\u0000"', f'"{"x" * 5000}"', '"."']
)
def test_an_image_outside_the_folder_or_absent_is_refused(value, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "folder" / "link.png").symlink_to(tmp_path / "secret.png")
    assert "corpus.jsonl line 1 has the image" in fault(with_image(tmp_path / "folder", value))


def test_questions_of_another_folder_keep_the_documents(tmp_path):
    dataset = load(write(tmp_path / "en"))
    other = write(
        tmp_path / "de", {"queries.jsonl": '{"_id": "f1", "text": "was hebt"}\n', "qrels.tsv": "f1\td1\t1\n"}, without=("corpus.jsonl",)
    )
    crossed = beir.queries_from(dataset, other)
    assert crossed.documents == dataset.documents
    assert [query.text for query in crossed.queries] == ["was hebt"]
    assert crossed.name == "en?queries=de"
    assert crossed.revision != dataset.revision


def test_questions_about_other_documents_are_refused(tmp_path):
    other = write(tmp_path / "other", {"qrels.tsv": "q1\tx1\t1\n"})
    with pytest.raises(LidiagError, match=r"qrels.tsv line 1 names a document that en does not hold; 1 of 1"):
        beir.queries_from(load(write(tmp_path / "en")), other)


lines = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([*CORPUS.encode().split(b"\n"), *QUERIES.encode().split(b"\n"), *QRELS.encode().split(b"\n")]),
        st.sampled_from([b'{"_id": "d1", "text": "x", "image": "corpus.jsonl"}', b"q1 0 d1 1", b"\x1f\x8b", b'{"_id": [[]]}', b"[" * 2000]),
    ),
    max_size=6,
).map(b"\n".join)


@settings(max_examples=150, deadline=None)
@given(corpus=lines, queries=lines, qrels=lines, packed=st.booleans())
def test_whatever_bytes_stand_in_the_files_there_is_a_dataset_or_an_error_for_the_user(corpus, queries, qrels, packed):
    end = ".gz" if packed else ""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels.tsv", qrels)):
            (Path(folder) / f"{name}{end}").write_bytes(gzip.compress(content) if packed and len(content) % 2 else content)
        try:
            dataset = load(Path(folder))
        except LidiagError:
            return
        assert len(dataset.fingerprint) == 64
        known = {document.id for document in dataset.documents}
        assert all(known.issuperset(row) for row in dataset.relevance.values())


@needs_shared("data")
@pytest.mark.parametrize(
    ("path", "documents", "queries", "judgements"),
    [("cranfield", 1400, 225, 1837), ("xquad/en", 240, 1190, 1190), ("xquad/de", 240, 1190, 1190), ("xquad/zh", 240, 1190, 1190),
     ("contoso-pages", 273, 60, 85)],
)  # fmt: skip
def test_real_collections_have_their_published_counts(path, documents, queries, judgements):
    dataset = load(SHARED / "data" / path)
    counts = len(dataset.documents), len(dataset.queries), sum(map(len, dataset.relevance.values()))
    assert counts == (documents, queries, judgements)


@needs_shared("data/contoso-pages")
def test_real_pages_open():
    page = load(SHARED / "data/contoso-pages").documents[0].page
    assert page is not None
    assert max(page.open().size) == 1024
