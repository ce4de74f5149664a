"""Recall and nDCG of the first ten, over many rankings of one query at once.

For curves over hundreds of conditions; the figures of the plain rankings are `retrieval`'s, by ir-measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.bench import Bench

CUTOFF = 10


class Order:
    """Ranks by score; equal scores by falling document id, which is trec_eval's rule."""

    def __init__(self, ids: Sequence[str]) -> None:
        """Keep the place of every document's id among all ids."""
        by_id = torch.tensor(sorted(range(len(ids)), key=ids.__getitem__), dtype=torch.int64)
        self._place = torch.empty_like(by_id)
        self._place[by_id] = torch.arange(len(ids))

    def first(self, scores: Tensor) -> Tensor:
        """Return the positions of the ten best documents (fewer where there are fewer) of (..., documents) fp32 scores."""
        # One whole number holds score and id: the bits of a float, read as an integer, keep its order (mirrored below 0).
        bits = (scores.float() + 0.0).view(torch.int32).to(torch.int64)
        keys = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits) * len(self._place) + self._place
        return keys.topk(min(CUTOFF, len(self._place)), -1).indices


@dataclass(frozen=True, eq=False)
class Judgements:
    """What counts for one query: each document's gain (its grade, 0 below that), and what the best ranking would give."""

    gains: Tensor
    relevant: int
    ideal: float

    @classmethod
    def of(cls, bench: Bench, query: int) -> Judgements:
        """Take the judgements of query number `query`, which has a relevant document."""
        gains = torch.zeros(len(bench.documents), dtype=torch.float64)
        for document, grade in bench.grades[query].items():
            gains[document] = max(0, grade)
        best = gains.sort(descending=True).values[:CUTOFF]
        return cls(gains, int((gains > 0).sum()), float((best * _discounts(len(best))).sum()))

    def recall(self, first: Tensor) -> NDArray[np.float64]:
        """Return relevant documents in the first ten / min(relevant documents, 10), for (..., 10) positions."""
        return ((self.gains[first] > 0).sum(-1) / min(self.relevant, CUTOFF)).numpy()

    def ndcg(self, first: Tensor) -> NDArray[np.float64]:
        """Return nDCG@10 with linear gains, for (..., 10) positions."""
        return ((self.gains[first] * _discounts(first.shape[-1])).sum(-1) / self.ideal).numpy()


def _discounts(ranks: int) -> Tensor:
    return 1 / torch.arange(2, ranks + 2, dtype=torch.float64).log2()
