"""The similarities beyond the best: what each query sees of the documents of its pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.bench import Bench
from lidiag.multivector import MultiVectors, blocks
from lidiag.resident import Trail

from ._moments import Moments
from ._threads import in_threads

Array = NDArray[np.float64]

RANKS = {"1": (1, 1), "2-4": (2, 4), "5-16": (5, 16), "17-32": (17, 32)}
DEEPEST = 32

_QUERIES_AT_A_TIME = 16
_ROWS = 2**12  # vectors summed up at a time


@dataclass(frozen=True, eq=False)
class Pool:
    """One query's candidates, drawn without looking at a single token's similarity.

    `documents` (p,) are positions in the collection, best first; `relevant` and `size` (vectors) are theirs; `left_out`
    counts the relevant documents that are not among them.
    """

    documents: NDArray[np.int64]
    relevant: NDArray[np.bool_]
    size: NDArray[np.int64]
    left_out: int

    @property
    def mixed(self) -> bool:
        """Whether there is something to tell apart."""
        return bool(self.relevant.any() and not self.relevant.all())


def pools(bench: Bench, size: int) -> list[Pool]:
    """Return each query's `size` nearest documents by the cosine of mean vectors; empty documents are in none."""
    filled = np.flatnonzero(bench.lengths)
    cosines = _means(bench.queries) @ _means(bench.documents)[torch.from_numpy(filled)].T
    drawn: list[Pool] = []
    for query, row in enumerate(cosines):
        # Sorted stably: documents that are equally near come in the collection's order.
        chosen = filled[row.sort(descending=True, stable=True).indices[:size].numpy()]
        relevant = np.isin(chosen, bench.relevant[query])
        drawn.append(Pool(chosen, relevant, bench.lengths[chosen], len(bench.relevant[query]) - int(relevant.sum())))
    return drawn


@dataclass(frozen=True, eq=False)
class Seen:
    """What one query sees of its pool.

    `similarity` (p, ranks): for each range of RANKS the mean over query tokens of the mean similarity at those ranks, NaN
    where a document has no vector at any of them. `margin` (p,): rank 1 minus rank 2, over the standard deviation of the
    query token's similarities to all vectors of the collection, mean over query tokens; NaN for a single vector. `topk`
    (p, k): the score under TopK(1), TopK(2) and so on. `tail` (p,): sum over query tokens of the mean similarity at the
    ranks asked for, at rank 1 for a document of a single vector.
    """

    similarity: Array
    margin: Array
    topk: Array
    tail: Array


def seen(bench: Bench, drawn: Sequence[Pool], deepest_k: int, tail: tuple[int, int]) -> Iterator[Seen]:
    """Yield what every query sees of its pool."""
    moments, deepest = Moments.of(bench.documents), max(DEEPEST, deepest_k, tail[1])

    def look(query: int) -> Seen:
        pool, tokens = drawn[query], bench.queries[query].float()
        values = _falling(bench, tokens, pool, deepest).double()
        spread = moments.spread(tokens).double().unsqueeze(1)
        similarity = torch.stack([_mean_of_ranks(values, *ranks).mean(0) for ranks in RANKS.values()], 1)
        margin = ((values[..., 0] - values[..., 1]) / spread).mean(0)
        alone = torch.from_numpy(pool.size == 1)
        deep = torch.where(alone, values[..., 0], _mean_of_ranks(values, *tail)).sum(0)
        return Seen(similarity.numpy(), torch.where(alone, torch.nan, margin).numpy(), _topk(values, pool.size, deepest_k), deep.numpy())

    yield from in_threads(look, range(len(drawn)), _QUERIES_AT_A_TIME)


def _falling(bench: Bench, tokens: Tensor, pool: Pool, deepest: int) -> Tensor:
    """Return the largest similarities (tokens, p, deepest) of each document of a pool in falling order, -inf where there are no more."""
    rows = bench.documents.select(pool.documents.tolist()).vectors
    similarities = (tokens.to(bench.device) @ rows.to(bench.device, torch.float32).T).cpu().numpy()
    falling = np.full((len(tokens), len(pool.documents), deepest), -np.inf, np.float32)
    ends = pool.size.cumsum()
    for document, (start, end) in enumerate(zip(ends - pool.size, ends, strict=True)):
        # All of them are sorted: numpy does that in vector registers, faster than the largest are found.
        kept = np.sort(similarities[:, start:end], axis=1)[:, ::-1][:, :deepest]
        falling[:, document, : kept.shape[1]] = kept
    return torch.from_numpy(falling)


def _means(items: MultiVectors) -> Tensor:
    """Return the mean vector of each item at length 1, (items, dim); zeros of an empty one."""
    means, trail = torch.zeros(len(items), items.dim), Trail(items.vectors)
    bounds, lengths = items.offsets.tolist(), items.lengths
    for first, last in blocks(lengths, _ROWS):
        trail.reach(bounds[first])
        rows = items.vectors[bounds[first] : bounds[last]].float()
        means[first:last] = torch.segment_reduce(rows, "sum", lengths=lengths[first:last], axis=0)
    trail.end()
    return torch.nn.functional.normalize(means, dim=1)


def _mean_of_ranks(values: Tensor, first: int, last: int) -> Tensor:
    """Return the mean of ranks first..last (counted from 1) over the last axis, NaN where there are none (-inf)."""
    kept = values[..., first - 1 : last]
    there = ~kept.isneginf()
    return torch.where(there, kept, 0.0).sum(-1) / there.sum(-1)


def _topk(values: Tensor, size: NDArray[np.int64], deepest: int) -> Array:
    sums = torch.where(values.isneginf(), 0.0, values)[..., :deepest].cumsum(-1).sum(0).numpy()
    return sums / np.minimum(np.arange(1, deepest + 1), size[:, None])
