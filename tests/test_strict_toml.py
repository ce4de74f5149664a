from __future__ import annotations

import time

import pytest

from lidiag import strict_toml
from lidiag.errors import LidiagError


def read(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return strict_toml.read(path, "The suite", "Mend it.")


def test_tables_and_numbers_come_back(tmp_path):
    assert read(tmp_path / "x.toml", "a = 1.5\n[b]\nc = [1, 2]\n") == {"a": 1.5, "b": {"c": [1, 2]}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a = nan", "nan is not a finite number"),
        ("a = -inf", "-inf is not a finite number"),
        ("a = 1e999", "1e999 is not a finite number"),
        (f"a = {'9' * 5000}", "4300 digits"),
        ("a = " + "[" * 10_000, "nested too deeply"),
        ("a = 1\na = 2", "Cannot overwrite a value"),
        (b"a = '\xff'", "utf-8"),
        (" " * 200_000, "more than the 131,072 bytes allowed"),
    ],
)
def test_what_is_not_strictly_toml_is_refused(tmp_path, content, said):
    with pytest.raises(LidiagError, match=rf"^The suite .*x\.toml .*{said}.* Mend it\.$"):
        read(tmp_path / "x.toml", content)


def test_a_key_of_thousands_of_parts_is_refused_at_once(tmp_path):
    start = time.perf_counter()
    with pytest.raises(LidiagError, match="line 2 holds more than the 500 dots"):
        read(tmp_path / "x.toml", "\n" + "a." * 65_000 + "a = 1")
    assert time.perf_counter() - start < 1


def test_the_worst_that_is_let_through_takes_seconds_at_most(tmp_path):
    start = time.perf_counter()
    read(tmp_path / "x.toml", "".join(f"b{i}{'.a' * 500} = 1\n" for i in range(130)))
    assert time.perf_counter() - start < 5


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LidiagError, match=r"The suite .*none\.toml cannot be read: No such file"):
        strict_toml.read(tmp_path / "none.toml", "The suite", "Mend it.")
