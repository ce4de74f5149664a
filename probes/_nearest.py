"""A first look at a collection: the vectors that are nearest to each query, outside its relevant documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.bench import Bench
from lidiag.candidates import SHARE, WIDE, centre, prepare, worthwhile
from lidiag.errors import LidiagError
from lidiag.multivector import MultiVectors
from lidiag.resident import in_parts

from . import _nearest_kernels as kernels
from ._threads import in_threads

# On the processor a block of similarities stays in the cache; elsewhere it is large, as a call costs more than its work.
_QUERY_TOKENS, _DOCUMENT_TOKENS, _BLOCKS_AT_A_TIME = 1024, 1024, 16
_DOCUMENT_TOKENS_ELSEWHERE = 262_144
_LEAST = 16  # a product of fewer rows or columns adds up in another order: the division into blocks would change bytes
_COLUMNS = 256
_MOST = 64  # times the wanted number may be computed one by one before a product of all takes less time, as nothing is known at first
_ROOM = 2  # times the wanted number of candidates is kept before the least of them are dropped


@dataclass(frozen=True, eq=False)
class Nearest:
    """One query's nearest corpus vectors outside its relevant documents, as positions among all document vectors.

    `turns` goes round the query's tokens, each giving its nearest vector that is not yet taken. `pooled` are the vectors
    with the highest similarity to any token, and `pooled_tokens` the token of each. Of equal similarities the first counts.
    """

    turns: NDArray[np.int64]
    pooled: NDArray[np.int64]
    pooled_tokens: NDArray[np.int64]

    @classmethod
    def of(cls, similarities: NDArray[np.float32], positions: NDArray[np.int64]) -> Nearest:
        """Order (tokens, n) nearest vectors, which stand in falling order of similarity for each token."""
        count = positions.shape[1]
        order = np.argsort(-similarities, axis=None, kind="stable")
        _, first = np.unique(positions.ravel()[order], return_index=True)
        chosen = order[np.sort(first)[:count]]
        return cls(_in_turns(positions), positions.ravel()[chosen], chosen // count)


def first_look(bench: Bench, count: int) -> Iterator[Nearest]:
    """Yield every query's `count` nearest vectors, exactly; there must be as many outside its relevant documents.

    The k nearest of the whole query, and k turns that never take a vector twice, lie among the k nearest of its tokens.

    Raises:
        LidiagError: a query token has fewer neighbours than that, as its similarities are no numbers.
    """
    if len(bench.documents.vectors) >= kernels.POSITIONS:
        raise LidiagError(
            f"{len(bench.documents.vectors):,} document vectors are more than the {kernels.POSITIONS:,} that can be told apart.",
            "Take fewer documents: --limit.",
        )
    here = torch.device(bench.device).type == "cpu"
    search = here and len(bench.queries.vectors) >= WIDE and worthwhile(bench.queries.dim)
    mu = centre(bench.documents.vectors) if search else None

    def look(block: range) -> list[Nearest]:
        similarities, positions = _nearest(bench, block, count, mu) if here else _nearest_elsewhere(bench, block, count)
        bounds = (bench.queries.offsets[block.start : block.stop + 1] - bench.queries.offsets[block.start]).tolist()
        return [Nearest.of(similarities[start:end], positions[start:end]) for start, end in pairwise(bounds)]

    for found in in_threads(look, _blocks(bench.queries), _BLOCKS_AT_A_TIME):
        yield from found


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


def _nearest(bench: Bench, block: range, count: int, mu: Tensor | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return (tokens, count) similarities and positions of the nearest vectors of each token of a block of queries.

    `mu` (dim,) is about the mean of the documents' vectors, where candidates are searched for.
    """
    group = np.repeat(np.arange(len(block)), bench.queries.lengths[block.start : block.stop].numpy())
    wanted, start = len(group), int(bench.queries.offsets[block.start])
    tokens = torch.zeros(max(wanted, _LEAST), bench.queries.dim)
    tokens[:wanted] = bench.queries.vectors[start : start + wanted]
    reach = [bench.documents.offsets.numpy()[bench.relevant[query][:, None] + [0, 1]] for query in block]
    out_of_reach = group, np.cumsum([0, *map(len, reach)]), np.concatenate(reach)
    kept = np.full(wanted, -np.inf, np.float32), np.empty((wanted, _ROOM * count), np.int64), np.zeros(wanted, np.int64)
    prepared = prepare(tokens[:wanted], mu) if mu is not None and wanted else None
    columns = -(-max(_COLUMNS, _LEAST) // kernels.LANES) * kernels.LANES
    similarities, left = torch.empty(len(tokens), columns), _MOST * count * wanted
    for first, mapped in in_parts(bench.documents.vectors, _DOCUMENT_TOKENS):
        part = mapped.detach().float()
        if prepared and left > 0:
            computed = kernels.search(part.numpy(), prepared, first, *out_of_reach, *kept, count)
            left += int(SHARE * wanted * len(part)) - computed
            if computed >= 0:
                continue
        for begin, some in enumerate(part.split(columns)):
            rows = torch.nn.functional.pad(some, (0, 0, 0, columns - len(some))) if len(some) < columns else some
            torch.mm(tokens, rows.T, out=similarities)
            similarities[:, len(some) :] = -torch.inf
            kernels.keep(similarities[:wanted].numpy(), first + begin * columns, *out_of_reach, *kept, count)
    _, keys, filled = kept
    if wanted and filled.min() < count:
        raise LidiagError(
            f"A query token is near {filled.min()} document vectors, and {count} are asked for: its similarities are no numbers.",
            "Look at the vectors with `lidiag check`.",
        )
    found, positions = np.empty((wanted, count), np.float32), np.empty((wanted, count), np.int64)
    kernels.read(keys, filled, found, positions)
    return found, positions


def _nearest_elsewhere(bench: Bench, block: range, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the same from another device, by torch."""
    bounds = bench.queries.offsets[block.start : block.stop + 1].tolist()
    tokens = bench.queries.vectors[bounds[0] : bounds[-1]].to(bench.device, torch.float32)
    values = torch.empty(len(tokens), 0)
    positions = torch.empty(len(tokens), 0, dtype=torch.int64)
    for first in range(0, len(bench.documents.vectors), _DOCUMENT_TOKENS_ELSEWHERE):
        similarities = tokens @ bench.documents.vectors[first : first + _DOCUMENT_TOKENS_ELSEWHERE].to(bench.device, torch.float32).T
        for query, (start, end) in zip(block, pairwise(bounds), strict=True):
            _mask(similarities[start - bounds[0] : end - bounds[0]], bench, query, first)
        top = similarities.topk(min(count, similarities.shape[1]))
        values, order = torch.cat((values, top.values.cpu()), 1).sort(descending=True, stable=True)
        positions = torch.cat((positions, top.indices.cpu() + first), 1).gather(1, order)[:, :count]
        values = values[:, :count]
    return values.numpy(), positions.numpy()


def _mask(similarities: Tensor, bench: Bench, query: int, first: int) -> None:
    """Put the vectors of the query's relevant documents out of reach; column 0 is document vector number `first`."""
    for document in bench.relevant[query]:
        start, end = (bench.documents.offsets[document : document + 2] - first).tolist()
        similarities[:, max(start, 0) : max(end, 0)] = -torch.inf
