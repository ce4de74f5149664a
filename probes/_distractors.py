"""The vectors that are put into documents: nearest ones of the corpus, random ones, and ones made up.

Every kind gives an order of vectors, so that the first k of it are the set for every k: the sets of a sweep are nested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.bench import Bench
from lidiag.multivector import MultiVectors

from ._moments import Moments
from ._threads import in_threads

TARGETED = ("targeted", "targeted_pooled")
RANDOM = ("spike", "random", "passage", "gaussian", "gaussian_matched")

# A block of the first look holds 128 MB of similarities, so all of them 1 GB at most.
_QUERY_TOKENS, _DOCUMENT_TOKENS, _BLOCKS_AT_A_TIME = 128, 2**18, 8
_SPIKE_TOKENS = 4


@dataclass(frozen=True, eq=False)
class Nearest:
    """One query's nearest corpus vectors outside its relevant documents, as positions among all document vectors.

    `turns` goes round the query's tokens, each giving its nearest vector that is not yet taken. `pooled` are the vectors
    with the highest similarity to any token, and `pooled_tokens` the token of each.
    """

    turns: NDArray[np.int64]
    pooled: NDArray[np.int64]
    pooled_tokens: NDArray[np.int64]

    @classmethod
    def of(cls, similarities: NDArray[np.float32], positions: NDArray[np.int64]) -> Nearest:
        """Order (tokens, n) nearest vectors, which stand in falling order of similarity for each token."""
        count = positions.shape[1]
        order = np.argsort(-similarities, axis=None, kind="stable")
        _, first = np.unique(positions.reshape(-1)[order], return_index=True)
        chosen = order[np.sort(first)[:count]]
        return cls(_in_turns(positions), positions.reshape(-1)[chosen], chosen // count)


def first_look(bench: Bench, count: int) -> Iterator[Nearest]:
    """Yield every query's `count` nearest vectors, exactly; there must be as many outside its relevant documents.

    The k nearest of the whole query, and k turns that never take a vector twice, lie among the k nearest of its tokens.
    """

    def look(block: range) -> list[Nearest]:
        similarities, positions = _nearest(bench, block, count)
        bounds = (bench.queries.offsets[block.start : block.stop + 1] - bench.queries.offsets[block.start]).tolist()
        return [Nearest.of(similarities[start:end], positions[start:end]) for start, end in pairwise(bounds)]

    for found in in_threads(look, _blocks(bench.queries), _BLOCKS_AT_A_TIME):
        yield from found


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


def _in_turns(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    count = positions.shape[1]
    queues = [iter(row) for row in positions.tolist()]
    taken: dict[int, None] = {}
    while True:
        for queue in queues:
            # Each token has as many candidates as are wanted in all, so no queue runs dry before the end.
            taken[next(position for position in queue if position not in taken)] = None
            if len(taken) == count:
                return np.fromiter(taken, dtype=np.int64)


def _blocks(queries: MultiVectors) -> Iterator[range]:
    bounds = queries.offsets.tolist()
    first = 0
    while first < len(queries):
        last = first + 1
        while last < len(queries) and bounds[last + 1] - bounds[first] <= _QUERY_TOKENS:
            last += 1
        yield range(first, last)
        first = last


def _nearest(bench: Bench, block: range, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return (tokens, count) similarities and positions of the nearest vectors of each token of a block of queries."""
    bounds = bench.queries.offsets[block.start : block.stop + 1].tolist()
    tokens = bench.queries.vectors[bounds[0] : bounds[-1]].to(bench.device, torch.float32)
    values = torch.empty(len(tokens), 0)
    positions = torch.empty(len(tokens), 0, dtype=torch.int64)
    for first in range(0, len(bench.documents.vectors), _DOCUMENT_TOKENS):
        similarities = tokens @ bench.documents.vectors[first : first + _DOCUMENT_TOKENS].to(bench.device, torch.float32).T
        for query, (start, end) in zip(block, pairwise(bounds), strict=True):
            _mask(similarities[start - bounds[0] : end - bounds[0]], bench, query, first)
        top = similarities.topk(min(count, similarities.shape[1]), -1)
        values, order = torch.cat((values, top.values.cpu()), 1).sort(dim=-1, descending=True, stable=True)
        positions = torch.cat((positions, top.indices.cpu() + first), 1).gather(1, order)[:, :count]
        values = values[:, :count]
    return values.numpy(), positions.numpy()


def _mask(similarities: Tensor, bench: Bench, query: int, first: int) -> None:
    """Put the vectors of the query's relevant documents out of reach; column 0 is document vector number `first`."""
    for document in bench.relevant[query]:
        start, end = (bench.documents.offsets[document : document + 2] - first).tolist()
        similarities[:, max(start, 0) : max(end, 0)] = -torch.inf
