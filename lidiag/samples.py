"""The values by query of a report, read back: bounded before they are read, since a submission may come from anyone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lidiag import parquet_pages, values
from lidiag.errors import LidiagError
from lidiag.files import sha256
from lidiag.report import Report

_MOST_BYTES = 512 * 2**20
_MOST_ROWS = 20_000_000
_MOST_UNPACKED = 2**30
_MOST_PARTS = 10_000  # row groups, or entries of any other list in the file's directory
_LONGEST = {"dataset": 256, "probe": 64, "name": 128, "at": 1024, "query": 512}
_TEXT = tuple(_LONGEST)
_MOST_PLACES = 2**62
_NEXT = "It is not as lidiag wrote it: run again, or take the file of that run."


class Key(NamedTuple):
    """Which measurement: `at` is its coordinates as sorted JSON."""

    dataset: str
    probe: str
    name: str
    at: str


@dataclass(frozen=True)
class Sample:
    """One measurement's values by query: (n,) each; `base` of a ratio; `clusters` where queries are not independent."""

    queries: NDArray[np.object_]
    values: NDArray[np.float64]
    base: NDArray[np.float64] | None
    clusters: NDArray[np.int64] | None


def beside(report: Path) -> Path:
    """Return the path of the values that belong to a report or its folder."""
    return (report if report.is_dir() else report.parent) / "values.parquet"


def read(path: Path, report: Report) -> dict[Key, Sample]:
    """Read the values that `report` names, by measurement.

    Raises:
        LidiagError: the file is missing, is not the one the report names, is too large, or is not what a run writes.
    """
    table = _table(path, report)
    return {} if not len(table) else dict(_grouped(path, table))


def _table(path: Path, report: Report) -> Any:
    try:
        if path.is_symlink() or not path.is_file():
            raise LidiagError(f"The values by query are missing: {path} is no file.", "They lie beside report.json: keep both together.")
        if path.stat().st_size > _MOST_BYTES:
            raise LidiagError(f"{path} has {path.stat().st_size:,} bytes, above the {_MOST_BYTES:,} allowed.", _NEXT)
        if sha256(path) != report.values.sha256:
            raise LidiagError(
                f"{path} is not the file that its report names: the SHA-256 differs.", "Keep the two files of one run together."
            )
        _refuse_unbounded(path, report)
        # Text as dictionaries: each word is held once, whatever the number of rows that repeat it.
        file = pq.ParquetFile(
            path, read_dictionary=list(_TEXT), thrift_string_size_limit=2**20, thrift_container_size_limit=_MOST_PARTS
        )  # fmt: skip
        _refuse_other_columns(path, file)
        table = file.read()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise LidiagError(f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}.", _NEXT) from error
    if len(table) != report.values.rows:
        raise LidiagError(f"{path} has {len(table):,} rows, and its report says {report.values.rows:,}.", _NEXT)
    return table


def _refuse_unbounded(path: Path, report: Report) -> None:
    """Judge by the file's own directory and pages, before anything of it is unpacked."""
    rows = parquet_pages.size(path, _MOST_UNPACKED).rows
    if rows > _MOST_ROWS or rows != report.values.rows:
        raise LidiagError(f"{path} has {rows:,} rows; its report says {report.values.rows:,}, and {_MOST_ROWS:,} are allowed.", _NEXT)


def _refuse_other_columns(path: Path, file: pq.ParquetFile) -> None:
    found = {(field.name, str(_plain(field.type))) for field in file.schema_arrow}
    wanted = {(field.name, str(_plain(field.type))) for field in values.COLUMNS}
    if found != wanted:
        raise LidiagError(f"{path} has other columns than it should: {sorted(found ^ wanted)}.", _NEXT)


def _plain(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _grouped(path: Path, table: Any) -> Mapping[Key, Sample]:
    codes: dict[str, NDArray[np.int64]] = {}
    words: dict[str, list[str]] = {}
    for name in _TEXT:
        words[name], codes[name] = _encoded(path, name, table[name].chunks)
        longest = max(words[name], key=len)
        if len(longest) > _LONGEST[name]:
            raise LidiagError(
                f"{path} has a {name} of {len(longest):,} letters ({longest[:40]}...), above the {_LONGEST[name]} allowed.", _NEXT
            )
    numbers = {name: table[name].to_numpy().astype(np.float64) for name in ("value", "base", "cluster")}
    if not np.isfinite(numbers["value"]).all() or np.isinf(numbers["base"]).any():
        raise LidiagError(f"{path} has a value that is not finite.", _NEXT)
    joint = np.zeros(len(table), dtype=np.int64)
    places = 1
    for name in _TEXT:
        places *= len(words[name])
    for name in _TEXT[:-1]:
        joint = joint * len(words[name]) + codes[name]
        if places > _MOST_PLACES:  # more combinations than a whole number holds: count those that occur
            joint = np.unique(joint, return_inverse=True)[1].astype(np.int64)
    order = np.argsort(joint * len(words["query"]) + codes["query"], kind="stable")
    sorted_joint, sorted_query = joint[order], codes["query"][order]
    twice = (np.diff(sorted_joint) == 0) & (np.diff(sorted_query) == 0)
    if twice.any():
        raise LidiagError(f"{path} names the query {words['query'][sorted_query[twice.argmax()]]!r} twice for one measurement.", _NEXT)
    starts = np.flatnonzero(np.diff(sorted_joint, prepend=-1))
    ends = [*starts[1:].tolist(), len(order)]
    queries = np.array(words["query"], dtype=object)[sorted_query]
    value = numbers["value"][order]
    base, clusters = (_Optional.sorted(numbers[name][order], starts) for name in ("base", "cluster"))
    groups: dict[Key, Sample] = {}
    for i, (start, end) in enumerate(zip(starts.tolist(), ends, strict=True)):
        key = Key(*(words[name][codes[name][order[start]]] for name in _TEXT[:-1]))
        group = slice(start, end)
        own = clusters.of(path, key, i, group)
        groups[key] = Sample(queries[group], value[group], base.of(path, key, i, group), None if own is None else own.astype(np.int64))
    return groups


def _encoded(path: Path, name: str, chunks: Iterable[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the words of a column and each row's number among them; the parts of a file have dictionaries of their own."""
    known: dict[str, int] = {}
    codes: list[NDArray[np.int64]] = []
    for chunk in chunks:
        if chunk.null_count or chunk.dictionary.null_count:
            raise LidiagError(f"{path} has a row without {name}.", _NEXT)
        own = np.array([known.setdefault(word, len(known)) for word in chunk.dictionary.to_pylist()], dtype=np.int64)
        codes.append(own[chunk.indices.to_numpy()])
    return list(known), np.concatenate(codes)


@dataclass(frozen=True)
class _Optional:
    """A column that is all there or all absent within each group; `absent` (groups,) counts what is absent."""

    column: NDArray[np.float64]
    absent: NDArray[np.int64]

    @classmethod
    def sorted(cls, column: NDArray[np.float64], starts: NDArray[np.int64]) -> _Optional:
        return cls(column, np.add.reduceat(np.isnan(column).astype(np.int64), starts))

    def of(self, path: Path, key: Key, i: int, group: slice) -> NDArray[np.float64] | None:
        if self.absent[i] == 0:
            return self.column[group]
        if self.absent[i] < group.stop - group.start:
            raise LidiagError(f"{path} has a base or a cluster for a part of the queries only: {key.probe} {key.name} {key.at}.", _NEXT)
        return None
