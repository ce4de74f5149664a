from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lidiag.pooling import Hybrid, MaxSim, Mean, Softmax, TopK
from lidiag.probes._nested import nested

POOLINGS = [MaxSim(), TopK(1), TopK(4), Softmax(0.02), Softmax(0.1), Softmax(1), Mean()]
COARSE = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])


@st.composite
def sets_and_sizes(draw):
    """(tokens, sets, most) similarities, where ties are common, and rising sizes."""
    tokens, sets, most = (draw(st.integers(1, high)) for high in (3, 3, 9))
    elements = draw(st.sampled_from([COARSE, st.floats(-1, 1, width=32)]))
    sizes = sorted(draw(st.sets(st.integers(0, most), min_size=1)))
    return torch.from_numpy(draw(arrays(np.float32, (tokens, sets, most), elements=elements))), sizes


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
@settings(max_examples=60, deadline=None)
@given(data=sets_and_sizes())
def test_every_size_has_the_state_of_its_first_vectors(pooling, data):
    similarities, sizes = data
    states = nested(pooling, similarities, sizes)
    assert states.n.tolist() == sizes * similarities.shape[1]
    for i, size in enumerate(sizes):
        expected = pooling.pool(similarities[..., :size].double())
        for name, values in vars(expected).items():
            if name not in {"n", "argmax"}:
                actual = getattr(states, name)[:, i :: len(sizes)]
                np.testing.assert_allclose(actual.numpy(), values.numpy(), rtol=1e-5, atol=1e-6)


def test_what_pools_no_similarities_has_no_state():
    with pytest.raises(TypeError, match="no compiled form"):
        nested(Hybrid(1, 1), torch.zeros(1, 1, 1), (1,))
