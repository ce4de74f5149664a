"""A short version of the fuzzing for every reader, and proof that its harness sees what it looks for."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from lidiag.errors import LidiagError
from tests.fuzz import run
from tests.fuzz.readers import READERS, Reader

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", READERS)
def test_a_spoilt_file_is_read_or_refused_and_nothing_else(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = run.fuzz(READERS[name], tmp_path, cases=60, number=1)
    assert outcome.faults == {}
    assert outcome.read + outcome.refused == 60


@pytest.mark.slow
def test_thousands_of_spoilt_files_are_read_or_refused_within_a_gigabyte_each():
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", "--cases", "3000"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def planted(read) -> Reader:
    return Reader(lambda folder: (folder / "x").write_text("{}"), read, ("x",))


def refuse(folder):
    raise LidiagError("No.", "Mend it.")


def crash(folder):
    if (folder / "x").read_bytes() != b"{}":
        raise KeyError("x")


def test_refusals_and_crashes_are_told_apart_and_the_crash_is_placed(tmp_path):
    assert run.fuzz(planted(refuse), tmp_path, cases=20, number=0).refused == 20
    outcome = run.fuzz(planted(crash), tmp_path, cases=20, number=0)
    assert outcome.broken > 10
    assert list(outcome.faults) == [f"KeyError at test_readers.py:{crash.__code__.co_firstlineno + 2}"]


def test_a_hang_is_ended_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SECONDS", 0.05)
    outcome = run.fuzz(planted(lambda folder: (folder / "x").read_bytes() == b"{}" or time.sleep(9)), tmp_path, cases=3, number=0)
    assert outcome.broken == 3
    assert "Hang: more than 0.05 s" in next(iter(outcome.faults.values()))


def test_memory_beyond_the_bound_is_counted():
    code = (
        "import sys, pathlib, tempfile; from tests.fuzz import run; from tests.fuzz.readers import Reader\n"
        "reader = Reader(lambda f: (f / 'x').write_text('{}'), lambda f: (f / 'x').read_bytes() == b'{}' or bytes(2**30), ('x',))\n"
        "print(run.fuzz(reader, pathlib.Path(tempfile.mkdtemp()), 3, 0, memory=2**29).faults)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "MemoryError" in done.stdout
