"""What is finished of a run, kept on disk piece by piece until the report is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lidiag import strict_json, tensor_files
from lidiag.errors import LidiagError
from lidiag.files import sha256, write_atomically, write_text
from lidiag.findings import Findings, PerQuery
from lidiag.measurement import Coordinate
from lidiag.plan import Plan
from lidiag.report import DataUsed, Result
from lidiag.request import Shard
from lidiag.suite import explain

FOLDER = "parts"
"""The folder, within a run's, that holds what is finished until the report is written."""

_LARGEST = 256 * 2**20


class _Place(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    at: dict[str, Coordinate]
    ratio: bool


class _Told(BaseModel):
    """What the JSON of a piece says; its numbers by query lie beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    result: Result
    queries: list[str]
    per_query: list[_Place]
    sha256: str


class DataPart(BaseModel):
    """A collection as it was measured, and what of its encoding may have moved the last digits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    used: DataUsed
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """One probe's result on one collection, with its values by query; no gate has judged it yet."""

    result: Result
    findings: Findings


@dataclass
class Parts:
    """A folder of finished pieces of runs, each under the digest of all that it depends on.

    A damaged piece counts as missing; `damaged` names such.
    """

    folder: Path
    plan: Plan
    damaged: list[str] = field(default_factory=list)

    def keep(self, collection: int, probe: int, kept: Kept) -> None:
        """Keep a result, whole or not at all.

        Raises:
            LidiagError: the disk refuses.
        """
        path = self._path(collection, probe)
        tensors = path.with_suffix(".safetensors")
        write_atomically(tensors, lambda temporary: temporary.write_bytes(save(_arrays(kept.findings))))
        told = _Told(
            result=kept.result,
            queries=list(kept.findings.queries),
            per_query=[_Place(name=item.name, at=dict(item.at), ratio=item.base is not None) for item in kept.findings.per_query],
            sha256=sha256(tensors),
        )
        _write(path, told)

    def find(self, collection: int, probe: int) -> Kept | None:
        """Return a result that was kept."""
        path = self._path(collection, probe)
        told = self._read(path, _Told)
        if told is None:
            return None
        tensors = path.with_suffix(".safetensors")
        try:
            if sha256(tensors) == told.sha256:
                tensor_files.check_safetensors(tensors)
                return Kept(told.result, _findings(told, load(tensors.read_bytes())))
        except (OSError, ValueError, KeyError, SafetensorError, LidiagError):
            pass
        self.damaged.append(tensors.name)
        return None

    def keep_data(self, collection: int, part: DataPart) -> None:
        """Keep what is to be said of a collection.

        Raises:
            LidiagError: the disk refuses.
        """
        _write(self._path(collection, None), part)

    def find_data(self, collection: int) -> DataPart | None:
        """Return what was kept of a collection."""
        return self._read(self._path(collection, None), DataPart)

    def paths(self, collection: int, probe: int) -> list[Path]:
        """Return the files of a result and of its collection, what seals the others last."""
        path = self._path(collection, probe)
        return [self._path(collection, None), path.with_suffix(".safetensors"), path]

    def keep_plan(self, shard: Shard) -> None:
        """Say that a share is done, and of what run it is."""
        _write(self.folder / f"share-{shard.number}-of-{shard.of}-{self.plan.digest[:16]}.json", self.plan)

    def _path(self, collection: int, probe: int | None) -> Path:
        name = "collection" if probe is None else self.plan.probes[probe].name
        return self.folder / f"{name}-{self.plan.key(collection, probe)[:24]}.json"

    def _read(self, path: Path, kind: type[Any]) -> Any:
        if not path.exists():
            return None
        try:
            return kind.model_validate(strict_json.read(path, _LARGEST, "a piece of a run", "Delete it."))
        except (LidiagError, ValidationError):
            self.damaged.append(path.name)
            return None


def plans(folder: Path) -> list[Plan]:
    """Return the plans of the shares that are done in a folder, by the names of their files.

    Raises:
        LidiagError: one is damaged.
    """
    found: list[Plan] = []
    for path in sorted(folder.glob("share-*-of-*.json")):
        try:
            found.append(Plan.model_validate(strict_json.read(path, _LARGEST, "the plan of a share", "Run this share again.")))
        except ValidationError as error:
            raise LidiagError(f"{path} is not the plan of a share: {explain(error)}.", "Run this share again.") from error
    return found


def _write(path: Path, body: BaseModel) -> None:
    write_text(path, json.dumps(body.model_dump(mode="json"), allow_nan=False, ensure_ascii=False))


def _arrays(findings: Findings) -> dict[str, NDArray[Any]]:
    """Stack values and bases as (measurements, queries); a missing base is NaN throughout."""
    nothing = np.full(len(findings.queries), np.nan)
    arrays: dict[str, NDArray[Any]] = {
        "values": _stack([item.values for item in findings.per_query], len(nothing)),
        "bases": _stack([nothing if item.base is None else item.base for item in findings.per_query], len(nothing)),
    }
    return arrays if findings.clusters is None else arrays | {"clusters": findings.clusters.astype(np.int64)}


def _stack(rows: Sequence[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    return np.stack(rows) if rows else np.empty((0, width))


def _findings(told: _Told, arrays: dict[str, NDArray[Any]]) -> Findings:
    per_query = [
        PerQuery(place.name, place.at, arrays["values"][i], arrays["bases"][i] if place.ratio else None)
        for i, place in enumerate(told.per_query)
    ]
    result = told.result
    return Findings(told.queries, arrays.get("clusters"), list(result.measurements), list(result.findings), per_query)
