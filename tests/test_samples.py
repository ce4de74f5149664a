import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lidiag import samples, values
from lidiag.errors import LidiagError
from lidiag.files import sha256
from lidiag.findings import Findings
from lidiag.report import Values
from lidiag.samples import Key
from tests import reports


def written(tmp_path, change=lambda table: table, claim=None):
    """A run's folder whose values were changed, with a report that vouches for them."""
    report = reports.write(tmp_path, probes=("retrieval",), queries=5)
    path = tmp_path / "values.parquet"
    table = change(pq.read_table(path))
    pq.write_table(table, path)
    return path, report.model_copy(update={"values": Values(sha256=sha256(path), rows=claim or len(table))})


def test_what_a_run_writes_is_read_back_by_measurement(tmp_path):
    found = Findings(["b", "a", "c"], np.array([0, 0, 1]))
    found.mean("x", {"pooling": "maxsim", "k": 4}, [1.0, np.nan, 3.0])
    found.ratio("y", {}, [1.0, 2.0, 3.0], [2.0, 2.0, 4.0])
    report = reports.write(tmp_path, probes=("retrieval",), queries=5)
    report = report.model_copy(update={"values": values.write(tmp_path / "values.parquet", [("d", "p", found)])})
    read = samples.read(tmp_path / "values.parquet", report)
    assert list(read) == [Key("d", "p", "x", '{"k": 4, "pooling": "maxsim"}'), Key("d", "p", "y", "{}")]
    x, y = read.values()
    assert (x.queries.tolist(), x.values.tolist(), x.base, x.clusters.tolist()) == (["b", "c"], [1.0, 3.0], None, [0, 1])
    rows = zip(y.queries.tolist(), y.values.tolist(), y.base.tolist(), y.clusters.tolist(), strict=True)
    assert set(rows) == {("b", 1.0, 2.0, 0), ("a", 2.0, 2.0, 0), ("c", 3.0, 4.0, 1)}


def replaced(name, column):
    def change(table):
        return table.set_column(table.schema.get_field_index(name), name, column(table))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.append_column("more", pa.array([1.0] * len(table))), "other columns"),
        (lambda table: table.drop_columns(["base"]), "other columns"),
        (replaced("value", lambda table: pa.array(["1"] * len(table))), "other columns"),
        (replaced("value", lambda table: pa.array([float("nan")] * len(table))), "not finite"),
        (replaced("value", lambda table: pa.array([float("inf")] * len(table))), "not finite"),
        (replaced("query", lambda table: pa.array(["q"] * len(table)).dictionary_encode()), "twice"),
        (replaced("query", lambda table: pa.array([None] * len(table), pa.string())), "without query"),
        (replaced("at", lambda table: pa.array(["x" * 5_000_000] * len(table)).dictionary_encode()), "5,000,000 letters"),
        (replaced("base", lambda table: pa.array([1.0] + [None] * (len(table) - 1), pa.float64())), "part of the queries"),
    ],
)
def test_values_that_no_run_writes_are_refused_with_the_reason(tmp_path, change, said):
    path, report = written(tmp_path, change)
    with pytest.raises(LidiagError, match=said):
        samples.read(path, report)


def test_a_run_that_measured_nothing_by_query_has_no_values_and_can_be_read(tmp_path):
    report = reports.write(tmp_path, probes=("retrieval",), queries=5)
    report = report.model_copy(update={"values": values.write(tmp_path / "values.parquet", [])})
    assert samples.read(tmp_path / "values.parquet", report) == {}


def test_rows_that_the_report_does_not_count_are_refused(tmp_path):
    path, report = written(tmp_path, claim=3)
    with pytest.raises(LidiagError, match="its report says 3"):
        samples.read(path, report)


def test_too_many_rows_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "_MOST_ROWS", 4)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("it was read"))
    path, report = written(tmp_path)
    with pytest.raises(LidiagError, match="4 are allowed"):
        samples.read(path, report)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "_MOST_UNPACKED", 100)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("it was read"))
    path, report = written(tmp_path)
    with pytest.raises(LidiagError, match="pages unpack to more than the 100 bytes allowed"):
        samples.read(path, report)


def test_another_runs_values_are_refused(tmp_path):
    report = reports.write(tmp_path / "a", probes=("retrieval",), queries=5)
    reports.write(tmp_path / "b", probes=("retrieval",), queries=5, seed=1)
    with pytest.raises(LidiagError, match="SHA-256 differs"):
        samples.read(tmp_path / "b" / "values.parquet", report)


def test_a_symbolic_link_is_not_followed(tmp_path):
    report = reports.write(tmp_path / "a", probes=("retrieval",), queries=5)
    (tmp_path / "values.parquet").symlink_to(tmp_path / "a" / "values.parquet")
    with pytest.raises(LidiagError, match="is no file"):
        samples.read(tmp_path / "values.parquet", report)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"not parquet at all" * 100])
def test_a_file_that_is_no_parquet_is_refused(tmp_path, content):
    report = reports.write(tmp_path, probes=("retrieval",), queries=5)
    path = tmp_path / "values.parquet"
    path.write_bytes(content)
    with pytest.raises(LidiagError, match="cannot be read"):
        samples.read(path, report.model_copy(update={"values": Values(sha256=sha256(path), rows=40)}))


def test_a_sample_is_frozen():
    sample = samples.Sample(np.array(["a"], dtype=object), np.ones(1), None, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.values = np.zeros(1)
