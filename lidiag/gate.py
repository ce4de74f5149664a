"""A gate: a bound on a measurement, and its verdict. A probe measures; a gate judges. No torch here."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lidiag.measurement import Coordinate, Measurement

End = Literal["value", "low", "high"]
Status = Literal["passed", "failed", "skipped", "broken"]

_HOLDS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


class Place(BaseModel):
    """Where a number stands: a measurement's name and coordinates, and which end of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe: str
    name: str
    at: dict[str, Coordinate] = Field(default_factory=dict)
    of: End = "value"

    def __str__(self) -> str:
        """Print as `probe name[pooling=maxsim] (low)`."""
        at = ", ".join(f"{key}={value}" for key, value in self.at.items())
        return f"{self.probe} {self.name}" + (f"[{at}]" if at else "") + (f" ({self.of})" if self.of != "value" else "")


class Gate(Place):
    """A bound that a measurement must keep: a number, or another measurement of the same report (a control)."""

    op: Literal[">=", "<=", ">", "<"]
    bound: float | Place
    margin: float = Field(default=0.0, ge=0, description="how much worse than the bound is still accepted (non-inferiority)")
    reason: str = Field(description="why this bound")


class Verdict(Gate):
    """A gate's outcome on one dataset; only `passed` is a pass."""

    dataset: str
    status: Status
    observed: float | None = None
    limit: float | None = Field(None, description="the number that the bound came to")
    why: str = ""


class Judged(BaseModel):
    """What a gate needs to know of one probe's result."""

    probe: str
    status: Status
    reason: str
    measurements: Sequence[Measurement]


def judge(gate: Gate, results: Sequence[Judged], dataset: str) -> Verdict:
    """Judge one gate by the results of one dataset.

    A gate on something that was not measured is `broken`; if its probe was skipped, the gate is skipped with the same reason.
    """

    def verdict(status: Status, why: str, observed: float | None = None, limit: float | None = None) -> Verdict:
        return Verdict(**dict(gate), dataset=dataset, status=status, why=why, observed=observed, limit=limit)

    observed = _look_up(gate, results)
    if isinstance(observed, _Missing):
        return verdict(observed.status, observed.why)
    bound = _look_up(gate.bound, results) if isinstance(gate.bound, Place) else gate.bound
    if isinstance(bound, _Missing):
        return verdict(bound.status, bound.why, observed)
    limit = bound - gate.margin if gate.op in {">", ">="} else bound + gate.margin
    holds = _HOLDS[gate.op](observed, limit)
    return verdict("passed" if holds else "failed", "", observed, limit)


class _Missing(BaseModel):
    status: Status
    why: str


def _look_up(place: Place, results: Sequence[Judged]) -> float | _Missing:
    result = next((result for result in results if result.probe == place.probe), None)
    if result is None:
        return _Missing(status="broken", why=f"the probe {place.probe} did not run")
    if result.status in {"skipped", "broken"}:
        return _Missing(status=result.status, why=f"{place.probe} was {result.status}: {result.reason}")
    found = next((m for m in result.measurements if m.name == place.name and m.at == place.at), None)
    if found is None:
        return _Missing(status="broken", why=f"{place} was not measured")
    number = getattr(found, place.of)
    if number is None:
        return _Missing(status="broken", why=f"{place} does not exist: {found.no_interval}")
    return number
