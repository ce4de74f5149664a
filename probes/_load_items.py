"""A few queries or documents of a bench, from the shortest to the longest, encoded by the model itself and not by the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.adapter import Side
from lidiag.bench import Bench
from lidiag.multivector import MultiVectors


@dataclass(frozen=True, eq=False)
class Encoded:
    """Items, each with its vectors (n_i, dim) from a batch of its own, and from batches of several."""

    items: Items
    alone: Sequence[Tensor]
    together: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Items:
    """Items of one side; `positions` are theirs in the bench, `names` what a message calls them."""

    side: Side
    positions: Sequence[int]
    names: Sequence[str]
    contents: Sequence[Any]
    digests: Sequence[str]
    encode: Callable[[Sequence[Any]], MultiVectors]

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.contents)

    @property
    def plural(self) -> str:
        """Return what n counts."""
        return "queries" if self.side == "query" else "documents"

    def batch(self, chosen: Sequence[int]) -> list[Tensor]:
        """Encode the chosen items in one batch, or in halves where memory runs out."""
        try:
            return list(self.encode([self.contents[i] for i in chosen]))
        except torch.OutOfMemoryError:
            if len(chosen) == 1:
                raise
        half = len(chosen) // 2
        return self.batch(chosen[:half]) + self.batch(chosen[half:])

    def encoded(self, size: int) -> Encoded:
        """Encode every item by itself, and all in batches of `size`."""
        everything = range(len(self))
        return Encoded(self, [self.batch([i])[0] for i in everything], self.batches(everything, size))

    def batches(self, order: Sequence[int], size: int) -> list[Tensor]:
        """Encode all items in batches along `order`; return them in their own order."""
        encoded = [vectors for start in range(0, len(order), size) for vectors in self.batch(order[start : start + size])]
        place = {item: row for row, item in enumerate(order)}
        return [encoded[place[item]] for item in range(len(self))]


def queries(bench: Bench, count: int) -> Items:
    """Draw queries, evenly from the shortest to the longest."""
    chosen = _spread(bench.queries.lengths.numpy(), count, bench.rng("load-check queries"))
    texts = [bench.query_texts[i] for i in chosen]
    return Items("query", chosen, [bench.query_ids[i] for i in chosen], texts, texts, bench.adapter.queries)


def documents(bench: Bench, count: int) -> Items:
    """Draw documents that have a vector, evenly from the shortest to the longest."""
    chosen = _spread(bench.lengths, count, bench.rng("load-check documents"))
    contents = [bench.dataset.documents[i] for i in chosen]
    digests = [document.digest() for document in contents]
    return Items("document", chosen, [document.id for document in contents], contents, digests, bench.adapter.documents)


def _spread(lengths: NDArray[np.int64], count: int, rng: np.random.Generator) -> list[int]:
    """Choose positions evenly along the order of length, in a drawn order, so that batches mix short and long items."""
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(np.int64))
    return [int(position) for position in rng.permutation(order[places])]
