"""The similarity pass: every query-token x document-token similarity is computed once, pooled in every way, and dropped.

Queries are outermost, and documents go by in blocks whose similarities stay in the processor's cache. No state outlives its
block of queries, so memory does not grow with queries times documents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from lidiag.eager import EagerPass
from lidiag.fused import FusedPass
from lidiag.multivector import MultiVectors
from lidiag.pooling import Hybrid, MaxSim, Pooling, Scoring, Single
from lidiag.triton_pass import TritonPass


@dataclass(frozen=True)
class Needs:
    """What a probe wants from a pass.

    `tokens` keeps the states of every query token with every document. `prefixes` asks for the scores of documents cut to
    their first p vectors too, for each p.
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
    """The size of a block: query tokens x document tokens, and the floats that its scores and states may take together.

    Who goes over blocks in a loop holds one while the next is made, unless he lets it forget: there is room for two.
    A block holds whole queries and whole documents: it exceeds the bounds by less than one query, or is one long document.
    """

    query_tokens: int = 3072
    document_tokens: int = 256
    floats: int = 2**28

    @classmethod
    def on(cls, device: str | torch.device) -> Tiling:
        """Return blocks that stay in a processor's cache, or large ones where a call costs more than a small block's work."""
        return cls() if torch.device(device).type == "cpu" else cls(document_tokens=2**16)


@dataclass(frozen=True, eq=False)
class Pooled:
    """All documents as one block of queries sees them.

    `states` maps a pooling to its state, (query_tokens, documents), where they were asked for; of whole documents only.
    """

    offsets: Tensor
    totals: dict[Scoring, Tensor]
    states: dict[Pooling, Any]

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

    def forget(self) -> None:
        """Let scores and states go, whoever still holds the block: there may be no room for them beside the next one's."""
        for part in (self.whole, *self.prefixes.values()):
            part.totals.clear()
            part.states.clear()

    def state(self, pooling: Pooling) -> Any:
        """Return the (query_tokens, documents) state of whole documents."""
        return self.whole.states[pooling]

    def state_of(self, pooling: Pooling, row: int) -> Any:
        """Return the (query_tokens, documents) state of one query, number `row` of the block."""
        start, end = self.offsets[row : row + 2].tolist()
        state = self.state(pooling)
        return type(state)(**{name: part if name == "n" or part is None else part[start:end] for name, part in vars(state).items()})

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

    Similarities are computed and accumulated in fp32. A query without tokens scores 0 with every document. `advance` is
    told the number of query tokens finished. Compiled kernels do it on the processor (`FusedPass`) and, where Triton can
    start, on a GPU (`TritonPass`); what they do not know, and other devices, go by plain torch (`EagerPass`).

    Raises:
        ValueError: the two sides differ in dim, or a score over pooled vectors is asked of sides without them.
    """
    if queries.dim != documents.dim:
        raise ValueError(f"query vectors have {queries.dim} dimensions and document vectors {documents.dim}")
    tiling = tiling or Tiling.on(device)
    poolings = _token_poolings(needs.poolings)
    engine: FusedPass | TritonPass | EagerPass
    if torch.device(device).type == "cpu" and FusedPass.knows(poolings):
        engine = FusedPass(documents, poolings, needs.prefixes, keep=needs.tokens, document_tokens=tiling.document_tokens)
    else:
        on_gpu = torch.device(device).type == "cuda" and TritonPass.knows(poolings) and TritonPass.starts(device)
        kind = TritonPass if on_gpu else EagerPass
        engine = kind(documents, poolings, needs.prefixes, keep=needs.tokens, document_tokens=tiling.document_tokens, device=device)
    nothing = None if documents.pooled is None else ~documents.pooled.any(1)
    for chosen in _query_blocks(queries, len(documents), engine.floats, tiling):
        start, end = int(queries.offsets[chosen.start]), int(queries.offsets[chosen.stop])
        offsets = queries.offsets[chosen.start : chosen.stop + 1] - start
        cosine = _cosine(queries, documents, needs.poolings, chosen)
        pooled = {
            prefix: Pooled(offsets, totals | _with_cosine(cosine, nothing, needs.poolings, totals, offsets), states)
            for prefix, (totals, states) in engine.pool(queries.vectors[start:end].float(), offsets).items()
        }
        whole = pooled.pop(None)
        yield Block(chosen, whole, {prefix: part for prefix, part in pooled.items() if prefix is not None})
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


def _cosine(queries: MultiVectors, documents: MultiVectors, scorings: Sequence[Scoring], chosen: range) -> Tensor:
    """Return the (queries, documents) cosines of the pooled vectors, where a scoring uses them; 0 where one is 0."""
    wanted = [scoring for scoring in scorings if isinstance(scoring, (Single, Hybrid))]
    if not wanted:
        return torch.empty(0)
    if queries.pooled is None or documents.pooled is None:
        raise ValueError(f"{wanted[0]} needs pooled vectors beside the tokens, and this model gives none")
    normalize = torch.nn.functional.normalize
    return normalize(queries.pooled[chosen.start : chosen.stop].float()) @ normalize(documents.pooled.float()).T


def _with_cosine(
    cosine: Tensor, nothing: Tensor | None, scorings: Sequence[Scoring], totals: Mapping[Pooling, Tensor], offsets: Tensor
) -> dict[Scoring, Tensor]:
    """Return the scores that use the cosines; a document whose pooled vector is `nothing` has no single score."""
    scores: dict[Scoring, Tensor] = {}
    for scoring in scorings:
        if isinstance(scoring, Single):
            scores[scoring] = cosine if nothing is None else cosine.masked_fill(nothing, -torch.inf)
        elif isinstance(scoring, Hybrid):
            late = totals[MaxSim()] / offsets.diff().clamp(min=1).unsqueeze(1)
            scores[scoring] = scoring.single * cosine + scoring.late * late
    return scores


def _query_blocks(queries: MultiVectors, documents: int, floats: tuple[int, int], tiling: Tiling) -> list[range]:
    """Divide the queries into blocks of nearly equal cost: the last one would be too narrow for a fast product otherwise."""
    if len(queries) == 0:
        return []
    per_query, per_token = (documents * each for each in floats)
    lengths = queries.lengths.double()
    cost = torch.maximum(lengths / tiling.query_tokens, (per_query + per_token * lengths) / tiling.floats)
    total = float(cost.sum())
    blocks = math.ceil(total)
    block = ((cost.cumsum(0) - cost) * (blocks / total)).floor() if total else cost
    bounds = [0, *(block.diff().nonzero().flatten() + 1).tolist(), len(queries)]
    return [range(first, last) for first, last in pairwise(bounds)]
