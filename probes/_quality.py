"""Recall and nDCG of the first ten, over many rankings of one query at once.

For curves over hundreds of conditions; the figures of the plain rankings are `retrieval`'s, by ir-measures.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.bench import Bench

from . import _quality_kernels as kernels

CUTOFF = 10


class Order:
    """Ranks by score; equal scores by falling document id, which is trec_eval's rule."""

    def __init__(self, ids: Sequence[str]) -> None:
        """Keep the place of every document's id among all ids."""
        self._place = np.empty(len(ids), dtype=np.int64)
        self._place[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))

    def first(self, scores: Tensor) -> Tensor:
        """Return the positions of the ten best documents (fewer where there are fewer) of (..., documents) fp32 scores."""
        rows = scores.detach().float().reshape(-1, len(self._place)).contiguous().numpy()
        found = np.empty((len(rows), min(CUTOFF, len(self._place))), dtype=np.int64)
        kernels.first(rows, self._place, found)
        return torch.from_numpy(found).reshape(*scores.shape[:-1], -1)


@dataclass(frozen=True, eq=False)
class Judgements:
    """What counts for one query: each document's gain (its grade, 0 below that), and what the best ranking would give."""

    gains: Tensor
    relevant: int
    ideal: float

    @classmethod
    def of(cls, bench: Bench, query: int) -> Judgements:
        """Take the judgements of query number `query`, which has a relevant document."""
        positive = {document: float(grade) for document, grade in bench.grades[query].items() if grade > 0}
        gains = torch.zeros(len(bench.documents), dtype=torch.float64)
        gains[list(positive)] = torch.tensor(list(positive.values()), dtype=torch.float64)
        best = torch.tensor(sorted(positive.values(), reverse=True)[:CUTOFF], dtype=torch.float64)
        return cls(gains, len(positive), float((best * _discounts(len(best))).sum()))

    def recall(self, first: Tensor) -> NDArray[np.float64]:
        """Return relevant documents in the first ten / min(relevant documents, 10), for (..., 10) positions."""
        return ((self.gains[first] > 0).sum(-1) / min(self.relevant, CUTOFF)).numpy()

    def ndcg(self, first: Tensor) -> NDArray[np.float64]:
        """Return nDCG@10 with linear gains, for (..., 10) positions."""
        return ((self.gains[first] * _discounts(first.shape[-1])).sum(-1) / self.ideal).numpy()


@functools.cache
def _discounts(ranks: int) -> Tensor:
    return 1 / torch.arange(2, ranks + 2, dtype=torch.float64).log2()
