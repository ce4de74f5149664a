"""A published claim beside what was measured here, and whether it holds. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lidiag.card import ModelCard
from lidiag.gate import Judged
from lidiag.measurement import Coordinate, Measurement

Word = Literal["holds", "does not hold", "cannot tell", "not tested"]


class Measured(BaseModel):
    """Which measurement speaks about a claim."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe: str
    name: str
    at: dict[str, Coordinate] = Field(default_factory=dict)

    def __str__(self) -> str:
        """Print as `probe name[pooling=maxsim]`."""
        at = ", ".join(f"{key}={value}" for key, value in self.at.items())
        return f"{self.probe} {self.name}" + (f"[{at}]" if at else "")


class Claim(BaseModel):
    """What a paper says, and the measurement, with its bound, by which that is judged here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str
    source: str
    published: str = Field(description="the number or the words that were published")
    measured: Measured | None = Field(None, description="null where nothing here can test it")
    op: Literal[">", "<", "near"] | None = None
    bound: float | None = None
    margin: float = Field(0.0, ge=0, description="how far from the bound is still near")
    attention: Literal["causal", "bidirectional"] | None = Field(None, description="the kind of models it is about, by their card")
    models: tuple[str, ...] = Field((), description="the checkpoints it was published for; on another one it is measured but not tested")
    untested: str = Field("", description="why it cannot be tested, where it cannot")

    @model_validator(mode="after")
    def _is_judged_or_says_why_not(self) -> Self:
        judged = (self.measured, self.op, self.bound)
        if self.untested and (self.op or self.bound is not None):
            raise ValueError("a claim that is not tested has no bound")
        if not self.untested and None in judged:
            raise ValueError("a claim names what is measured, op and bound, or says in `untested` why it cannot be tested")
        return self


class ClaimVerdict(Claim):
    """A claim's outcome in one run."""

    dataset: str = ""
    verdict: Word
    why: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None


def judge(claim: Claim, results: Sequence[tuple[str, Judged]], model: ModelCard) -> list[ClaimVerdict]:
    """Judge a claim by the results of (dataset, probe): once for every dataset on which its probe measured, at least once.

    `>` and `<`: holds where the whole interval lies on the claimed side of the bound, does not hold where it lies on the
    other. `near`: holds where it lies within the margin of the bound, does not hold where it lies outside. Else the run
    cannot tell. A value without an interval is judged by itself. Rule: ours.
    """

    def verdict(word: Word, why: str, dataset: str = "", found: Measurement | None = None) -> ClaimVerdict:
        seen: dict[str, Any] = {} if found is None else {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
        return ClaimVerdict(**dict(claim), dataset=dataset, verdict=word, why=why, **seen)

    if claim.measured is None:
        return [verdict("not tested", claim.untested)]
    of_probe = [(dataset, result) for dataset, result in results if result.probe == claim.measured.probe]
    ran = [(dataset, result) for dataset, result in of_probe if result.status in {"passed", "failed"}]
    if not ran:
        status = f"was {of_probe[0][1].status}: {of_probe[0][1].reason}" if of_probe else "did not run"
        return [verdict("not tested", f"{claim.measured.probe} {status}")]
    verdicts: list[ClaimVerdict] = []
    for dataset, result in ran:
        found = next((m for m in result.measurements if (m.name, m.at) == (claim.measured.name, claim.measured.at)), None)
        if found is None:
            verdicts.append(verdict("not tested", f"{claim.measured} was not measured", dataset))
        elif claim.untested:
            verdicts.append(verdict("not tested", claim.untested, dataset, found))
        elif other := _about_others(claim, model):
            verdicts.append(verdict("not tested", other, dataset, found))
        else:
            verdicts.append(verdict(_word(claim, found), "" if found.low is not None else found.no_interval or "", dataset, found))
    return verdicts


def _about_others(claim: Claim, model: ModelCard) -> str:
    if claim.models and model.name not in claim.models:
        return f"published for {' and '.join(claim.models)}, and this is {model.name}"
    if claim.attention and model.attention != claim.attention:
        return f"it is about {claim.attention} models, and this one's attention is {model.attention}"
    return ""


def _word(claim: Claim, found: Measurement) -> Word:
    low, high = (found.value, found.value) if found.low is None or found.high is None else (found.low, found.high)
    bound, margin = claim.bound or 0.0, claim.margin
    if claim.op == ">":
        return "holds" if low > bound else "does not hold" if high <= bound else "cannot tell"
    if claim.op == "<":
        return "holds" if high < bound else "does not hold" if low >= bound else "cannot tell"
    least, most = bound - margin, bound + margin
    if least <= low and high <= most:
        return "holds"
    return "does not hold" if high < least or low > most else "cannot tell"
