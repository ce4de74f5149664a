from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidiag import kernels
from lidiag.fused import FusedPass
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim, Mean, Softmax, TopK

POOLINGS = (MaxSim(argmax=True), TopK(1), TopK(4), TopK(7), Softmax(0.02), Softmax(0.1), Softmax(1), Mean())


def passed(queries, documents, **options):
    """The fused pass over one block, whatever is compiled."""
    engine = FusedPass(documents, POOLINGS, (), keep=True, document_tokens=256, **options)
    return engine.pool(queries.vectors, queries.offsets)[None]


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 70), min_size=1, max_size=6), tokens=st.integers(1, 20), seed=st.integers(0, 1000), coarse=st.booleans()
)
def test_the_kernels_agree_with_the_definition_of_every_pooling(lengths, tokens, seed, coarse):
    # Against unit vectors a similarity is a coordinate of the document's vector: exact, so both sides see the same numbers.
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-1, 1, (sum(lengths), tokens))
    rows = np.round(rows * 4) / 4 if coarse else rows  # ties
    documents = MultiVectors.pack(list(torch.from_numpy(rows.astype(np.float32)).split(lengths)))
    scores, states = passed(MultiVectors.pack([torch.eye(tokens)]), documents)
    for pooling in POOLINGS:
        expected = [pooling.pool(document.T.double()) for document in documents]
        sums = torch.stack([pooling.score(state).sum() for state in expected])
        torch.testing.assert_close(scores[pooling][0].double(), sums, rtol=1e-6, atol=1e-5)
        for name, value in vars(states[pooling]).items():
            if value is not None:
                reference = torch.stack([getattr(state, name) for state in expected], 0 if name == "n" else 1)
                exact = name in ("argmax", "maximum", "values", "n")
                torch.testing.assert_close(value.to(reference.dtype), reference, rtol=0 if exact else 1e-6, atol=0 if exact else 1e-5)


def test_long_sums_keep_fp32_precision():
    # 20,000 similarities of 0.1: a running fp32 sum would be off by 1e-4 of itself.
    document = torch.full((20_000, 1), 0.1)
    _, states = passed(MultiVectors.pack([torch.ones(1, 1)]), MultiVectors.pack([document]))
    assert states[Mean()].total.item() == pytest.approx(float(np.float32(0.1)) * 20_000, rel=1e-6)
    assert states[Softmax(1)].weighted.item() == pytest.approx(float(np.float32(0.1)) * 20_000, rel=1e-6)


def test_the_power_of_two_is_exact_to_fp32_rounding():
    x = -np.linspace(0, 126, 100_001, dtype=np.float32)
    values = np.array([kernels.power_of_two(each) for each in x])
    assert np.abs(values / np.exp2(x.astype(np.float64)) - 1).max() < 2**-22
    assert kernels.power_of_two(np.float32(0)) == 1
    assert kernels.power_of_two(np.float32(-np.inf)) == np.float32(2**-126)


def test_more_query_tokens_than_a_strip_change_nothing():
    generator = torch.Generator().manual_seed(0)
    queries = MultiVectors.pack([torch.randn(n, 8, generator=generator) for n in (300, kernels.STRIP, 7)])
    documents = MultiVectors.pack([torch.randn(n, 8, generator=generator) for n in (9, 33, 0)])
    _, together = passed(queries, documents)
    for i in range(3):
        _, alone = passed(queries.select([i]), documents)
        start, end = queries.offsets[i], queries.offsets[i + 1]
        torch.testing.assert_close(together[TopK(7)].values[start:end], alone[TopK(7)].values, rtol=0, atol=1e-5)
        torch.testing.assert_close(together[Softmax(1)].weighted[start:end], alone[Softmax(1)].weighted, rtol=1e-5, atol=1e-4)
