"""Which query token matched which word or patch, clean and with injected distractors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.adapter import Adapter, Label
from lidiag.dataset import Document
from lidiag.errors import LidiagError

# A spike is the mean of four of the query's own vectors: what a hard negative's hijacking patch is made of in the
# Spike Hijacking world (arXiv 2604.05253), normalised.
_VECTORS_PER_SPIKE = 4


@dataclass(frozen=True)
class Match:
    """What one query token matched: the winning document vector, and the best injected one."""

    label: Label
    winner: int
    similarity: float
    injected: float | None

    @property
    def hijacked(self) -> bool:
        """Tell whether an injected vector beats every vector of the document; a tie stays with the document."""
        return self.injected is not None and self.injected > self.similarity


@dataclass(frozen=True, eq=False)
class Attribution:
    """One query against one document under MaxSim. `similarities` is (query tokens, document tokens)."""

    query: str
    document: Document
    model: str
    labels: Sequence[Label]
    similarities: NDArray[np.float32]
    matches: Sequence[Match]
    injected: int

    @property
    def score(self) -> float:
        """Sum over query tokens of the largest similarity."""
        return sum(match.similarity for match in self.matches)

    @property
    def injected_score(self) -> float:
        """The score with the injected vectors in the document."""
        return sum(max(match.similarity, match.injected or match.similarity) for match in self.matches)

    def shares(self, *, clean: bool) -> NDArray[np.float64]:
        """Return each document vector's share of the score, (document tokens,); hijacked query tokens give none unless `clean`."""
        shares = np.zeros(len(self.labels))
        total = self.score if clean else self.injected_score
        for match in self.matches:
            if clean or not match.hijacked:
                shares[match.winner] += match.similarity / total if total else 0.0
        return shares


def attribute(adapter: Adapter, query: str, document: Document, *, spikes: int, seed: int) -> Attribution:
    """Match every query token to its best document vector, and to the best of `spikes` injected spike vectors.

    Raises:
        LidiagError: a side has no token vector, or the adapter's labels do not fit its vectors.
    """
    card = adapter.card
    q, d = adapter.queries([query])[0].float(), adapter.documents([document])[0].float()
    labels = {"query": adapter.labels("query", query), "document": adapter.labels("document", document)}
    for side, vectors in (("query", q), ("document", d)):
        if not len(vectors):
            raise LidiagError(f"{card.name} gives the {side} not a single token vector.", "Choose another one.")
        if len(labels[side]) != len(vectors):
            raise LidiagError(
                f"{card.name} labels {len(labels[side])} of the {side}'s {len(vectors)} vectors.", "Mend the adapter's labels()."
            )
    similarities = q @ d.T
    best, winner = similarities.max(1)
    injected = (q @ _spikes(q, spikes, seed).T).amax(1) if spikes else None
    matches = [
        Match(label, int(winner[i]), float(best[i]), None if injected is None else float(injected[i]))
        for i, label in enumerate(labels["query"])
    ]
    return Attribution(query, document, card.name, labels["document"], similarities.numpy(), matches, spikes)


def _spikes(query: Tensor, count: int, seed: int) -> Tensor:
    rng = np.random.default_rng([seed, 7])
    size = min(_VECTORS_PER_SPIKE, len(query))
    chosen = np.stack([rng.choice(len(query), size, replace=False) for _ in range(count)])
    return torch.nn.functional.normalize(query[torch.from_numpy(chosen)].mean(1), dim=1)
