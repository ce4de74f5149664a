"""What became of the mutants, by module and by group."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scipy import stats

Reasons = dict[tuple[str, str, str], str]  # (module, line before, line after): why no test can tell


@dataclass(frozen=True)
class Survivor:
    """A change that no test saw."""

    line: int
    before: str
    after: str


@dataclass(frozen=True)
class Counts:
    """How many mutants there are, were tried and were killed; `first` of them before any test was written for their survivors."""

    name: str
    made: int
    tried: int
    killed: int
    first: int

    @property
    def share(self) -> float:
        return self.killed / self.tried

    @property
    def interval(self) -> tuple[float, float]:
        """The Clopper-Pearson interval of the share among all that can be made; the share itself where all were tried."""
        if self.tried == self.made:
            return self.share, self.share
        found = stats.binomtest(self.killed, self.tried).proportion_ci()
        return float(found.low), float(found.high)


@dataclass(frozen=True)
class Module:
    """A module's mutants; `source` is the digest of the source they were made of, `first` how many the first trial of `seed` killed."""

    group: str
    path: str
    tests: tuple[str, ...]
    made: int
    killed: frozenset[str]
    survivors: tuple[Survivor, ...]
    source: str
    seed: str
    first: int

    @property
    def counts(self) -> Counts:
        return Counts(self.path, self.made, self.tried, len(self.killed), self.first)

    @property
    def tried(self) -> int:
        return len(self.killed) + len(self.survivors)

    def after(self, before: Module | None) -> Module:
        """Return this trial with what an earlier one of the same draw had killed, where there was one."""
        if before is None or (before.source, before.seed, before.tried) != (self.source, self.seed, self.tried):
            return self
        return dataclasses.replace(self, first=before.first)

    def reason(self, survivor: Survivor, reasons: Reasons) -> str | None:
        return reasons.get((self.path, survivor.before, survivor.after))

    def entry(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "killed": sorted(self.killed)}

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Module:
        survivors = tuple(Survivor(**survivor) for survivor in entry["survivors"])
        return cls(**{**entry, "tests": tuple(entry["tests"]), "killed": frozenset(entry["killed"]), "survivors": survivors})


def groups(modules: list[Module]) -> list[Counts]:
    """Return the sums of each group, in the modules' order."""
    found: list[Counts] = []
    for name in dict.fromkeys(module.group for module in modules):
        counts = [module.counts for module in modules if module.group == name]
        made, tried, killed, first = (sum(column) for column in zip(*((c.made, c.tried, c.killed, c.first) for c in counts), strict=True))
        found.append(Counts(name, made, tried, killed, first))
    return found


def lines(modules: list[Module], reasons: Reasons) -> Iterator[str]:
    """Yield the table of modules and groups for a terminal."""
    yield f"{'':40} {'made':>6} {'tried':>6} {'killed':>6} {'share':>7} {'first':>7}  95 % interval where drawn; survivors without a reason"
    for group in groups(modules):
        for module in (module for module in modules if module.group == group.name):
            open_ = sum(module.reason(survivor, reasons) is None for survivor in module.survivors)
            yield f"{_row(module.counts)}  {open_ or ''}"
        yield _row(group)


def _row(counts: Counts) -> str:
    low, high = counts.interval
    reach = f"[{low:.1%}, {high:.1%}]" if counts.tried < counts.made else ""
    return f"{counts.name:40} {counts.made:6} {counts.tried:6} {counts.killed:6} {counts.share:7.1%} {counts.first / counts.tried:7.1%}  {reach}"
