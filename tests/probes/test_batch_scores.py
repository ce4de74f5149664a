"""Scores of a training batch against torch's own operations and its automatic gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim, Mean, Pooling, Softmax, TopK
from lidiag.probes import _batch_scores as batch
from tests.probes.toy import gaussian

POOLINGS = [MaxSim(), TopK(1), TopK(4), Softmax(0.1), Softmax(1.0), Mean()]
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def _items(lengths: list[int], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> MultiVectors:
    return MultiVectors.pack([gaussian(generator, n, 6).to(dtype) for n in lengths])


def _gradients(function, queries: MultiVectors, documents: MultiVectors, pooling: Pooling, upstream: torch.Tensor):
    q, d = queries.vectors.clone().requires_grad_(), documents.vectors.clone().requires_grad_()
    scores = function(MultiVectors(q, queries.offsets), MultiVectors(d, documents.offsets), pooling)
    (scores * upstream).sum().backward()
    return scores.detach(), q.grad, d.grad


@settings(max_examples=60, deadline=None)
@given(LENGTHS, LENGTHS, st.sampled_from(POOLINGS), st.integers(0, 2**31))
def test_scores_and_both_gradients_are_those_of_torch(of_queries, of_documents, pooling, seed):
    generator = torch.Generator().manual_seed(seed)
    queries, documents = _items(of_queries, generator), _items(of_documents, generator)
    upstream = torch.randn(len(queries), len(documents), generator=generator)
    reference = MaxSim(argmax=True) if pooling == MaxSim() else pooling
    ours = _gradients(batch.batch_scores, queries, documents, pooling, upstream)
    theirs = _gradients(batch.eager_scores, queries, documents, reference, upstream)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_of_equal_vectors_a_bounded_number_takes_the_gradient(pooling):
    generator = torch.Generator().manual_seed(0)
    queries, row = _items([3], generator), gaussian(generator, 1, 6)
    documents = MultiVectors.pack([row.expand(7, -1)])
    _, _, gradient = _gradients(batch.batch_scores, queries, documents, pooling, torch.ones(1, 1))
    torch.testing.assert_close(gradient.sum(0), queries.vectors.sum(0))
    taken = int((gradient.norm(dim=1) > 1e-6).sum())
    assert taken == {"maxsim": 1, "topk(1)": 1, "topk(4)": 4}.get(repr(pooling), 7)


def test_a_batch_larger_than_one_block_gives_the_same():
    generator = torch.Generator().manual_seed(1)
    queries, documents = _items([40] * 8, generator), _items([900, 5, 1200, 300, 1], generator)
    upstream = torch.randn(8, 5, generator=generator)
    ours = _gradients(batch.batch_scores, queries, documents, TopK(4), upstream)
    theirs = _gradients(batch.eager_scores, queries, documents, TopK(4), upstream)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)


def test_the_number_of_threads_changes_no_byte():
    generator = torch.Generator().manual_seed(2)
    queries, documents = _items([20] * 10, generator), _items([300, 40, 700, 8] * 4, generator)
    upstream = torch.randn(10, 16, generator=generator)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(_gradients(batch.batch_scores, queries, documents, Softmax(0.1), upstream))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_double_precision_is_left_to_torch():
    generator = torch.Generator().manual_seed(3)
    queries, documents = _items([3], generator, torch.float64), _items([4, 2], generator, torch.float64)
    scores = batch.batch_scores(queries, documents, MaxSim())
    by_hand = [float((queries[0] @ document.T).max(1).values.sum()) for document in documents]
    assert scores.dtype == torch.float64
    assert scores[0].tolist() == pytest.approx(by_hand)
