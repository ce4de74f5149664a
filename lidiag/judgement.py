"""A report judged: by its suite's gates or the user's, and against a baseline."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lidiag import gate, regression, strict_toml
from lidiag.compare import Side, refuse_incomparable
from lidiag.errors import LidiagError
from lidiag.gate import Gate, Verdict
from lidiag.regression import Regression
from lidiag.report import Report, Result
from lidiag.suite import explain
from lidiag.terminal import gate_lines, safe


class Gates(BaseModel):
    """What a gates file says: bounds, and regressions against a baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gates: tuple[Gate, ...] = ()
    regressions: tuple[Regression, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """The verdicts on one report, and the probes that say nothing because they broke."""

    report: Report
    verdicts: tuple[Verdict, ...]
    baseline: str | None = None

    @property
    def broken(self) -> tuple[Result, ...]:
        """The results without an answer."""
        return tuple(result for result in self.report.results if result.status == "broken")

    def exit_code(self) -> int:
        """Return 0 all gates hold, 1 one failed, 3 something broke, 5 nothing was judged."""
        statuses = {verdict.status for verdict in self.verdicts}
        if self.broken or "broken" in statuses:
            return 3
        if "failed" in statuses:
            return 1
        return 0 if "passed" in statuses else 5

    def to_json(self) -> str:
        """Return it as JSON text."""
        body = {
            "model": self.report.model.name,
            "baseline": self.baseline,
            "exit_code": self.exit_code(),
            "gates": [verdict.model_dump(mode="json") for verdict in self.verdicts],
            "broken": {f"{result.probe} on {result.dataset}": result.reason for result in self.broken},
        }
        return json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def text(self) -> str:
        """Return it for a terminal: what did not pass, and how many did."""
        return safe("\n".join(self._lines()))

    def headline(self) -> str:
        """Return the outcome in one line."""
        count = Counter(verdict.status for verdict in self.verdicts)
        against = f" against {self.baseline}" if self.baseline else ""
        counted = ", ".join(f"{count[status]} {status}" for status in ("failed", "broken", "skipped", "passed") if count[status])
        return f"{self.report.model.name}{against}: " + (
            f"of {len(self.verdicts)} gates {counted}" if counted else "no gate, nothing was judged"
        )

    def _lines(self) -> Iterator[str]:
        for result in self.broken:
            yield f"BROKEN  {result.probe} on {result.dataset}: {result.reason}"
        few = [v for v in self.verdicts if v.status in {"failed", "broken"}] if self.baseline else list(self.verdicts)
        yield from gate_lines(few)
        yield self.headline()


def read(path: Path) -> Gates:
    """Read a gates file.

    Raises:
        LidiagError: it cannot be read, is no TOML, says nothing, or something else than gates.
    """
    try:
        gates = Gates.model_validate(strict_toml.read(path, "The file of gates", "Mend the line it names."))
    except ValidationError as error:
        raise LidiagError(
            f"The gates {path} are not valid: {explain(error)}.", "A file of gates holds [[gates]] and [[regressions]]."
        ) from error
    if not gates.gates and not gates.regressions:
        raise LidiagError(f"The gates {path} name no gate.", "Write at least one [[gates]] or [[regressions]].")
    return gates


def judge(now: Side, baseline: Side | None = None, gates: Gates | None = None) -> Judgement:
    """Judge a report: by `gates`, or else by its suites' own and, with a baseline, by no regression anywhere.

    Raises:
        LidiagError: the baseline did not measure the same things, or a regression is asked for without one.
    """
    if baseline is not None:
        refuse_incomparable(baseline, now)
    if gates is not None and gates.regressions and baseline is None:
        raise LidiagError("A gate on a regression needs something to compare with.", "Name it with --baseline.")
    verdicts: list[Verdict] = []
    own = [Gate.model_validate(verdict.model_dump(include=set(Gate.model_fields))) for verdict in now.report.gates]
    bounds = list(dict.fromkeys(map(_frozen, own))) if gates is None else [_frozen(g) for g in gates.gates]
    for data in now.report.data:
        judged = [result.judged() for result in now.report.results if result.dataset == data.name]
        verdicts += [gate.judge(Gate.model_validate_json(bound), judged, data.name) for bound in bounds]
        if baseline is not None and gates is None:
            verdicts += regression.judge_all(now, baseline, data.name)
        elif baseline is not None and gates is not None:
            verdicts += regression.judge(gates.regressions, now, baseline, data.name)
    return Judgement(now.report, tuple(verdicts), None if baseline is None else baseline.name)


def _frozen(bound: Gate) -> str:
    # A gate holds a dict of coordinates, so it cannot be hashed; its JSON can.
    return bound.model_dump_json()
