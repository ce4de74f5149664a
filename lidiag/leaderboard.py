"""The leaderboard's folder: filing submissions, checking it, and what is drawn from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from lidiag import samples as stored
from lidiag import stats, values
from lidiag.errors import LidiagError
from lidiag.files import write_atomically
from lidiag.measurement import Measurement
from lidiag.ranking import on_common_queries, pseudo_values, ranks
from lidiag.report import DataUsed, Report, Result
from lidiag.samples import Key, Sample
from lidiag.submission import Submission, is_share, verify
from lidiag.suite import Suite
from lidiag.terminal import where

DRAWN = {"README.md", "index.html", "leaderboard.json", "leaderboard.csv"}
"""Files that `build` writes, and `check` therefore expects."""

_FILED = {"report.json", "values.parquet"}
_MANY = 100  # submissions that are worth starting processes for
_LEVELS = 4  # <suite>-v<N>/<org>__<model>/<revision>/<file>


@dataclass(frozen=True)
class Column:
    """A headline measurement: a probe's primary number, or one that the suite has a gate on; `at` is its coordinates as sorted JSON."""

    probe: str
    version: int
    name: str
    at: str
    better: str

    def __str__(self) -> str:
        """Print as the head of a table's column, leaving out the pooling that every model has."""
        found = {key: value for key, value in json.loads(self.at).items() if (key, value) != ("pooling", "maxsim")}
        return f"{self.probe} {self.name}" + (f" ({where(found)})" if found else "")

    def key(self, dataset: str) -> Key:
        """Return where its values by query are."""
        return Key(dataset, self.probe, self.name, self.at)


