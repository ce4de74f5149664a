"""The similarity pass: every query-token x document-token similarity is computed once, pooled in every way, and dropped.

Queries are outermost. Documents go by in order of length, in blocks whose similarities stay in the processor's cache, so
documents of one length are reduced by one call and nothing is ever padded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from lidiag.multivector import MultiVectors
from lidiag.pooling import Hybrid, MaxSim, Pooling, Scoring, Single


@dataclass(frozen=True)
class Needs:
    """What a probe wants from a pass.

    `tokens` keeps the states of every query token, not only the scores of the queries. `prefixes` asks for the same of
    documents cut to their first p vectors, for each p.
    """

    poolings: tuple[Scoring, ...]
    tokens: bool = False
    prefixes: tuple[int, ...] = ()

    @staticmethod
    def union(needs: Sequence[Needs]) -> Needs:
        """Return what serves all of them."""
        poolings = dict.fromkeys(pooling for need in needs for pooling in need.poolings)
        prefixes = sorted({prefix for need in needs for prefix in need.prefixes})
        return Needs(tuple(poolings), any(need.tokens for need in needs), tuple(prefixes))


@dataclass(frozen=True)
class Tiling:
    """The size of a block: query tokens x document tokens, and the floats that kept states may take."""

    query_tokens: int = 2048
    document_tokens: int = 512
    state_floats: int = 2**26


@dataclass(frozen=True, eq=False)
class Pooled:
    """All documents as one block of queries sees them.

    `states` maps a pooling to its state, (query_tokens, documents), where they were asked for.
    """

    offsets: Tensor
    totals: Mapping[Scoring, Tensor]
    states: Mapping[Pooling, Any]

    def scores(self, scoring: Scoring) -> Tensor:
        """Return (queries, documents) scores in fp32, summed over the query's tokens; -inf for an empty document."""
        return self.totals[scoring]


@dataclass(frozen=True, eq=False)
class Block:
    """One block of queries against all documents, in the order they were given."""

    queries: range
    whole: Pooled
    prefixes: Mapping[int, Pooled] = field(default_factory=dict)

    def scores(self, scoring: Scoring) -> Tensor:
        """Return (queries, documents) scores of whole documents."""
        return self.whole.scores(scoring)

    def state(self, pooling: Pooling) -> Any:
        """Return the (query_tokens, documents) state of whole documents."""
        return self.whole.states[pooling]

    @property
    def offsets(self) -> Tensor:
        """Bounds of each query's tokens within the block, (queries + 1,)."""
        return self.whole.offsets


def similarity_pass(  # noqa: PLR0913 - each is a knob of the pass, named at every call
    queries: MultiVectors,
    documents: MultiVectors,
    needs: Needs,
    *,
    device: str | torch.device = "cpu",
    tiling: Tiling | None = None,
    advance: Callable[[int], None] | None = None,
) -> Iterator[Block]:
    """Yield blocks of queries, each pooled against all documents.

    Similarities are computed and accumulated in fp32. `advance` is told the number of query tokens finished.

    Raises:
        ValueError: the two sides differ in dim, or a score over pooled vectors is asked of sides without them.
    """
    if queries.dim != documents.dim:
        raise ValueError(f"query vectors have {queries.dim} dimensions and document vectors {documents.dim}")
    tiling = tiling or Tiling()
    poolings = _token_poolings(needs.poolings)
    plan = _document_blocks(documents, tiling.document_tokens)
    for block in _query_blocks(queries, len(documents), needs, tiling):
        start, end = int(queries.offsets[block.start]), int(queries.offsets[block.stop])
        offsets = queries.offsets[block.start : block.stop + 1] - start
        tokens = queries.vectors[start:end].to(device, torch.float32)
        parts = {prefix: _Collector(poolings, offsets, len(documents), needs.tokens) for prefix in (None, *needs.prefixes)}
        for columns, vectors, runs in plan.blocks(documents, device):
            similarities = tokens @ vectors.T
            for prefix, collector in parts.items():
                collector.add(similarities, runs, columns, prefix)
        pooled = {prefix: collector.pooled(plan.inverse) for prefix, collector in parts.items()}
        for part in pooled.values():
            _add_single_vector_scores(part, needs.poolings, queries, documents, block)
        whole = pooled.pop(None)
        yield Block(block, whole, {prefix: part for prefix, part in pooled.items() if prefix is not None})
        if advance:
            advance(end - start)


def _token_poolings(scorings: Sequence[Scoring]) -> tuple[Pooling, ...]:
    wanted: dict[Pooling, None] = {}
    for scoring in scorings:
        if isinstance(scoring, Hybrid):
            wanted[MaxSim()] = None
        elif not isinstance(scoring, Single):
            wanted[scoring] = None
    return tuple(wanted)


def _add_single_vector_scores(
    part: Pooled, scorings: Sequence[Scoring], queries: MultiVectors, documents: MultiVectors, block: range
) -> None:
    chosen = [scoring for scoring in scorings if isinstance(scoring, (Single, Hybrid))]
    if not chosen:
        return
    if queries.pooled is None or documents.pooled is None:
        raise ValueError(f"{chosen[0]} needs pooled vectors beside the tokens, and this model gives none")
    normalize = torch.nn.functional.normalize
    cosine = normalize(queries.pooled[block.start : block.stop].float()) @ normalize(documents.pooled.float()).T
    lengths = part.offsets.diff().clamp(min=1).unsqueeze(1)
    totals: dict[Scoring, Tensor] = part.totals  # pyright: ignore[reportAssignmentType] - made a few lines above
    for scoring in chosen:
        if isinstance(scoring, Single):
            totals[scoring] = cosine
        else:
            totals[scoring] = scoring.single * cosine + scoring.late * part.totals[MaxSim()].to(cosine) / lengths


