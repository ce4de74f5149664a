"""What is asked of a probe.

A probe is a frozen dataclass: its fields are its parameters, as they stand in a suite's TOML and in the report. Its
`measure` is a generator, so that one similarity pass can feed all probes: it yields what it needs of a pass, is sent one
block after another, then None, and in the end returns its findings::

    def measure(self, bench: Bench) -> Measuring:
        found = bench.findings()
        values = np.full(len(bench), np.nan)
        needs = Needs((MaxSim(),))
        while block := (yield needs):
            values[block.queries.start : block.queries.stop] = ...
        found.mean("name", {"pooling": "maxsim"}, values)
        return found

A probe that needs a first look asks for a second pass by yielding again. One that needs no pass returns before its first
`yield`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import ClassVar, Protocol, TypeAlias

from lidiag.bench import Bench
from lidiag.findings import Findings
from lidiag.measurement import Paper
from lidiag.similarity import Block, Needs

Measuring: TypeAlias = Generator[Needs, Block | None, Findings]


class Probe(Protocol):
    """One question to a model, answered by measurements."""

    name: ClassVar[str]
    version: ClassVar[int]
    question: ClassVar[str]
    source: ClassVar[Paper | None]  # None: ours
    formulas: ClassVar[dict[str, str]]  # measurement name -> its definition, with its source where it has one
    primary: ClassVar[str]  # the measurement that a headline verdict is drawn from
    # A probe with `needs_collection: ClassVar[bool] = False` makes its own data, and is measured once in a run over several.

    def measure(self, bench: Bench) -> Measuring:
        """Measure `bench`, asking for passes by yielding; raise Skip where the probe does not apply."""
        ...
