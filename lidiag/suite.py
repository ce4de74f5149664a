"""A suite: which probes run, with which parameters, and which gates must hold. Read from TOML; no torch here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lidiag import strict_toml
from lidiag.claim import Claim
from lidiag.errors import LidiagError
from lidiag.gate import Gate

Parameter = str | int | float | bool | list[str] | list[int] | list[float]


class Step(BaseModel):
    """One probe with its parameters; what is not given keeps the probe's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe: str
    parameters: dict[str, Parameter] = Field(default_factory=dict)


class Suite(BaseModel):
    """Steps, gates and claims under a name and a version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    version: int = Field(ge=1)
    description: str
    data: tuple[str, ...] = Field((), description="the collections it runs on where none is named; without any, the model decides")
    steps: tuple[Step, ...] = Field(min_length=1)
    gates: tuple[Gate, ...] = ()
    claims: tuple[Claim, ...] = ()
    models: tuple[str, ...] = Field((), description="the checkpoints that the suite was written for")

    @property
    def digest(self) -> str:
        """SHA-256 over everything but the description: equal digests ask the same questions."""
        body = self.model_dump(mode="json", exclude={"description"})
        return hashlib.sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode()).hexdigest()


def read(path: Path) -> Suite:
    """Read a suite's file.

    Raises:
        LidiagError: it cannot be read, is no TOML, or does not say what a suite says.
    """
    try:
        return Suite.model_validate(strict_toml.read(path, "The suite", "Mend the line it names."))
    except ValidationError as error:
        raise LidiagError(f"The suite {path} is not valid: {explain(error)}.", "See suites/robustness.toml for an example.") from error


def explain(error: ValidationError, most: int = 3) -> str:
    """Say in one line what pydantic found, with the place of each fault."""
    places = [".".join(str(part)[:60] for part in fault["loc"]) or "the whole" for fault in error.errors()[:most]]
    faults = [f"{place[:200]}: {fault['msg'].lower()[:200]}" for place, fault in zip(places, error.errors(), strict=False)]
    more = error.error_count() - len(faults)
    return "; ".join(faults) + (f"; and {more} more" if more > 0 else "")
