from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidiag import candidates, coarse_kernels, fused
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim, TopK
from lidiag.similarity import Needs, similarity_pass


@functools.cache
def here(dim: int) -> bool:
    return candidates._has_instructions() and candidates._same_bits(dim)


def both(monkeypatch, queries, documents, prefixes=(3,)):
    """The pass by candidates and the one without, and how many blocks of documents the first one pooled so."""
    pooled = []
    pool = candidates.Candidates.pool
    found = []
    with monkeypatch.context() as patch:
        patch.setattr(candidates.Candidates, "pool", lambda *a, **k: pooled.append(pool(*a, **k)) or pooled[-1])
        patch.setattr(fused, "worthwhile", lambda dim: dim % 8 == 0 and here(dim))
        patch.setattr(fused, "LONG", 0)
        patch.setattr(fused, "WIDE", 0)
        for many in (0, 2**62):
            patch.setattr(fused, "MANY", many)
            needs = Needs((MaxSim(argmax=True),), tokens=True, prefixes=prefixes)
            found.append(list(similarity_pass(queries, documents, needs)))
    return *found, sum(pooled)


def assert_same_bits(one, other):
    pooling = MaxSim(argmax=True)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.scores(pooling).view(torch.int32), b.scores(pooling).view(torch.int32))
        for prefix in a.prefixes:
            assert torch.equal(a.prefixes[prefix].scores(pooling).view(torch.int32), b.prefixes[prefix].scores(pooling).view(torch.int32))
        assert torch.equal(a.state(pooling).maximum, b.state(pooling).maximum)
        assert torch.equal(a.state(pooling).argmax, b.state(pooling).argmax)


