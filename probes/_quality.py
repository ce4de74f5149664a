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
        leaders = self.leaders(len(rows))
        leaders.see(rows, 0)
        return leaders.first.reshape(*scores.shape[:-1], -1)

    def leaders(self, rankings: int) -> Leaders:
        """Return what keeps the ten best documents of each of several rankings."""
        return Leaders(self._place, rankings)


class Leaders:
    """The ten best documents of several rankings, while the documents go by in parts."""

    def __init__(self, place: NDArray[np.int64], rankings: int) -> None:
        """Begin with none; `place` (documents,) is each id's among all ids."""
        shape = (rankings, min(CUTOFF, len(place)))
        self._place, self._found = place, np.zeros(rankings, np.int64)
        self._values, self._first = np.empty(shape, np.float32), np.empty(shape, np.int64)

    def see(self, scores: NDArray[np.float32], start: int) -> None:
        """Take (rankings, some documents) scores; the first of them is document number `start`."""
        kernels.first(scores, start, self._place, self._found, self._values, self._first)

    @property
    def first(self) -> Tensor:
        """The positions (rankings, ten or fewer), best first, once all documents went by."""
        return torch.from_numpy(self._first)


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
