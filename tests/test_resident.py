"""Resident memory of vectors that are mapped, and the bytes of those that are not."""

import re
from pathlib import Path

import pytest
import torch

from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.resident import Trail, in_parts
from lidiag.similarity import Needs, similarity_pass

SMAPS = Path("/proc/self/smaps")
pytestmark = pytest.mark.skipif(not SMAPS.exists(), reason="only Linux says what is resident")
ROWS = 2**18 * 5 // 2  # of 128 dimensions: 320 MiB


def resident(path):
    """Return the kilobytes of a mapped file that count as this process's own."""
    parts = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", SMAPS.read_text())
    return sum(int(re.search(r"(?m)^Rss:\s+(\d+)", part)[1]) for part in parts if part.split("\n")[0].endswith(str(path)))


@pytest.fixture
def mapped(tmp_path):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(ROWS, 128, generator=generator)
    path = tmp_path / "vectors.safetensors"
    MultiVectors(rows, torch.arange(0, ROWS + 1, 256)).save(path)
    return MultiVectors.load(path), rows, path


def test_a_pass_over_mapped_vectors_leaves_none_of_them_in_memory_and_reads_the_same_again(mapped):
    documents, rows, path = mapped
    queries = MultiVectors.pack([rows[:4], rows[9:12]])
    (first,) = similarity_pass(queries, documents, Needs((MaxSim(),)))
    assert resident(path) < 1024
    (second,) = similarity_pass(queries, MultiVectors(rows, documents.offsets), Needs((MaxSim(),)))
    assert torch.equal(first.scores(MaxSim()), second.scores(MaxSim()))


def test_what_lies_behind_is_given_back_on_the_way(mapped):
    documents, _, path = mapped
    trail = Trail(documents.vectors)
    documents.vectors.sum()
    whole = resident(path)
    trail.reach(ROWS * 3 // 4)
    assert resident(path) < whole * 0.3
    assert torch.isfinite(documents.vectors[: ROWS // 2]).all()


@pytest.mark.parametrize("kind", ["altered", "in memory"])
def test_rows_that_stand_in_no_file_are_never_dropped(mapped, kind):
    documents, rows, _ = mapped
    vectors = documents.vectors if kind == "altered" else rows
    vectors[ROWS // 2] = 7
    trail = Trail(vectors)
    trail.reach(ROWS)
    trail.end()
    assert bool((vectors[ROWS // 2] == 7).all())


def test_parts_are_all_of_the_rows_in_order():
    vectors = torch.arange(22).reshape(11, 2)
    parts = list(in_parts(vectors, 4))
    assert [first for first, _ in parts] == [0, 4, 8]
    assert torch.equal(torch.cat([part for _, part in parts]), vectors)
    assert list(in_parts(vectors[:0], 4)) == []
