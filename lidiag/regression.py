"""A regression gate: how much worse than its baseline a measurement may get, judged query by query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from lidiag import values
from lidiag.compare import Side
from lidiag.gate import Status, Verdict
from lidiag.measurement import Coordinate, Measurement
from lidiag.ranking import on_common_queries, pseudo_values
from lidiag.samples import Key
from lidiag.stats import benjamini_hochberg
from lidiag.terminal import number

_ROUNDING = 1e-12
_POWER = 0.8
MOST = 0.01
CONFIDENCE = 0.99
"""Of the gates that a baseline sets by itself: chosen so that an unchanged model fails none of them 99 times in 100."""


class Regression(BaseModel):
    """A measurement that may not get worse by more than `most`.

    It fails where more is shown with `confidence` (one-sided, paired by query); a `strict` one fails unless more is excluded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe: str
    name: str
    at: dict[str, Coordinate] = Field(default_factory=dict)
    most: float = Field(default=MOST, ge=0, allow_inf_nan=False)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    strict: bool = False
    reason: str = ""

    def rule(self) -> str:
        """Say the gate in words."""
        how = "shown to be no worse than that" if self.strict else "more is shown"
        percent = f"{100 * self.confidence:g} % confidence"
        rule = f"may not get worse than the baseline by more than {self.most:g}: {'must be ' if self.strict else 'fails where '}{how} with {percent}"
        return f"{rule}. {self.reason}".strip() if self.reason else f"{rule}."


@dataclass(frozen=True)
class _Fall:
    """How much worse one measurement got, over (units,) paired queries; `p` that it is at most what is allowed."""

    regression: Regression
    dataset: str
    now: float
    before: float
    mean: float
    error: float
    units: int
    sign: float

    def p(self) -> float:
        """Return the one-sided p of a fall by no more than `most`: small where more is shown."""
        excess = self.mean - self.regression.most
        if self.error == 0:
            return 0.0 if excess > 0 else 1.0
        return float(special.stdtr(self.units - 1, -excess / self.error))


def judge(regressions: Sequence[Regression], now: Side, baseline: Side, dataset: str) -> list[Verdict]:
    """Judge the user's gates one by one, each at its own confidence."""
    made: list[Verdict] = []
    for regression in regressions:
        fall = _fall(regression, now, baseline, dataset)
        made.append(fall if isinstance(fall, Verdict) else _verdict(fall, fall.p()))
    return made


def judge_all(now: Side, baseline: Side, dataset: str) -> list[Verdict]:
    """Judge every measurement of which one end is better, at 99 % over all of them together (Benjamini-Hochberg)."""
    falls = [_fall(regression, now, baseline, dataset) for regression in _every(baseline, dataset)]
    judged = [fall for fall in falls if isinstance(fall, _Fall)]
    adjusted = benjamini_hochberg([fall.p() for fall in judged]).tolist() if judged else []
    made = [_verdict(fall, p) for fall, p in zip(judged, adjusted, strict=True)]
    return made + [fall for fall in falls if isinstance(fall, Verdict)]


def _every(baseline: Side, dataset: str) -> Iterator[Regression]:
    for result in baseline.report.results:
        for m in result.measurements if result.dataset == dataset else ():
            if m.better != "neither":
                yield Regression(probe=result.probe, name=m.name, at=m.at, confidence=CONFIDENCE)


class _UnjudgedError(Exception):
    """Why a gate has no verdict of its own."""

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status: Status = status
        self.why = why


def _fall(regression: Regression, now: Side, baseline: Side, dataset: str) -> _Fall | Verdict:
    try:
        return _paired(regression, now, baseline, dataset)
    except _UnjudgedError as unjudged:
        return Verdict(
            probe=regression.probe, name=regression.name, at=regression.at, op=">=", bound=0.0, reason=regression.rule(), dataset=dataset,
            status=unjudged.status, why=unjudged.why, observed=None, limit=None,
        )  # fmt: skip


def _paired(regression: Regression, now: Side, baseline: Side, dataset: str) -> _Fall:
    before = _measurement(baseline, regression, dataset, "the baseline")
    after = _measurement(now, regression, dataset, "this report")
    if after.better == "neither":
        raise _UnjudgedError("broken", f"neither end of {regression.name} is better, so it cannot get worse: use a bound")
    if after.aggregate is None:
        raise _UnjudgedError("skipped", "it has no values by query, so no difference can be judged: use a bound")
    key = Key(dataset, regression.probe, regression.name, values.coordinates(regression.at))
    then, there = baseline.samples.get(key), now.samples.get(key)
    if then is None or there is None:
        raise _UnjudgedError("broken", "its values by query are missing")
    x, y = on_common_queries([then, there])
    if len(y.values) < len(then.values):
        raise _UnjudgedError("broken", f"{len(then.values) - len(y.values)} of the baseline's queries were not measured")
    sign = 1.0 if after.better == "higher" else -1.0
    falls = sign * (pseudo_values(x) - pseudo_values(y))
    if len(falls) == 1:
        raise _UnjudgedError("broken", "one unit shows no spread")
    error = float(falls.std(ddof=1) / np.sqrt(len(falls)))
    error = 0.0 if error <= _ROUNDING * float(np.abs(falls).max()) else error
    return _Fall(regression, dataset, after.value, before.value, float(falls.mean()), error, len(falls), sign)


def _measurement(side: Side, place: Regression, dataset: str, whose: str) -> Measurement:
    result = next((r for r in side.report.results if r.probe == place.probe and r.dataset == dataset), None)
    if result is None:
        raise _UnjudgedError("broken", f"{place.probe} did not run in {whose}")
    if result.status in {"skipped", "broken"}:
        raise _UnjudgedError("broken", f"{place.probe} was {result.status} in {whose}: {result.reason}")
    found = next((m for m in result.measurements if m.name == place.name and m.at == place.at), None)
    if found is None:
        raise _UnjudgedError("broken", f"not measured in {whose}")
    return found


def _verdict(fall: _Fall, p: float) -> Verdict:
    regression = fall.regression
    shown = p < 1 - regression.confidence
    excluded = p > regression.confidence
    failed = not excluded if regression.strict else shown
    reach = float(special.stdtrit(fall.units - 1, regression.confidence)) * fall.error
    detectable = regression.most + reach + float(special.ndtri(_POWER)) * fall.error
    moved = "fell" if fall.sign > 0 else "rose"
    why = f"{moved} by {number(fall.mean)}, {number(fall.before)} before; one-sided bounds {number(fall.mean - reach)} and {number(fall.mean + reach)}"
    if not regression.strict:
        why += f"; judged alone, {fall.units} units show a change for the worse of {number(detectable)} four times in five"
    limit = fall.before - fall.sign * regression.most
    return Verdict(
        probe=regression.probe, name=regression.name, at=regression.at, op=">=" if fall.sign > 0 else "<=", bound=limit, reason=regression.rule(),
        dataset=fall.dataset, status="failed" if failed else "passed", observed=fall.now, limit=limit, why=why,
    )  # fmt: skip
