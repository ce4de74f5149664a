from __future__ import annotations

import pytest

pytest.importorskip("cosmic_ray", reason="cosmic-ray makes the mutants: `make mutants` installs it")

from tests.mutation.mutants import mutants, sample

SOURCE = '''\
"""Says 1 + 1."""
from dataclasses import dataclass

@dataclass(frozen=True)
class Ä:
    version: ClassVar[int] = 1
    size: int | None = 5

LIMIT: int | None = 8

def share(kept: int | None, *, scale: float = 100) -> float | None:
    """Return 1 - kept."""
    if kept is None:
        raise ValueError(f"{1 - 1} kept")
    return scale * kept
'''


def changes(source):
    return {(mutant.line, mutant.after) for mutant in mutants(source)}


def test_what_computes_is_changed_and_what_says_or_declares_is_not():
    assert changes(SOURCE) == {
        (9, "LIMIT: int | None = 9"),
        (9, "LIMIT: int | None = 7"),
        (11, "def share(kept: int | None, *, scale: float = 101) -> float | None:"),
        (11, "def share(kept: int | None, *, scale: float = 99) -> float | None:"),
        (13, "if kept is not None:"),
        (13, "if not kept is None:"),
        (15, "return scale / kept"),
        (15, "return scale + kept"),
    }


def test_every_mutant_differs_from_its_source_in_its_line_alone():
    lines = SOURCE.split("\n")
    for mutant in mutants(SOURCE):
        changed = mutant.source.split("\n")
        assert [number for number, pair in enumerate(zip(lines, changed, strict=True), 1) if pair[0] != pair[1]] == [mutant.line]
        assert lines[mutant.line - 1].strip() == mutant.before


def test_a_draw_depends_on_its_seed_alone():
    every = mutants(SOURCE)
    assert sample(every, 3, "1") == sample(every, 3, "1")
    assert len({tuple(sample(every, 3, str(seed))) for seed in range(20)}) > 5
    assert sample(every, 50, "1") == every
