"""The per-query values beside a report, as Parquet: what a paired comparison and a recomputation need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lidiag.files import sha256, write_atomically
from lidiag.findings import Findings
from lidiag.measurement import Coordinate
from lidiag.report import Values

COLUMNS = pa.schema([
    pa.field("dataset", pa.dictionary(pa.int32(), pa.string())),
    pa.field("probe", pa.dictionary(pa.int32(), pa.string())),
    pa.field("name", pa.dictionary(pa.int32(), pa.string())),
    pa.field("at", pa.dictionary(pa.int32(), pa.string())),
    pa.field("query", pa.dictionary(pa.int32(), pa.string())),
    pa.field("value", pa.float64()),
    pa.field("base", pa.float64()),
    pa.field("cluster", pa.int64()),
])  # fmt: skip
"""One row per query and measurement; `at` is the coordinates as sorted JSON, `base` the denominator of a ratio, else null.

Queries of one `cluster` are not independent: they share a fact, say; null where each stands for itself.
"""


def coordinates(at: Mapping[str, Coordinate]) -> str:
    """Write coordinates as the `at` column holds them."""
    # The type too, as 1 and 1.0 are equal and are not written alike.
    return _written(tuple((key, type(value), value) for key, value in at.items()))


@lru_cache(maxsize=2**16)  # the same few thousand stand in every report of a leaderboard
def _written(at: tuple[tuple[str, type, Coordinate], ...]) -> str:
    return json.dumps({key: value for key, _, value in at}, sort_keys=True, ensure_ascii=False, allow_nan=False)


def write(path: Path, said: Sequence[tuple[str, str, Findings]]) -> Values:
    """Write the values of (dataset, probe, findings), in that order, whole or not at all; queries left out have no row."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS.names}
    for dataset, probe, findings in said:
        queries = np.array(findings.queries, dtype=object)
        for item in findings.per_query:
            kept = np.isfinite(item.values)
            rows = int(kept.sum())
            columns["dataset"] += [dataset] * rows
            columns["probe"] += [probe] * rows
            columns["name"] += [item.name] * rows
            columns["at"] += [coordinates(item.at)] * rows
            columns["query"] += queries[kept].tolist()
            columns["value"] += item.values[kept].tolist()
            columns["base"] += [None] * rows if item.base is None else item.base[kept].tolist()
            columns["cluster"] += [None] * rows if findings.clusters is None else findings.clusters[kept].tolist()
    table = pa.table({name: pa.array(values, COLUMNS.field(name).type) for name, values in columns.items()}, COLUMNS)
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
    return Values(file=path.name, sha256=sha256(path), rows=len(table))
