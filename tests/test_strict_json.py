from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidiag import strict_json
from lidiag.errors import LidiagError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_every_json_value_comes_back(value):
    assert strict_json.parse(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NaN", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("[1e999]", "the number '1e999' is not finite"),
        ("9" * 400 + ".0", "is not finite"),
        ('{"a": {"b": 1, "c": 2, "b": 1}}', "the key 'b' stands twice"),
        ('{{"{}": 1, "{}": 1}}'.format("a" * 10**5, "a" * 10**5), r"^the key 'a{1,30}\.\.\.a{1,30}' stands twice$"),
        ("[" * 65 + "]" * 65, "nested more than 64 deep"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested more than 64 deep"),
        ("[" * 10**6, "nested more than 64 deep"),
        ("[" + "{}," * 10**6 + "{}]", "1,000,002 lists and objects, above the 1,000,000 allowed"),
        ("9" * 5000, "4300 digits"),
        (r'["\ud83d\ude00 \uD83D"]', "half of a surrogate pair"),
        ("\ufeff{}", "BOM"),
        ("[1] 2", "Extra data"),
        ("", "Expecting value"),
        (b"\xff", "utf-8"),
    ],
    ids=range(16),
)
def test_what_is_not_strictly_json_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        strict_json.parse(text)


def test_brackets_and_commas_inside_strings_count_for_nothing():
    text = json.dumps({"a": "[{," * 8 * 10**6, "b": '\\"['})
    assert strict_json.parse(text)["b"] == '\\"['


def test_the_deepest_that_is_allowed_is_read():
    assert strict_json.parse("[" * 64 + "]" * 64)


def test_a_string_without_end_takes_no_longer_than_its_length():
    with pytest.raises(ValueError, match="Unterminated"):
        strict_json.parse('"' + r"\"[" * 2_000_000)


def test_a_file_beyond_its_bound_is_not_read_whole(tmp_path):
    path = tmp_path / "report.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: it takes no place on the disk
    with pytest.raises(LidiagError, match=r"report\.json has 1,099,511,627,776 bytes, above the 1,000 allowed\. Mend it\."):
        strict_json.read(path, 1000, "a report", "Mend it.")


def test_a_file_that_has_no_size_is_bounded_as_well():
    with pytest.raises(LidiagError, match="above the 1,000 allowed"):
        strict_json.read(Path("/dev/zero"), 1000, "a report", "Mend it.")


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(LidiagError, match=r"none\.json cannot be read: No such file"):
        strict_json.read(tmp_path / "none.json", 1000, "a report", "Mend it.")
    with pytest.raises(LidiagError, match="cannot be read: Is a directory"):
        strict_json.read(tmp_path, 1000, "a report", "Mend it.")