@dataclass(frozen=True)
class Cell:
    """A number, recomputed from its values by query."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """One submission on one collection; without a rank where it answered fewer queries than others."""

    submission: Submission
    rank: int | None
    cells: dict[Column, Cell]
    gates: dict[str, int]


@dataclass(frozen=True)
class Board:
    """The submissions to one suite on one collection, best first."""

    suite: str
    data: DataUsed
    columns: tuple[Column, ...]
    by: Column | None
    rows: tuple[Row, ...]


def submit(path: Path, folder: Path, suites: Mapping[str, Suite]) -> Path:
    """Verify a report and file it with its values; return where.

    Raises:
        LidiagError: it is not acceptable, or another report stands there already.
    """
    submission = verify(path, suites)
    to = folder / submission.place
    if (to / "report.json").exists():
        raise LidiagError(f"{to} holds a report already.", "Remove it first if this one is to take its place.")
    source = path / "report.json" if path.is_dir() else path
    write_atomically(to / "values.parquet", lambda temporary: shutil.copyfile(stored.beside(source), temporary) and None)
    write_atomically(to / "report.json", lambda temporary: shutil.copyfile(source, temporary) and None)
    return to


def check(folder: Path, suites: Mapping[str, Suite]) -> tuple[list[Submission], list[str]]:
    """Verify everything in a leaderboard's folder; return the submissions, cut to what a board shows, and the faults. Nothing in it is run.

    Raises:
        LidiagError: there is no such folder.
    """
    if not folder.is_dir():
        raise LidiagError(f"{folder} is no folder.", "Name the leaderboards' folder.")
    faults: list[str] = []
    accepted: list[Submission] = []
    places: list[Path] = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_symlink():
            faults.append(f"{inside} is a symbolic link")
        elif path.is_file():
            if len(inside.parts) == _LEVELS and inside.name in _FILED:
                places += [path.parent] if inside.name == "report.json" else []
            elif inside.name not in DRAWN:
                faults.append(f"{inside} does not belong into a leaderboard")
    for place, outcome in zip(places, _verified(places, suites), strict=True):
        if isinstance(outcome, str):
            faults.append(outcome)
        elif folder / outcome.place != place:
            faults.append(f"{place.relative_to(folder)} should lie in {outcome.place}")
        else:
            accepted.append(outcome)
    return accepted, faults


def _verified(places: Sequence[Path], suites: Mapping[str, Suite]) -> Sequence[Submission | str]:
    """Verify each, by several processes where there are many."""
    verify_one = partial(_verify, suites=dict(suites))
    if len(places) < _MANY:
        return [verify_one(place) for place in places]
    # Not by forking: pyarrow has threads.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return list(pool.map(verify_one, places, chunksize=16))


def _verify(place: Path, suites: Mapping[str, Suite]) -> Submission | str:
    """Return the fault, or the submission cut to what a board shows, so that thousands fit into memory."""
    try:
        submission = verify(place, suites)
    except LidiagError as error:
        return str(error)
    kept = {column.key(data.name) for data in submission.report.data for column in _headlines(submission.report, data.name)}
    results = [
        result.model_copy(update={
            "measurements": tuple(m for m in result.measurements if Key(result.dataset, result.probe, m.name, values.coordinates(m.at)) in kept),
            "findings": (), "formulas": {},
        })
        for result in submission.report.results
    ]  # fmt: skip
    report = submission.report.model_copy(update={"results": tuple(results)})
    return Submission(report, {key: submission.samples[key] for key in kept})


def boards(submissions: list[Submission]) -> Iterator[Board]:
    """Yield one board per suite and collection, by name; a collection with another fingerprint is another one."""
    groups: dict[tuple[str, str, str], list[tuple[Submission, DataUsed]]] = {}
    for submission in submissions:
        suite = submission.report.suites[0]
        for data in submission.report.data:
            groups.setdefault((f"{suite.name}-v{suite.version}", data.name, data.fingerprint), []).append((submission, data))
    for (suite, _, _), members in sorted(groups.items()):
        yield _board(suite, members)


def _board(suite: str, members: list[tuple[Submission, DataUsed]]) -> Board:
    data = members[0][1]
    headlines = [list(_headlines(submission.report, data.name)) for submission, _ in members]
    columns = tuple(dict.fromkeys(column for headline in headlines for column in headline))
    by = next((column for column in columns if column.probe == "retrieval" and column.name == "nDCG@10"), None)
    places = _places(members, headlines, by, data.name)
    rows = [
        Row(
            submission,
            places[i],
            {column: _cell(column, submission.samples[column.key(data.name)]) for column in headlines[i]},
            _gates(submission, data.name),
        )
        for i, (submission, _) in enumerate(members)
    ]

    def order(row: Row) -> tuple[float, float, str]:
        value = row.cells[by].value if by in row.cells else -np.inf
        return (row.rank or np.inf, -value, row.submission.report.model.name)

    return Board(suite, data, columns, by, tuple(sorted(rows, key=order)))


def _headlines(report: Report, dataset: str) -> Iterator[Column]:
    gated = {(gate.probe, gate.name, values.coordinates(gate.at)) for gate in report.gates}
    for result in report.results:
        primary = _primary(result)
        for m in result.measurements if result.dataset == dataset else ():
            at = values.coordinates(m.at)
            if m.aggregate is not None and (m is primary or (result.probe, m.name, at) in gated):
                yield Column(result.probe, result.version, m.name, at, m.better)


def _primary(result: Result) -> Measurement | None:
    """Return the probe's primary number for the whole collection, by MaxSim or the first pooling it has; None where it takes more to say which."""
    named = [m for m in result.measurements if m.name == result.primary and set(m.at) <= {"pooling"}]
    return next((m for m in named if m.at.get("pooling") == "maxsim"), named[0] if named else None)


def _places(members: list[tuple[Submission, DataUsed]], headlines: list[list[Column]], by: Column | None, dataset: str) -> list[int | None]:
    """Rank those that answered the most queries; the others have no rank, since fewer queries would be another test."""
    places: list[int | None] = [None] * len(members)
    if by is None:
        return places
    key = by.key(dataset)
    found = {i: submission.samples[key] for i, (submission, _) in enumerate(members) if by in headlines[i]}
    most = max(len(sample.values) for sample in found.values())
    full = [i for i, sample in found.items() if len(sample.values) == most]
    common = on_common_queries([found[i] for i in full])
    if len(common[0].values) == most:
        for i, rank in zip(full, ranks(np.stack([pseudo_values(sample) for sample in common], axis=1)).tolist(), strict=True):
            places[i] = rank
    return places


def _cell(column: Column, sample: Sample) -> Cell:
    if sample.base is None:
        estimate = stats.mean_interval(sample.values, clusters=sample.clusters, share=is_share(column.name))
    else:
        estimate = stats.ratio_interval(sample.values, sample.base, clusters=sample.clusters)
    return Cell(estimate.value, estimate.low, estimate.high, estimate.n)


def _gates(submission: Submission, dataset: str) -> dict[str, int]:
    statuses = [gate.status for gate in submission.report.gates if gate.dataset == dataset]
    return {status: statuses.count(status) for status in ("passed", "failed", "skipped") if status in statuses}
