from __future__ import annotations

import gzip

import pytest

from lidiag.datasets import lines
from lidiag.datasets.lines import Faults, objects, show
from lidiag.errors import LidiagError


def test_line_numbers_count_blank_lines(tmp_path):
    (tmp_path / "f.jsonl").write_text('\n{"a": 1}\n\n \n{"a": 2}')
    assert list(objects(tmp_path / "f.jsonl", Faults())) == [(2, {"a": 1}), (5, {"a": 2})]


def test_a_separator_inside_a_string_ends_no_line(tmp_path):
    (tmp_path / "f.jsonl").write_text('{"a": "x\u2028y\u0085z"}\n', encoding="utf-8")
    assert list(objects(tmp_path / "f.jsonl", Faults())) == [(1, {"a": "x\u2028y\u0085z"})]


def test_a_line_beyond_the_limit_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    faults = Faults()
    (tmp_path / "f.jsonl").write_text('{"a": 1}\n' + '"' + "x" * 1000)
    assert list(objects(tmp_path / "f.jsonl", faults)) == [(1, {"a": 1})]
    assert [fault.line for fault in faults.kept] == [2]


def test_a_number_too_long_to_hold_is_a_fault(tmp_path):
    faults = Faults()
    (tmp_path / "f.jsonl").write_text('{"a": ' + "9" * 10_000 + "}")
    assert not list(objects(tmp_path / "f.jsonl", faults))
    assert faults.count == 1


def test_faults_are_all_counted_and_a_thousand_kept():
    faults = Faults()
    for number in range(1, 2001):
        faults.add("f", number, "is wrong")
    assert (faults.count, len(faults.kept)) == (2000, 1000)
    with pytest.raises(LidiagError, match=r"f line 5 is wrong; and 1,995 more\."):
        faults.refuse("folder", "Mend it.")


def test_no_fault_refuses_nothing():
    Faults().refuse("folder", "Mend it.")


def test_what_is_shown_is_short_and_has_no_control_characters():
    assert show("\x1b[31m\u202e\n") == "'\\x1b[31m\\u202e\\n'"
    assert len(show("x" * 10_000)) <= 60
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert show(deep) == "[[[...]]]"


def test_a_packed_file_that_unpacks_to_a_hundredfold_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_UNPACKED_FREELY", 2**20)
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 2**24))
    faults = lines.Faults()
    assert list(lines.lines(path, faults)) == []
    assert "unpacks to more than 100 times its size" in str(faults.kept[0])
    assert faults.kept[0].line <= 100 * path.stat().st_size + 2**20
