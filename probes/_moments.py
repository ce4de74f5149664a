"""Mean and covariance of all vectors of a collection."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lidiag.multivector import MultiVectors
from lidiag.resident import in_parts

_ROWS = 4096  # taken to float64 at a time: they stay in the cache


@dataclass(frozen=True, eq=False)
class Moments:
    """The mean (dim,), a root of the covariance (dim, dim) with root @ root.T = covariance, and the mean length of a row."""

    mean: Tensor
    root: Tensor
    norm: float

    @classmethod
    def of(cls, items: MultiVectors) -> Moments:
        """Take the moments of all token vectors, in float64; once, however many ask for those of the same items."""
        if items not in _taken:
            _taken[items] = cls._of(items)
        return _taken[items]

    @classmethod
    def _of(cls, items: MultiVectors) -> Moments:
        total = torch.zeros(items.dim, dtype=torch.float64)
        products = torch.zeros(items.dim, items.dim, dtype=torch.float64)
        norm = 0.0
        for _, part in in_parts(items.vectors, _ROWS):
            rows = part.double()
            total += rows.sum(0)
            products.addmm_(rows.T, rows)
            norm += float(rows.square().sum(1).sqrt().sum())
        n = len(items.vectors)
        mean = total / n
        values, axes = torch.linalg.eigh(products / n - mean.outer(mean))
        return cls(mean.float(), (axes * values.clamp(min=0).sqrt()).float(), norm / n)

    def spread(self, directions: Tensor) -> Tensor:
        """Return the standard deviation of the products of all vectors with each of (n, dim) directions."""
        return (directions.float() @ self.root).norm(dim=1)


_taken: WeakKeyDictionary[MultiVectors, Moments] = WeakKeyDictionary()
