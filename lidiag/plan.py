"""The plan of a run: what it measures on what, and the name of every piece of its work. No torch here."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lidiag.card import ModelCard
from lidiag.report import Environment, SuiteUsed
from lidiag.suite import Suite


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PlannedProbe(_Part):
    """One probe as it will be measured."""

    name: str
    version: int
    parameters: dict[str, Any]
    once: bool = Field(description="it makes its own data, and is measured once in a run over several collections")


class PlannedData(_Part):
    """One collection as it was found."""

    name: str
    fingerprint: str


class Plan(_Part):
    """All that a report depends on, but for the figures themselves."""

    lidiag: str
    code: str = Field(description="SHA-256 of lidiag's own source")
    model: ModelCard
    suites: tuple[Suite, ...]
    probes: tuple[PlannedProbe, ...]
    data: tuple[PlannedData, ...]
    seed: int
    limit: int | None
    environment: Environment

    @property
    def used(self) -> tuple[SuiteUsed, ...]:
        """The suites as a report names them."""
        return tuple(SuiteUsed(name=suite.name, version=suite.version, digest=suite.digest) for suite in self.suites)

    def key(self, collection: int, probe: int | None) -> str:
        """Return the SHA-256 of all that the figures of a probe on a collection (their numbers) depend on; without a probe, of the collection.

        The number of threads is among them: a training step, or a covariance, is summed up in another order with another number.
        """
        environment = self.environment.model_dump(mode="json", include={"versions", "device", "dtype", "threads", "plan"})
        body = {
            "code": self.code,
            "model": self.model.model_dump(mode="json"),
            "seed": self.seed,
            "limit": self.limit,
            "environment": environment,
            "data": self.data[collection].model_dump(mode="json"),
            "probe": None if probe is None else self.probes[probe].model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode()).hexdigest()

    def unit(self, collection: int, probe: int) -> int:
        """Return the number of a piece of work, by which shares are dealt out."""
        return probe if self.probes[probe].once else collection * len(self.probes) + probe

    @property
    def digest(self) -> str:
        """SHA-256 of what is measured on what: shares of one run agree in it."""
        keys = [self.key(i, j) for i in range(len(self.data)) for j in range(len(self.probes))]
        return hashlib.sha256(json.dumps([keys, [suite.digest for suite in self.suites]]).encode()).hexdigest()
