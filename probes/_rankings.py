"""nDCG@10 of whole rankings under several scorings, from two sets of vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.bench import Bench
from lidiag.multivector import MultiVectors
from lidiag.pooling import Scoring
from lidiag.similarity import Needs

from ._quality import Judgements, Order

Array = NDArray[np.float64]


class Rankings:
    """Rankings of some documents of a bench, at rising positions, all that are judged for the queries among them."""

    def __init__(self, bench: Bench, documents: Sequence[int]) -> None:
        """Keep the order of equal scores."""
        self.documents = documents
        self._bench = bench
        self._positions = torch.tensor(documents)
        self._order = Order([bench.dataset.documents[i].id for i in documents])

    def of_scores(self, query: int, scores: Tensor) -> Array:
        """Return nDCG@10 of a query's rankings, (...), by (..., documents) scores."""
        return Judgements.of(self._bench, query).ndcg(self._positions[self._order.first(scores)])

    def ndcg(
        self, queries: Sequence[int], asked: MultiVectors, there: MultiVectors, scorings: Sequence[Scoring]
    ) -> dict[Scoring, Array]:  # fmt: skip
        """Return nDCG@10 of every query, (queries,), by scoring; the vectors are those of `queries` and of the documents."""
        found = {scoring: np.empty(len(queries)) for scoring in scorings}
        for block in self._bench.compare(asked, there, Needs(tuple(scorings))):
            for scoring in scorings:
                scores = block.scores(scoring).cpu()
                found[scoring][block.queries.start : block.queries.stop] = [
                    float(self.of_scores(queries[i], row)) for i, row in zip(block.queries, scores, strict=True)
                ]
        return found


def collection(bench: Bench, queries: Sequence[int], most: int) -> list[int]:
    """Return what is ranked: all documents, or those judged for the queries and a seeded draw of others, up to `most`."""
    kept = {document for query in queries for document in bench.grades[query]}
    others = [i for i in bench.rng("documents that are ranked").permutation(len(bench.documents)).tolist() if i not in kept]
    return sorted(kept | set(others[: max(0, most - len(kept))]))
