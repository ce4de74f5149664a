"""The compiled merge against `lidiag.pooling`, which defines it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lidiag.pooling import MaxSim, Mean, Softmax, TopK
from lidiag.probes import _merging
from lidiag.probes._merging import Documents

POOLINGS = [MaxSim(), TopK(1), TopK(3), TopK(4), TopK(6), Softmax(0.02), Softmax(0.1), Softmax(1), Mean()]
COARSE = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])


@st.composite
def similarities(draw):
    """(tokens, documents, m) and (tokens, sets, k) similarities; k may be 0, and ties are common."""
    tokens, documents, m, sets, k = (draw(st.integers(*bounds)) for bounds in ((1, 4), (1, 5), (1, 6), (1, 3), (0, 6)))
    elements = draw(st.sampled_from([COARSE, st.floats(-1, 1, width=32)]))
    return tuple(torch.from_numpy(draw(arrays(np.float32, (tokens, *shape), elements=elements))) for shape in ((documents, m), (sets, k)))


def merged_and_expected(pooling, own, part):
    state, sets = pooling.pool(own), pooling.pool(part)
    sets = type(sets)(**(vars(sets) | {"n": sets.n.expand(part.shape[1])}))
    state = type(state)(**(vars(state) | {"n": state.n.expand(own.shape[1])}))
    gained, positive, share = [], [], []
    for i in range(part.shape[1]):
        one = sets.select(torch.tensor([i]))
        gain = pooling.score(pooling.merge(state, one)) - pooling.score(state)
        gained.append(gain.sum(0))
        positive.append(gain.clamp(min=0).sum(0))
        share.append(pooling.share(state, one).sum(0))
    return Documents.of(pooling, state, np.arange(own.shape[1])).merged(sets), tuple(
        torch.stack(rows).numpy() for rows in (gained, positive, share)
    )


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
@settings(max_examples=60, deadline=None)
@given(data=similarities())
def test_gains_and_shares_follow_the_definition(pooling, data):
    merged, expected = merged_and_expected(pooling, *data)
    assert merged.tokens == len(data[0])
    for actual, wanted in zip((merged.gained, merged.positive, merged.share), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_an_empty_set_changes_nothing_at_all(pooling):
    merged, _ = merged_and_expected(pooling, torch.rand(5, 40, 7), torch.empty(5, 2, 0))
    assert not merged.gained.any()
    assert not merged.positive.any()
    assert not merged.share.any()


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_more_documents_than_one_strip_holds(pooling):
    own, part = torch.rand(2, _merging._LANES + 3, 5), torch.rand(2, 2, 3)
    merged, expected = merged_and_expected(pooling, own, part)
    np.testing.assert_allclose(merged.gained, expected[0], rtol=1e-5, atol=2e-6)
