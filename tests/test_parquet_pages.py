from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lidiag import parquet_pages, samples, values
from lidiag.errors import LidiagError
from lidiag.files import sha256
from lidiag.report import Values
from tests import reports

MOST = 2**30


def written(path, rows=50_000, **how):
    words = pa.array([f"word {i % 7} of {i}" for i in range(rows)])
    table = pa.table({"word": words, "few": words.take(pa.array(np.arange(rows) % 3)), "number": np.arange(rows) / 3})
    pq.write_table(table, path, **how)
    return pq.read_metadata(path)


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_pages_unpack_to_what_an_honest_directory_says(tmp_path, compression, version):
    path = tmp_path / "x.parquet"
    metadata = written(path, compression=compression, data_page_version=version, data_page_size=10_000, row_group_size=20_000)
    claimed = sum(metadata.row_group(i).column(j).total_uncompressed_size for i in range(3) for j in range(3))
    assert parquet_pages.size(path, MOST) == parquet_pages.Size(50_000, claimed)
    with pytest.raises(ValueError, match="unpack to more than the 100,000 bytes"):
        parquet_pages.size(path, 100_000)


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_an_encoding_that_unpacks_to_any_size_is_refused(tmp_path, encoding):
    written(tmp_path / "x.parquet", use_dictionary=False, column_encoding={"word": encoding})
    with pytest.raises(ValueError, match="a page has the encoding"):
        parquet_pages.size(tmp_path / "x.parquet", MOST)


def test_a_page_that_claims_another_size_than_the_directory_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    metadata = written(path)
    content = bytearray(path.read_bytes())
    start = metadata.row_group(0).column(0).dictionary_page_offset
    assert content[start : start + 3] == b"\x15\x04\x15"  # field 1, a dictionary page, field 2: its size
    content[start + 3] ^= 2  # by one byte, as numbers are zigzag
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its directory claims 50,000 values in"):
        parquet_pages.size(path, MOST)


def test_pages_without_number_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_pages, "_MOST_PAGES", 20)
    written(tmp_path / "x.parquet", data_page_size=1000, max_rows_per_page=1000)
    with pytest.raises(ValueError, match="more than the 20 pages"):
        parquet_pages.size(tmp_path / "x.parquet", MOST)


def test_a_long_word_in_many_rows_is_refused_without_being_written_out(tmp_path):
    # 500,000 rows of a word of 2 MB are 1 TB where each row holds its own.
    report = reports.write(tmp_path, probes=("retrieval",), queries=5)
    path = tmp_path / "values.parquet"
    rows = 500_000
    word = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 2_000_000]))
    columns = dict.fromkeys(("dataset", "probe", "name", "at", "query"), word)
    numbers = {"value": np.zeros(rows), "base": np.zeros(rows), "cluster": np.zeros(rows, np.int64)}
    pq.write_table(pa.table({**columns, **numbers}).cast(values.COLUMNS), path, dictionary_pagesize_limit=2**24)
    assert path.stat().st_size < 50_000_000
    report = report.model_copy(update={"values": Values(sha256=sha256(path), rows=rows)})
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(LidiagError, match="a dataset of 2,000,000 letters"):
        samples.read(path, report)
    assert pa.default_memory_pool().max_memory() - before < 10**9


def test_a_file_without_rows_has_no_values(tmp_path):
    written(tmp_path / "x.parquet", rows=0)
    assert parquet_pages.size(tmp_path / "x.parquet", MOST).rows == 0
    written(tmp_path / "x.parquet", rows=0, use_dictionary=False)
    assert parquet_pages.size(tmp_path / "x.parquet", MOST).rows == 0
