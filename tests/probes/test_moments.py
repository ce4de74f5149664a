from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from lidiag.multivector import MultiVectors
from lidiag.probes import _moments
from lidiag.probes._moments import Moments


@pytest.mark.parametrize("rows", [2**18, 7])
def test_moments_are_numpys_however_many_rows_are_taken_at_a_time(monkeypatch, rows):
    monkeypatch.setattr(_moments, "_ROWS", rows)
    vectors = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.0]) + torch.tensor([0.0, 1.0, 3.0])
    found = Moments.of(MultiVectors.pack([vectors[:20], vectors[20:]]))
    exact = vectors.double().numpy()
    covariance = np.cov(exact.T, bias=True)
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.root @ found.root.T, covariance, atol=1e-5)
    assert found.norm == pytest.approx(np.linalg.norm(exact, axis=1).mean())
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.6, -0.8, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(found.spread(directions), (exact @ directions.double().numpy().T).std(0), atol=1e-5)


def test_rounding_below_0_is_no_variance():
    vectors = torch.full((1000, 4), 0.1) * torch.linspace(0.5, 1.5, 1000)[:, None]
    assert bool(Moments.of(MultiVectors.pack([vectors])).root.isfinite().all())


def test_moments_are_taken_once_for_the_same_items_and_held_no_longer_than_they():
    items = MultiVectors.pack([torch.eye(3)])
    assert Moments.of(items) is Moments.of(items)
    assert Moments.of(MultiVectors.pack([2 * torch.eye(3)])).norm == pytest.approx(2)
    kept = weakref.ref(Moments.of(items))
    del items
    gc.collect()
    assert kept() is None
