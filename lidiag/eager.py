"""The pass in plain torch: any device, and any pooling. The reference for the compiled ones.

Documents go by in order of length, so that documents of one length are reduced by one call and nothing is ever padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from lidiag.multivector import MultiVectors, blocks
from lidiag.pooling import Pooling


class EagerPass:
    """Pools blocks of queries against all documents, run by run of equally long documents."""

    def __init__(  # noqa: PLR0913 - mirrors the fused pass, plus the device
        self,
        documents: MultiVectors,
        poolings: Sequence[Pooling],
        prefixes: Sequence[int],
        *,
        keep: bool,
        document_tokens: int,
        device: str | torch.device,
    ) -> None:
        """`keep` keeps the states of whole documents; a block has at most `document_tokens` rows, or those of one longer document."""
        self._documents = documents
        self._poolings = poolings
        self._prefixes = (None, *prefixes)
        self._keep = keep
        self._device = device
        lengths, self._order = documents.lengths.sort(stable=True)
        self._inverse = self._order.argsort()
        self._blocks = blocks(lengths, document_tokens)

    @property
    def floats(self) -> tuple[int, int]:
        """Numbers written per query and document, and per query token and document."""
        parts = len(self._prefixes)
        return parts * len(self._poolings), sum(_floats(pooling) for pooling in self._poolings) * self._keep

    def pool(self, tokens: Tensor, offsets: Tensor) -> dict[int | None, tuple[dict[Pooling, Tensor], dict[Pooling, Any]]]:
        """Pool a block of queries: scores by pooling and states by pooling, for whole documents (None) and for every prefix."""
        tokens, lengths = tokens.to(self._device), offsets.diff().to(self._device)
        pieces = {
            prefix: {pooling: _Pieces(pooling, lengths, keep=self._keep and prefix is None) for pooling in self._poolings}
            for prefix in self._prefixes
        }
        for similarities, runs in self._similarities(tokens):
            column = 0
            for count, length in runs:
                run = similarities[:, column : column + count * length].unflatten(1, (count, length))
                column += count * length
                for prefix, by_pooling in pieces.items():
                    for piece in by_pooling.values():
                        piece.add(run if prefix is None else run[..., :prefix], count)
        return {prefix: self._read(by_pooling) for prefix, by_pooling in pieces.items()}

    def _similarities(self, tokens: Tensor) -> Iterator[tuple[Tensor, list[tuple[int, int]]]]:
        """Yield (query_tokens, document_tokens) similarities and runs of (count, length): documents of one length."""
        bounds, order = self._documents.offsets.tolist(), self._order.tolist()
        # A first block of no documents, so that a collection without any has scores and states too.
        for chosen in ([], *(order[first:last] for first, last in self._blocks)):
            rows = [self._documents.vectors[bounds[i] : bounds[i + 1]] for i in chosen]
            vectors = torch.cat(rows or [self._documents.vectors[:0]]).to(self._device, torch.float32)
            by_length = groupby(bounds[i + 1] - bounds[i] for i in chosen)
            yield tokens @ vectors.T, [(len(list(group)), length) for length, group in by_length] or [(0, 0)]

    def _read(self, pieces: dict[Pooling, _Pieces]) -> tuple[dict[Pooling, Tensor], dict[Pooling, Any]]:
        scores = {pooling: torch.cat(piece.scores, 1).cpu()[:, self._inverse] for pooling, piece in pieces.items()}
        states = {pooling: _join(piece.states).select(self._inverse) for pooling, piece in pieces.items() if piece.states}
        return scores, states


@dataclass(frozen=True, eq=False)
class _Pieces:
    """One pooling's scores and states, run after run of documents."""

    pooling: Pooling
    lengths: Tensor  # tokens of each query
    keep: bool
    scores: list[Tensor] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)

    def add(self, run: Tensor, documents: int) -> None:
        """Pool (query_tokens, documents, length) similarities."""
        state = self.pooling.pool(run)
        self.scores.append(torch.segment_reduce(self.pooling.score(state), "sum", lengths=self.lengths, axis=0))
        if self.keep:
            # Every document gets its own n, so that runs of several lengths join.
            self.states.append(type(state)(**vars(state) | {"n": state.n.expand(documents)}))


def _join(states: Sequence[Any]) -> Any:
    joined: dict[str, Tensor | None] = {}
    for name, value in vars(states[0]).items():
        # (documents,) for n, (tokens, documents) for a number per token, (tokens, documents, k) for k of them
        joined[name] = None if value is None else torch.cat([getattr(state, name) for state in states], min(1, value.ndim - 1)).cpu()
    return type(states[0])(**joined)


def _floats(pooling: Pooling) -> int:
    state = pooling.pool(torch.zeros(1, 1))
    return sum(part.numel() for name, part in vars(state).items() if part is not None and name != "n")
