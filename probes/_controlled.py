"""The effect of length where nothing else differs: the same statement in documents of several lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidiag.bench import Bench
from lidiag.pooling import Scoring
from lidiag.similarity import Block

from ._lengths import mean

POSITIONS = ("before", "after", "around")


@dataclass(frozen=True, eq=False)
class Controlled:
    """The cells of the design, a statement and where its padding stands.

    `weights` (documents, cells) turn scores into slopes per doubling of the number of words; `alone` is the cell's document
    without padding, and `positions` says where the others have theirs.
    """

    weights: NDArray[np.float64]
    alone: NDArray[np.int64]
    positions: NDArray[np.str_]

    @classmethod
    def of(cls, bench: Bench) -> Controlled | None:
        """Read the design from the collection's facets (fact, position, times); None where it has none."""
        if not bench.dataset.facets:
            return None
        members: dict[tuple[str, str], list[tuple[float, int]]] = {}
        for row, document in enumerate(bench.dataset.documents):
            facets = bench.dataset.facets.get(document.id, {})
            if {"fact", "position", "times"} <= facets.keys() and bench.lengths[row]:
                members.setdefault((str(facets["fact"]), str(facets["position"])), []).append((float(facets["times"]), row))
        alone = {fact: rows[0] for (fact, position), rows in members.items() if position == "alone"}
        cells = [(fact, position) for fact, position in members if position in POSITIONS and fact in alone]
        if not cells:
            return None
        weights = np.zeros((len(bench.dataset.documents), len(cells)))
        for column, (fact, position) in enumerate(cells):
            times, rows = zip(alone[fact], *members[fact, position], strict=True)
            doublings = np.log2(times) - np.log2(times).mean()
            weights[list(rows), column] = doublings / (doublings**2).sum()
        return cls(weights, np.array([alone[fact][1] for fact, _ in cells]), np.array([position for _, position in cells]))

    def effects(self, bench: Bench, block: Block, scoring: Scoring) -> dict[str, NDArray[np.float64]]:
        """Return the mean slope per query token over the cells of other facts, of the query's own, and of others by position."""
        scores = np.nan_to_num(block.scores(scoring).double().numpy(), neginf=0.0)
        slopes = scores @ self.weights / np.maximum(block.offsets.diff().numpy(), 1)[:, None]
        own = np.stack([np.isin(self.alone, bench.relevant[query]) for query in block.queries])
        wanted = {"": ~own, "_relevant": own} | {f"_{position}": ~own & (self.positions == position) for position in POSITIONS}
        return {f"controlled_effect{suffix}": mean(slopes, mask) for suffix, mask in wanted.items()}
