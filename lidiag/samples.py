"""The values by query of a report, read back: bounded before they are read, since a submission may come from anyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lidiag import values
from lidiag.errors import LidiagError
from lidiag.files import sha256
from lidiag.report import Report

_MOST_BYTES = 512 * 2**20
_MOST_ROWS = 20_000_000
_MOST_UNPACKED = 2 * 2**30
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
        file = pq.ParquetFile(path)
        _refuse_unbounded(path, file, report)
        columns = [column for column in values.COLUMNS.names if column in file.schema_arrow.names]
        table = file.read(columns=columns)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise LidiagError(f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}.", _NEXT) from error
    if len(table) != report.values.rows:
        raise LidiagError(f"{path} has {len(table):,} rows, and its report says {report.values.rows:,}.", _NEXT)
    return table


def _refuse_unbounded(path: Path, file: pq.ParquetFile, report: Report) -> None:
    """Judge by the file's own directory, before anything of it is unpacked."""
    found = {(field.name, str(_plain(field.type))) for field in file.schema_arrow}
    wanted = {(field.name, str(_plain(field.type))) for field in values.COLUMNS}
    if found != wanted:
        raise LidiagError(f"{path} has other columns than it should: {sorted(found ^ wanted)}.", _NEXT)
    rows = file.metadata.num_rows
    if rows > _MOST_ROWS or rows != report.values.rows:
        raise LidiagError(f"{path} has {rows:,} rows; its report says {report.values.rows:,}, and {_MOST_ROWS:,} are allowed.", _NEXT)
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    unpacked = sum(group.column(i).total_uncompressed_size for group in groups for i in range(group.num_columns))
    if unpacked > _MOST_UNPACKED:
        raise LidiagError(f"{path} unpacks to {unpacked:,} bytes, above the {_MOST_UNPACKED:,} allowed.", _NEXT)


def _plain(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _grouped(path: Path, table: Any) -> Mapping[Key, Sample]:
    codes: dict[str, NDArray[np.int64]] = {}
    words: dict[str, list[str]] = {}
    for name in _TEXT:
        encoded = (
            pa.chunked_array([chunk.cast(pa.string()) for chunk in table[name].chunks], pa.string()).dictionary_encode().combine_chunks()
        )
        if encoded.null_count:
            raise LidiagError(f"{path} has a row without {name}.", _NEXT)
        words[name], codes[name] = encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
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
