"""Compressed vectors: each scheme by hand, and what it must cost."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lidiag import catalog
from lidiag.errors import LidiagError
from lidiag.multivector import MultiVectors
from lidiag.probes import _schemes as schemes
from lidiag.probes.compression import rank_biased_overlap
from tests.probes.toy import gaussian, measure, toy_bench, unit

DIM, QUERIES = 16, 40


def bench(used=DIM):
    """Random topics in the first `used` dimensions."""
    generator = torch.Generator().manual_seed(0)

    def wide(rows):
        return torch.nn.functional.normalize(torch.nn.functional.pad(rows, (0, DIM - used)), dim=1)

    topics = gaussian(generator, QUERIES, used)
    near = [[wide(topics[q] + 0.4 * torch.randn(tokens, used, generator=generator)) for q in range(QUERIES)] for tokens in (4, 12)]
    return toy_bench(*near, {q: {q: 1} for q in range(QUERIES)})


@pytest.fixture(scope="module")
def found():
    return measure("compression", bench())


def value(found, name, scheme):
    return found.get(name, {"scheme": scheme}).value


def test_half_precision_keeps_everything_and_halves_the_bytes(found):
    for scheme in ("fp16", "bf16"):
        assert value(found, "ndcg_retained", scheme) == pytest.approx(1, abs=0.01)
        assert value(found, "bytes_per_vector", scheme) == 2 * DIM
        assert value(found, "stored_share", scheme) == 0.5
    assert value(found, "bytes_per_document", "int8") == 12 * DIM
    assert value(found, "bytes_per_vector", "binary") == DIM / 8


def test_signs_cost_more_than_levels(found):
    assert value(found, "ndcg_retained", "binary") < value(found, "ndcg_retained", "int8")
    assert value(found, "rbo", "binary") < value(found, "rbo", "int8") <= 1
    choice = next(f for f in found.findings if f.name == "choice")
    assert choice.data["smallest"] in {"fp16", "bf16", "int8"}


def test_dimensions_that_nobody_uses_cost_nothing():
    found = measure("compression", bench(used=DIM // 2), schemes=(f"truncate-{DIM // 2}", f"pca-{DIM // 2}", f"rotate-{DIM // 2}"))
    for kind in ("truncate", "pca"):
        assert value(found, "ndcg_retained", f"{kind}-{DIM // 2}") == pytest.approx(1)
        assert value(found, "overlap@10", f"{kind}-{DIM // 2}") == pytest.approx(1)
    assert value(found, "ndcg_retained", f"rotate-{DIM // 2}") < 1
    assert found.get("effective_rank", {}).value <= DIM / 2 + 1e-6


def test_levels_are_those_of_the_documents():
    documents = MultiVectors.pack([torch.tensor([[1.0, -0.5], [0.3, 0.2]])])
    scale = torch.tensor([1.0, 0.5]) / 127
    stored = schemes.schemes(2)["int8"](documents, documents, torch.Generator())
    torch.testing.assert_close(stored.documents.vectors, (documents.vectors / scale).round() * scale)
    assert torch.equal(stored.queries.vectors, documents.vectors), "a query is not stored"


def test_principal_axes_are_the_documents_own():
    generator = torch.Generator().manual_seed(0)
    line = unit([3, 4])
    documents = MultiVectors.pack([line * torch.randn(50, 1, generator=generator)])
    axes = schemes._axes(documents)
    assert abs(float(axes[:, 0] @ line[0])) == pytest.approx(1, abs=1e-5)


def test_equal_vectors_are_pooled_together():
    a, b = unit([1, 0, 0], [0, 1, 0])
    pooled = schemes.pooled_tokens(torch.stack([a, a, b, b]), 2)
    assert sorted(map(tuple, pooled.round().tolist())) == [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0)]
    assert schemes.pooled_tokens(a.unsqueeze(0), 4).shape == (1, 3)
    assert schemes.pooled_tokens(torch.zeros(0, 3), 4).shape == (0, 3)


@given(st.integers(1, 30), st.integers(2, 4), st.integers(0, 2**31))
def test_pooling_never_makes_more_vectors_and_keeps_unit_length(m, factor, seed):
    pooled = schemes.pooled_tokens(gaussian(torch.Generator().manual_seed(seed), m, 5), factor)
    assert 1 <= len(pooled) <= max(1, m // factor) or len(pooled) == m == 1
    torch.testing.assert_close(pooled.norm(dim=1), torch.ones(len(pooled)))


def test_rank_biased_overlap_by_hand():
    assert rank_biased_overlap([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    assert rank_biased_overlap([1, 2], [3, 4]) == 0
    # Agreements 0, 1: (1 - p) (0 + 1 p) + 1 p**2 with p = 0.9.
    assert rank_biased_overlap([1, 2], [2, 1]) == pytest.approx(0.1 * 0.9 + 0.81)
    # Agreements 1, 1/2.
    assert rank_biased_overlap([1, 2], [1, 3]) == pytest.approx(0.1 * (1 + 0.45) + 0.5 * 0.81)


@given(st.permutations(range(8)), st.permutations(range(8)))
def test_rank_biased_overlap_is_symmetric_and_a_share(a, b):
    assert rank_biased_overlap(a, b) == pytest.approx(rank_biased_overlap(b, a))
    assert 0 <= rank_biased_overlap(a, b) <= 1 + 1e-9


def test_the_mean_vector_of_one_direction_has_length_one():
    made = toy_bench([unit([1, 0])], [unit([1, 0], [1, 0])] * 3, {0: {0: 1}})
    found = measure("compression", made, schemes=("fp16",))
    assert found.get("mean_vector_square", {}).value == pytest.approx(1)


@pytest.mark.parametrize("wrong", [{"depth": 5}])
def test_a_depth_that_judges_nothing_is_refused(wrong):
    with pytest.raises(LidiagError):
        catalog.probe("compression", wrong)


def test_an_unknown_scheme_is_refused_by_name():
    with pytest.raises(LidiagError, match="int9"):
        measure("compression", bench(), schemes=("int9",))
