from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidiag.pooling import MaxSim, Mean, Single, Softmax, TopK
from lidiag.probes import _gaussian_rows
from lidiag.probes._gaussian_rows import GaussianRows
from lidiag.probes._growth_kernels import Lanes
from tests.probes.toy import gaussian

POOLINGS = [MaxSim(), TopK(1), TopK(4), Softmax(1e-3), Softmax(0.1), Softmax(1), Mean()]


def drawn(lengths, dim=8, families=5, seed=0):
    return GaussianRows.drawn(np.array(lengths), dim, families, torch.Generator().manual_seed(seed))


def test_rows_are_unit_vectors_in_no_direction_more_than_in_another():
    rows = drawn([400], dim=4, families=32).vectors
    assert rows.norm(dim=1).numpy() == pytest.approx(1, abs=1e-6)
    assert rows.mean(0).numpy() == pytest.approx(0, abs=0.03)
    assert (rows.T @ rows / len(rows)).numpy() == pytest.approx(np.eye(4) / 4, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(
    pooling=st.sampled_from(POOLINGS),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    tokens=st.integers(1, 4),
    families=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_a_filler_has_the_state_of_the_first_rows_of_its_family(pooling, lengths, tokens, families, seed):
    rows = drawn(lengths, families=families, seed=seed)
    query = gaussian(torch.Generator().manual_seed(seed), tokens, 8)
    similarities = rows.similarities(query, np.random.default_rng(seed))
    found = rows.lanes(pooling, similarities)
    pieces = [torch.from_numpy(similarities[:, :length, f]) for length in rows.lengths for f in range(families)]
    states = [pooling.pool(piece) for piece in pieces]
    names = [name for name in vars(states[0]) if name not in ("n", "argmax")]
    stacked = {name: torch.stack([getattr(state, name) for state in states], 1) for name in names}
    expected = Lanes.of(pooling, type(states[0])(torch.tensor([state.n for state in states]), **stacked), np.arange(len(states)))
    assert found.parts == pytest.approx(expected.parts, rel=1e-4, abs=1e-5)
    assert found.n.tolist() == expected.n.tolist()


def test_similarities_are_those_of_the_query_with_signs_on_its_dimensions():
    rows, query = drawn([3, 2], families=2), gaussian(torch.Generator().manual_seed(1), 4, 8)
    signs = torch.from_numpy(np.random.default_rng(5).choice(np.array([-1, 1], dtype=np.float32), 8))
    assert len(set(signs.tolist())) == 2
    expected = torch.einsum("td,rfd->trf", query * signs, rows.vectors.view(3, 2, 8))
    assert rows.similarities(query, np.random.default_rng(5)) == pytest.approx(expected.numpy(), abs=1e-6)


def test_a_document_takes_a_filler_of_its_length_or_the_nearest_where_there_are_too_many_lengths(monkeypatch):
    lengths = np.array([9, 3, 3, 7, 1])
    rows = drawn(lengths)
    assert rows.lengths.tolist() == [1, 3, 7, 9]
    assert np.repeat(rows.lengths, 5)[rows.of_length(lengths)].tolist() == lengths.tolist()
    monkeypatch.setattr(_gaussian_rows, "_LENGTHS", 3)
    few = drawn(np.arange(1, 102))
    assert few.lengths.tolist() == [1, 51, 101]
    assert (few.of_length(np.array([1, 25, 27, 51, 75, 77, 101])) // 5).tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_a_scoring_without_states_has_no_fillers():
    with pytest.raises(TypeError, match="single has no compiled state"):
        drawn([2]).lanes(Single(), np.zeros((1, 2, 5), np.float32))