def planted(kind: str, lengths: list[int], dim: int, rng: np.random.Generator) -> MultiVectors:
    rows = rng.standard_normal((sum(lengths), dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-30
    match kind:
        case "duplicates":
            rows = rows[rng.integers(0, max(1, len(rows) // 8), len(rows))]
        case "neighbours":  # one unit in the last place apart
            rows[1::2] = np.nextafter(rows[: len(rows) // 2 * 2 : 2], np.float32(2))
        case "identical":
            rows[:] = rows[:1]
        case "zeros":
            rows[rng.random(len(rows)) < 0.5] = 0
        case "shared":  # a large common part
            rows += 3
        case "grid":
            rows = np.round(rows * 4) / 4
        case "norms":
            rows *= (10.0 ** rng.integers(-12, 12, (len(rows), 1))).astype(np.float32)
        case "tiny":
            rows *= np.float32(1e-20)
        case "huge":
            rows *= np.float32(1e18)
    return MultiVectors.pack(list(torch.from_numpy(rows).split(lengths)))


KINDS = ("plain", "duplicates", "neighbours", "identical", "zeros", "shared", "grid", "norms", "tiny", "huge")


@pytest.mark.parametrize("limit", [1 / 16, 2.0])  # with 2, whatever is drawn goes by candidates
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    query_kind=st.sampled_from(KINDS),
    lengths=st.lists(st.one_of(st.just(0), st.just(1), st.integers(0, 300), st.integers(500, 600)), min_size=1, max_size=6),
    query_lengths=st.lists(st.integers(0, 90), min_size=1, max_size=4),
    dim=st.sampled_from([3, 8, 16, 48, 96, 128, 192, 320, 1056]),
    seed=st.integers(0, 10_000),
)
def test_scores_and_positions_have_the_bits_of_fp32(limit, kind, query_kind, lengths, query_lengths, dim, seed):  # noqa: PLR0913, PLR0917 - drawn
    rng = np.random.default_rng(seed)
    documents, queries = planted(kind, lengths, dim, rng), planted(query_kind, query_lengths, dim, rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "SHARE", limit)
        one, other, pooled = both(patch, queries, documents)
    assert_same_bits(one, other)
    large = {"norms", "huge"} & {kind, query_kind}
    if limit > 1 and len(documents.vectors) and len(queries.vectors) and dim % 8 == 0 and here(dim) and not large:
        assert pooled > 0


def coarse(documents: torch.Tensor, queries: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(rows, tokens): what the integers say of similarities, and how far off it may be; by the definitions in float64."""
    mu = candidates.centre(documents)
    tokens = candidates.prepare(queries, mu)
    (rows, dim), strips = documents.shape, len(tokens.packed)
    integers, sums, of_rows = np.empty((rows, dim), np.int8), np.empty(rows, np.int32), np.empty((4, rows), np.float32)
    norms, row_bounds = np.empty((3, rows)), np.empty((2, rows))
    coarse_kernels.rounded(documents.numpy(), mu.numpy(), tokens.nu, integers, sums, of_rows, norms)
    coarse_kernels.bound(norms, dim, of_rows, row_bounds)
    packed = (
        tokens.packed.view(np.uint8)
        .reshape(strips, dim // coarse_kernels.DEEP, coarse_kernels.LANES, coarse_kernels.DEEP)
        .transpose(0, 2, 1, 3)
        .reshape(-1, dim)
    )
    products = integers.astype(np.int64) @ packed.astype(np.int64).T + sums[:, None]
    inverse, off, rounded = tokens.constants[:, : len(queries)].astype(np.float64)
    values = (products[:, : len(queries)] * of_rows[0].astype(np.float64)[:, None]) / inverse + of_rows[1][:, None] + tokens.levels
    bounds = (np.outer(of_rows[2], off) + np.outer(of_rows[3], rounded)) / inverse + row_bounds.T @ tokens.bounds
    return values, bounds


def test_the_error_of_a_coarse_similarity_stays_within_its_bound():
    rng = np.random.default_rng(0)
    for kind in ("plain", "shared", "norms", "tiny", "identical"):
        documents, queries = (planted(each, [200], 128, rng).vectors for each in (kind, "plain"))
        found, bounds = coarse(documents, queries)
        assert (abs(found - (documents.double() @ queries.double().T).numpy()) <= bounds).all()
        if kind == "plain":
            assert bounds.max() < 0.03  # and the bound says something


def test_a_maximum_that_8_bits_cannot_tell_is_found(monkeypatch):
    # Both rows are rounded to the same integers; the second one is larger by 2**-12.
    if not here(128):
        pytest.skip("this processor has no AVX-512 VNNI, or its BLAS adds up in another order")
    rows = torch.nn.functional.normalize(torch.randn(100, 128, generator=torch.Generator().manual_seed(1)), dim=1)
    rows[40:42] = 0
    rows[40, 0], rows[41, 0], query = 1, 1 + 2**-12, torch.eye(128)[:1]
    one, other, pooled = both(monkeypatch, MultiVectors.pack([query]), MultiVectors.pack([rows]))
    assert pooled == 1
    assert one[0].state(MaxSim(argmax=True)).argmax.item() == 41
    assert one[0].scores(MaxSim(argmax=True)).item() == 1 + 2**-12
    assert_same_bits(one, other)


def test_it_gives_up_where_all_vectors_lie_close_together(monkeypatch):
    rows = torch.ones(100, 128)
    one, other, pooled = both(monkeypatch, MultiVectors.pack([rows[:20]]), MultiVectors.pack([rows] * 50))
    assert pooled == 0
    assert_same_bits(one, other)


def test_candidates_serve_maxsim_alone(monkeypatch):
    searched = []
    for name in ("MANY", "LONG", "WIDE"):
        monkeypatch.setattr(fused, name, 0)
    monkeypatch.setattr(candidates.Candidates, "pool", lambda *_: searched.append(1))  # and nothing is done, so that fp32 is
    monkeypatch.setattr(fused, "worthwhile", lambda _: True)
    items = MultiVectors.pack([torch.eye(16)])
    (block,) = similarity_pass(items, items, Needs((MaxSim(),)))
    assert searched
    assert block.scores(MaxSim()).item() == 16
    searched.clear()
    (block,) = similarity_pass(items, items, Needs((MaxSim(), TopK(4))))
    assert not searched
    assert block.scores(TopK(4)).item() == 4  # of each token one similarity of 1 among four
