"""What held-out queries say of a network in training: gradients, loss, R@1, and nDCG@10 on the collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lidiag import stats
from lidiag.bench import Bench
from lidiag.pooling import Pooling
from lidiag.similarity import Needs

from ._gradients import document_gradients
from ._learners import Learner
from ._pairs import Pairs
from ._rankings import Rankings

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Exam:
    """The same questions to every network; all values are (held-out pairs,)."""

    bench: Bench
    learner: Learner
    pairs: Pairs
    poolings: tuple[Pooling, ...]

    @torch.no_grad()
    def gradients(self, network: nn.Module) -> dict[Pooling, dict[str, Array]]:
        """Return Gini coefficients of the own pair's gradient, by the pooling that is differentiated."""
        queries = self.learner.queries(network, self.pairs.queries)
        documents = self.learner.documents(network, self.pairs.documents)
        found: dict[Pooling, dict[str, Array]] = {}
        for pooling in self.poolings:
            norms = [
                document_gradients(pooling, query.cpu(), document.cpu()).norm(dim=1).numpy()
                for query, document in zip(queries, documents, strict=True)
            ]
            found[pooling] = {
                "gini": np.array([float(stats.gini(row)) for row in norms]),
                "gini_paper": np.array([float(stats.gini_paper(row)) for row in norms]),
                "gradient_share": np.array([float((row > 0).mean()) for row in norms]),
            }
        return found

    @torch.no_grad()
    def contest(self, network: nn.Module, scales: dict[Pooling, float]) -> dict[Pooling, dict[str, Array]]:
        """Return R@1 and the loss among the held-out pairs' documents; other relevant ones of a query do not compete."""
        pool = sorted(set(self.pairs.documents))
        own = torch.tensor([pool.index(document) for document in self.pairs.documents])
        competing = self.pairs.foreign(range(len(own)), pool)
        scores = self._scores(network, self.pairs.queries, pool)
        found: dict[Pooling, dict[str, Array]] = {}
        for pooling in self.poolings:
            logits = (scores[pooling] * scales.get(pooling, 1.0)).double().masked_fill(~competing, -torch.inf)
            found[pooling] = {
                "R@1": (logits.argmax(1) == own).double().numpy(),
                "loss": nn.functional.cross_entropy(logits, own, reduction="none").numpy(),
            }
        return found

    @torch.no_grad()
    def ndcg(self, network: nn.Module, documents: Sequence[int]) -> dict[Pooling, Array]:
        """Return nDCG@10 among `documents` (rising positions, all that are judged among them)."""
        asked, there = self.learner.queries(network, self.pairs.queries), self.learner.documents(network, documents)
        found = Rankings(self.bench, documents).ndcg(self.pairs.queries, asked, there, self.poolings)
        return {pooling: found[pooling] for pooling in self.poolings}

    def _scores(self, network: nn.Module, queries: Sequence[int], documents: Sequence[int]) -> dict[Pooling, Tensor]:
        asked, there = self.learner.queries(network, queries), self.learner.documents(network, documents)
        blocks = list(self.bench.compare(asked, there, Needs(self.poolings)))
        return {pooling: torch.cat([block.scores(pooling).cpu() for block in blocks]) for pooling in self.poolings}