def _query_blocks(queries: MultiVectors, documents: int, needs: Needs, tiling: Tiling) -> Iterator[range]:
    limit = tiling.query_tokens
    if needs.tokens:
        per_token = sum(_floats(pooling) for pooling in _token_poolings(needs.poolings)) * (1 + len(needs.prefixes))
        limit = min(limit, max(1, tiling.state_floats // max(1, documents * per_token)))
    bounds = queries.offsets.tolist()
    first = 0
    while first < len(queries):
        last = first + 1
        while last < len(queries) and bounds[last + 1] - bounds[first] <= limit:
            last += 1
        yield range(first, last)
        first = last


def _floats(pooling: Pooling) -> int:
    state = pooling.pool(torch.zeros(1, 1))
    return sum(part.numel() for name, part in vars(state).items() if part is not None and name != "n")


@dataclass(frozen=True)
class _DocumentBlocks:
    order: Tensor
    inverse: Tensor
    bounds: list[tuple[int, int]]
    lengths: list[int]

    def blocks(self, documents: MultiVectors, device: str | torch.device) -> Iterator[tuple[slice, Tensor, list[tuple[int, int]]]]:
        """Yield (columns, vectors, runs): runs are (count, length) of consecutive documents of one length."""
        starts = documents.offsets.tolist()
        order = self.order.tolist()
        for first, last in self.bounds:
            rows = [documents.vectors[starts[i] : starts[i + 1]] for i in order[first:last]]
            vectors = torch.cat(rows).to(device, torch.float32)
            runs: list[tuple[int, int]] = []
            for length in self.lengths[first:last]:
                if runs and runs[-1][1] == length:
                    runs[-1] = (runs[-1][0] + 1, length)
                else:
                    runs.append((1, length))
            yield slice(first, last), vectors, runs


def _document_blocks(documents: MultiVectors, tokens: int) -> _DocumentBlocks:
    lengths, order = documents.lengths.sort(stable=True)
    bounds: list[tuple[int, int]] = []
    first, width = 0, 0
    for i, length in enumerate(lengths.tolist()):
        if i > first and width + length > tokens:
            bounds.append((first, i))
            first, width = i, 0
        width += length
    if len(documents):
        bounds.append((first, len(documents)))
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order))
    return _DocumentBlocks(order, inverse, bounds, lengths.tolist())


class _Collector:
    """Pools similarities, run by run, into the scores and, where asked for, the states of all documents."""

    def __init__(self, poolings: Sequence[Pooling], offsets: Tensor, documents: int, keep: bool) -> None:
        self.offsets = offsets
        self.keep = keep
        self.documents = documents
        self.totals: dict[Pooling, Tensor] = {p: torch.empty(len(offsets) - 1, documents) for p in poolings}
        # A piece of no documents, so that a collection without any has states too.
        nothing = torch.empty(int(offsets[-1]), 0, 0)
        self.pieces: dict[Pooling, list[Any]] = {p: [_spread(p.pool(nothing), 0)] if keep else [] for p in poolings}

    def add(self, similarities: Tensor, runs: Sequence[tuple[int, int]], columns: slice, prefix: int | None) -> None:
        column, done = 0, columns.start
        for count, length in runs:
            width = count * length
            piece = similarities[:, column : column + width].unflatten(1, (count, length))
            column += width
            kept = piece if prefix is None else piece[..., :prefix]
            for pooling, totals in self.totals.items():
                state = pooling.pool(kept)
                totals[:, done : done + count] = self._sum(pooling.score(state))
                if self.keep:
                    self.pieces[pooling].append(_spread(state, count))
            done += count

    def pooled(self, inverse: Tensor) -> Pooled:
        totals: dict[Scoring, Tensor] = {pooling: total[:, inverse] for pooling, total in self.totals.items()}
        states = {pooling: _join(pieces).select(inverse) for pooling, pieces in self.pieces.items() if pieces}
        return Pooled(self.offsets, totals, states)

    def _sum(self, scores: Tensor) -> Tensor:
        bounds = pairwise(self.offsets.tolist())
        return torch.stack([scores[start:end].sum(0) for start, end in bounds]).cpu()


def _spread(state: Any, documents: int) -> Any:
    """Give every document its own n, so that pieces of several lengths join."""
    return type(state)(**(vars(state) | {"n": state.n.expand(documents)}))


def _join(pieces: Sequence[Any]) -> Any:
    first = pieces[0]
    joined = {}
    for name, value in vars(first).items():
        if value is None:
            joined[name] = None
            continue
        # (documents,) for n, (tokens, documents) for a number per token, (tokens, documents, k) for k of them
        axis = 0 if value.ndim == 1 else 1
        joined[name] = torch.cat([getattr(piece, name) for piece in pieces], axis).cpu()
    return type(first)(**joined)
