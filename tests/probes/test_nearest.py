from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lidiag.candidates import centre, worthwhile
from lidiag.errors import LidiagError
from lidiag.multivector import MultiVectors
from lidiag.probes import _nearest, _nearest_kernels
from lidiag.probes._nearest import Nearest, first_look
from tests.probes.toy import toy_bench


def random_bench(seed=0, queries=4, documents=30, values=None, dim=3):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 9, (queries + documents,), generator=generator).tolist()
    vectors = [torch.randn(size, dim, generator=generator) for size in sizes]
    if values:  # few values: equal similarities abound
        vectors = [torch.tensor(values)[torch.randint(len(values), v.shape, generator=generator)] for v in vectors]
    relevance = {q: {d: 1 for d in range(documents) if d % queries == q % 3} for q in range(queries)}
    return toy_bench(vectors[:queries], vectors[queries:], relevance)


@pytest.mark.parametrize("values", [None, (-1.0, 0.0, 1.0)])
@pytest.mark.parametrize("columns", [16, 48])
@pytest.mark.parametrize(
    ("dim", "most"), [(3, 64), (8, 64), (8, 1), (8, 0)]
)  # of 8 dimensions candidates are searched for, until they are too many
def test_the_first_look_is_exact_and_leaves_relevant_documents_out(monkeypatch, columns, values, dim, most):
    monkeypatch.setattr(_nearest, "_DOCUMENT_TOKENS", 64)  # many parts, which cut documents in two
    monkeypatch.setattr(_nearest, "_COLUMNS", columns)
    monkeypatch.setattr(_nearest, "_MOST", most)
    monkeypatch.setattr(_nearest, "WIDE", 0)
    monkeypatch.setattr(_nearest, "_QUERY_TOKENS", 10)
    monkeypatch.setattr(_nearest, "_ROOM", 2)
    bench = random_bench(2, values=values, dim=dim)
    owner = np.repeat(np.arange(len(bench.documents)), bench.lengths)
    looks = list(first_look(bench, 12))
    assert len(looks) == len(bench.queries)
    for query, nearest in enumerate(looks):
        similarities = (bench.queries[query] @ bench.documents.vectors.T).double().numpy()
        similarities[:, np.isin(owner, bench.relevant[query])] = -np.inf
        pooled = np.argsort(-similarities.max(0), kind="stable")[:12]
        if values is None:
            assert nearest.pooled.tolist() == pooled.tolist()
            assert nearest.pooled_tokens.tolist() == similarities.argmax(0)[pooled].tolist()
        assert similarities.max(0)[nearest.pooled].tolist() == similarities.max(0)[pooled].tolist()
        taken: list[int] = []
        while len(taken) < 12:
            row = np.argsort(-similarities[len(taken) % len(similarities)], kind="stable")
            taken.append(next(v for v in row.tolist() if v not in taken))
        assert nearest.turns.tolist() == taken


