from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutation.page import page
from tests.mutation.results import Counts, Module, Survivor, groups, lines

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEPT, SEEN = Survivor(7, "a <= b", "a < b"), Survivor(9, "x + 1", "x + 2")
MODULES = [
    Module("Group", "one.py", ("test_one.py",), 40, frozenset(map(str, range(18))), (KEPT, SEEN), "f00", "5", 16),
    Module("Group", "two.py", ("test_two.py",), 10, frozenset(map(str, range(10))), (), "f00", "5", 10),
]
REASONS = {("one.py", "a <= b", "a < b"): "Equivalent: a never equals b."}


def test_every_module_and_every_test_that_is_named_is_there():
    for modules in tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8")).values():
        for path, tests in modules.items():
            assert (ROOT / path).is_file(), path
            for file, _, name in (test.partition("::") for test in tests):
                assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8") if name else (ROOT / file).is_file(), f"{file}::{name}"


def test_counts_are_worked_by_hand_and_a_draw_has_clopper_pearsons_interval():
    one, two = (module.counts for module in MODULES)
    assert (one.made, one.tried, one.killed, one.share) == (40, 20, 18, 0.9)
    assert one.interval == pytest.approx((0.6830, 0.9877), abs=1e-4)
    assert two.interval == (1, 1)  # all were tried
    assert groups(MODULES) == [Counts("Group", 50, 30, 28, 26)]


def test_results_are_read_back_as_they_were_written():
    assert [Module.read(json.loads(json.dumps(module.entry()))) for module in MODULES] == MODULES


def test_what_the_first_trial_of_a_draw_killed_stays_until_the_draw_is_another():
    first, _ = MODULES
    again = replace(first, killed=first.killed | {"18"}, survivors=(KEPT,), first=19)
    assert again.after(first) == replace(again, first=16)
    assert again.after(None) == again
    for other in (replace(first, seed="6"), replace(first, source="f01"), replace(first, survivors=())):
        assert again.after(other) == again


def test_the_table_counts_the_survivors_without_a_reason():
    _, one, two, group = lines(MODULES, REASONS)
    assert one.split() == ["one.py", "40", "20", "18", "90.0%", "80.0%", "[68.3%,", "98.8%]", "1"]
    assert two.split() == ["two.py", "10", "10", "10", "100.0%", "100.0%"]
    assert group.split()[:6] == ["Group", "50", "30", "28", "93.3%", "86.7%"]


def test_the_page_holds_every_figure_and_every_survivor_with_its_reason():
    written = page(MODULES, REASONS, ["three.py"])
    assert "Not measured as they are now: `three.py`." in written
    assert "Not measured" not in page(MODULES, REASONS, [])
    assert "drawn by a seed (`--seed 5`)" in written
    assert "| Group | 50 | 30 | 28 | 93.3% |" in written
    assert "| one.py | 40 | 20 | 18 | 90.0% | 68.3% to 98.8% | 80.0% |" in written
    assert "| two.py | 10 | 10 | 10 | 100.0% | all tried | 100.0% |" in written
    assert "- line 7, `a <= b` becomes `a < b`: Equivalent: a never equals b." in written
    assert "- line 9, `x + 1` becomes `x + 2`: **no reason given**" in written
