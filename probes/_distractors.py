"""Vectors drawn to be put into documents: random ones of the corpus, and ones made up.

Every kind gives an order of vectors, so that the first k of it are the set for every k: the sets of a sweep are nested.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.bench import Bench
from lidiag.multivector import MultiVectors

from ._moments import Moments

TARGETED = ("targeted", "targeted_pooled")
RANDOM = ("spike", "random", "passage", "gaussian", "gaussian_matched")

_SPIKE_TOKENS = 4


def available(bench: Bench) -> int:
    """Return how many corpus vectors every query has outside its relevant documents."""
    return len(bench.documents.vectors) - max(int(bench.lengths[relevant].sum()) for relevant in bench.relevant)


class Source:
    """What random distractors are made from: the corpus, and the moments of its vectors."""

    def __init__(self, documents: MultiVectors) -> None:
        """Take the moments."""
        self._documents = documents
        self.moments = Moments.of(documents)

    def draw(self, kind: str, query: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        """Return one draw of `count` vectors (count, dim) of a random kind for a query's token vectors (tokens, dim)."""
        n = len(self._documents.vectors)
        if kind == "random":
            return self.rows(rng.choice(n, count, replace=False))
        if kind == "passage":
            return self.rows(rng.integers(n - count + 1) + np.arange(count))
        if kind == "spike":
            chosen = rng.random((count, len(query))).argsort(1)[:, :_SPIKE_TOKENS]
            return self._scaled(query.float()[chosen].mean(1))
        normal = torch.from_numpy(rng.standard_normal((count, self._documents.dim), dtype=np.float32))
        return self._scaled(normal if kind == "gaussian" else self.moments.mean + normal @ self.moments.root.T)

    def rows(self, positions: NDArray[np.int64]) -> Tensor:
        """Return corpus vectors by their positions."""
        return self._documents.vectors[torch.from_numpy(positions)].float()

    def _scaled(self, rows: Tensor) -> Tensor:
        return torch.nn.functional.normalize(rows, dim=-1) * self.moments.norm