@pytest.mark.parametrize("columns", [2**18, 5])
def test_every_way_to_look_finds_the_same(monkeypatch, columns):
    monkeypatch.setattr(_nearest, "_DOCUMENT_TOKENS_ELSEWHERE", columns)  # small parts lie before, in and behind relevant documents
    bench = random_bench(5)
    for block in (range(4), range(1, 3)):
        here, elsewhere = _nearest._nearest(bench, block, 9, None), _nearest._nearest_elsewhere(bench, block, 9)
        assert here[1].tolist() == elsewhere[1].tolist()
        np.testing.assert_allclose(here[0], elsewhere[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["plain", "close", "identical", "large"])
def test_a_search_for_candidates_finds_the_same_to_the_bit(kind):
    if not worthwhile(64):
        pytest.skip("this processor has no AVX-512 VNNI, or its BLAS adds up in another order")
    bench = random_bench(7, queries=20, documents=900, dim=64)
    rows = torch.nn.functional.normalize(bench.documents.vectors, dim=1)
    scale, shift = {"plain": (1, 0), "close": (1e-3, 1), "identical": (0, 1), "large": (1e35, 0)}[kind]
    bench = dataclasses.replace(bench, documents=MultiVectors(rows * scale + shift, bench.documents.offsets))
    plain = _nearest._nearest(bench, range(20), 30, None)
    found = _nearest._nearest(bench, range(20), 30, centre(bench.documents.vectors))
    assert np.array_equal(found[0].view(np.int32), plain[0].view(np.int32))
    assert found[1].tolist() == plain[1].tolist()


@pytest.mark.parametrize(
    ("computed", "calls"),
    [
        (0, "ssss"),  # nothing is above what is known: done all the same
        (64, "ssss"),  # as many as a part of 64 vectors adds for 16 tokens, 64 * 16 / 16
        (128, "sskk"),  # 2 * 3 * 16 = 96 at first, of which each part takes 64 more than it adds
        (159, "sskk"),  # 1 is left after the first part
        (160, "skkk"),  # and here 96: nothing is left, and nothing is not enough
        (-1, "sksksksk"),  # what might overflow is left to the product, part by part
    ],
)
def test_a_search_goes_on_as_long_as_it_computes_few(monkeypatch, computed, calls):
    documents, seen = torch.eye(8).repeat(32, 1), []
    bench = toy_bench([torch.eye(8).repeat(2, 1)], [documents[:4], documents[4:]], {0: {0: 1}})
    monkeypatch.setattr(_nearest, "_DOCUMENT_TOKENS", 64)
    monkeypatch.setattr(_nearest, "_COLUMNS", 64)
    monkeypatch.setattr(_nearest, "_MOST", 2)
    monkeypatch.setattr(_nearest_kernels, "search", lambda *_: seen.append("s") or computed)
    keep = _nearest_kernels.keep
    monkeypatch.setattr(_nearest_kernels, "keep", lambda *a: seen.append("k") or keep(*a))
    if "k" in calls:
        _nearest._nearest(bench, range(1), 3, torch.zeros(8))
    else:
        with pytest.raises(LidiagError, match="near 0"):  # the stub keeps nothing
            _nearest._nearest(bench, range(1), 3, torch.zeros(8))
    assert "".join(seen) == calls


def test_few_tokens_have_as_many_neighbours_elsewhere():
    bench = toy_bench([torch.tensor([[1.0, 0.0]])], [torch.tensor([[0.1 * d, 0.0]]) for d in range(6)], {0: {5: 1}})
    values, positions = _nearest._nearest_elsewhere(bench, range(1), 4)
    assert positions.tolist() == [[4, 3, 2, 1]]
    np.testing.assert_allclose(values, [[0.4, 0.3, 0.2, 0.1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "ranges"),
    [
        ([4, 6, 1, 9], [(0, 2), (2, 4)]),  # 4 + 6 and 1 + 9 fill a block
        ([4, 7, 2, 1, 1], [(0, 1), (1, 4), (4, 5)]),
        ([12, 3, 12], [(0, 1), (1, 2), (2, 3)]),  # a longer query is a block of its own
        ([5], [(0, 1)]),
        ([], []),
    ],
)
def test_blocks_hold_whole_queries_up_to_the_limit(monkeypatch, lengths, ranges):
    monkeypatch.setattr(_nearest, "_QUERY_TOKENS", 10)
    queries = MultiVectors(torch.zeros(sum(lengths), 2), torch.tensor([0, *lengths]).cumsum(0))
    assert [(block.start, block.stop) for block in _nearest._blocks(queries)] == ranges


def test_as_many_vectors_as_positions_are_refused_and_one_fewer_is_not(monkeypatch):
    bench = random_bench()
    monkeypatch.setattr(_nearest_kernels, "POSITIONS", len(bench.documents.vectors) + 1)
    assert len(list(first_look(bench, 2))) == 4
    monkeypatch.setattr(_nearest_kernels, "POSITIONS", len(bench.documents.vectors))
    with pytest.raises(LidiagError, match="more than the"):
        next(first_look(bench, 2))


@given(st.data())
def test_kept_are_the_greatest_with_the_first_of_equals_first(data):
    count = data.draw(st.integers(1, 5))
    tokens, columns, parts = (data.draw(st.integers(1, most)) for most in (3, 3, 4))
    columns *= _nearest_kernels.LANES
    some = st.sampled_from([-np.float32(3e38), -1.5, -1e-40, -0.0, 0.0, 1e-40, 0.25, 2.0, np.float32(3e38)])
    n = parts * columns
    similarities = np.array(data.draw(st.lists(some, min_size=tokens * n, max_size=tokens * n)), np.float32).reshape(tokens, n)
    group = np.sort(data.draw(st.lists(st.integers(0, 1), min_size=tokens, max_size=tokens)))
    out = [[(0, 0)], [(3, 5), (columns - 1, columns + 1)]]
    bounds, ranges = np.cumsum([0, *map(len, out)]), np.array([pair for pairs in out for pair in pairs], dtype=np.int64)
    best, filled = np.full(tokens, -np.inf, np.float32), np.zeros(tokens, np.int64)
    keys = np.empty((tokens, 2 * count), np.int64)
    for first in range(0, n, columns):
        part = np.ascontiguousarray(similarities[:, first : first + columns])
        _nearest_kernels.keep(part, first, group, bounds, ranges, best, keys, filled, count)
    values, positions = np.empty((tokens, count), np.float32), np.empty((tokens, count), np.int64)
    _nearest_kernels.read(keys, filled, values, positions)
    for t in range(tokens):
        allowed = np.array([p for p in range(n) if not any(a <= p < b for a, b in out[group[t]])])
        expected = allowed[np.argsort(-similarities[t, allowed], kind="stable")[:count]]
        assert positions[t].tolist() == expected.tolist()
        assert values[t].tolist() == similarities[t, expected].tolist()


def test_vectors_without_numbers_are_told_and_not_looked_at():
    bench = random_bench()
    bench.queries.vectors[0] = torch.nan
    with pytest.raises(LidiagError, match="near 0 document vectors, and 12 are asked for"):
        list(first_look(bench, 12))


def test_tokens_take_turns_and_never_take_a_vector_twice():
    similarities = np.array([[0.9, 0.8, 0.7], [0.95, 0.6, 0.5]], dtype=np.float32)
    nearest = Nearest.of(similarities, np.array([[5, 3, 1], [5, 4, 3]]))
    assert nearest.turns.tolist() == [5, 4, 3]
    assert (nearest.pooled.tolist(), nearest.pooled_tokens.tolist()) == ([5, 3, 1], [1, 0, 0])
