"""What happens to a query when the same vectors are put into all of its non-relevant documents.

Only states are merged: the documents' own similarities are not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.bench import Bench
from lidiag.pooling import Pooling
from lidiag.similarity import Block

from ._distractors import RANDOM, TARGETED, Source
from ._merging import Merged
from ._nearest import first_look
from ._quality import Judgements, Order
from ._threads import in_threads

BEFORE = ("recall", "ndcg", "gap")
EFFECTS = ("hijack_rate", "gain", "outbid_rate", "takeover@10", "recall", "ndcg")

_QUERIES_AT_A_TIME = 16
_ROUNDING = 1e-6  # of a product of two vectors of length 1

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """One query's ranking as it is, and what an injection needs to know of it. Empty documents stay empty.

    `scores` are (documents,), `first` the positions of the first ten, `bar` the tenth score. `foes` are the positions of the
    documents that get the vectors, `outside` says which of them are outside the first ten. `gap` is the best relevant score minus the median of the foes'.
    States are (tokens, foes) and (tokens, relevant documents).
    """

    pooling: Pooling
    order: Order
    judgements: Judgements
    scores: Tensor
    first: Tensor
    bar: float
    foes: Tensor
    outside: Tensor
    gap: float
    state: Any
    relevant_state: Any

    @classmethod
    def of(cls, pooling: Pooling, order: Order, judgements: Judgements, scores: Tensor, state: Any) -> Ranking:
        """Take one query's (documents,) scores and (tokens, documents) state."""
        filled, relevant = scores.isfinite(), judgements.gains > 0
        foes, friends = (filled & ~relevant).nonzero()[:, 0], (filled & relevant).nonzero()[:, 0]
        first = order.first(scores)
        outside = torch.ones(len(scores), dtype=torch.bool)
        outside[first] = False
        gap = float(scores[friends].max()) - float(np.median(scores[foes].numpy())) if len(friends) and len(foes) else np.nan
        bar = float(scores[first].min())
        return cls(
            pooling, order, judgements, scores, first, bar, foes, outside[foes], gap, state.select(foes), state.select(friends)
        )  # fmt: skip

    def under(self, sets: Any) -> Array:
        """Return the EFFECTS (sets, 6) of each of several sets, given as a state (tokens, sets).

        NaN where an effect is undefined: no document that gets the vectors, none that could be outbid, a gap <= 0.
        """
        foes, friends = (Merged.of(self.pooling, state, sets) for state in (self.state, self.relevant_state))
        # The gain is added to the score as it was, so that a set that changes nothing changes no rank by rounding.
        after = self.scores.repeat(len(foes.gained), 1)
        after[:, self.foes] += torch.from_numpy(foes.gained)
        first = self.order.first(after)
        return np.stack(
            [
                _mean(foes.share) / foes.tokens,
                _mean(foes.positive),
                _mean(friends.share) / friends.tokens,
                _mean((after[:, self.foes[self.outside]] > self.bar).numpy()),
                self.judgements.recall(first),
                self.judgements.ndcg(first),
            ],
            axis=1,
        )


class Sweep:
    """Every set of every kind, put into the documents of one query after another.

    `before` is (queries, poolings, BEFORE); `effects` is (queries, poolings, kinds, k, EFFECTS), the mean over draws; `covered`
    (queries, k) is the share of the query's tokens that are nearest to at least one of the first k vectors of targeted_pooled.
    """

    def __init__(self, bench: Bench, poolings: Sequence[Pooling], kinds: Sequence[str], k: Sequence[int], draws: int) -> None:
        """Look for the nearest vectors of the corpus, where a kind of set is made of them."""
        self.before = np.full((len(bench), len(poolings), len(BEFORE)), np.nan)
        self.effects = np.full((len(bench), len(poolings), len(kinds), len(k), len(EFFECTS)), np.nan)
        self.covered = np.full((len(bench), len(k)), np.nan)
        self._bench, self._poolings, self._kinds, self._k, self._draws = bench, poolings, kinds, k, draws
        self._order = Order([document.id for document in bench.dataset.documents])
        self._source = Source(bench.documents)
        self._nearest = list(first_look(bench, max(k))) if set(TARGETED) & set(kinds) else []

    def fold(self, block: Block, see: Callable[[int, Sequence[Ranking]], None]) -> None:
        """Inject into every query of a block; `see` is told the query's number and the rankings that it started from."""

        def inject(row: int) -> None:
            query = block.queries[row]
            judgements = Judgements.of(self._bench, query)
            own = [Ranking.of(p, self._order, judgements, block.scores(p)[row], block.state_of(p, row)) for p in self._poolings]
            self.before[query] = [(judgements.recall(ranking.first), judgements.ndcg(ranking.first), ranking.gap) for ranking in own]
            for d, kind in enumerate(self._kinds):
                similarities = self._similarities(kind, query)
                for p, ranking in enumerate(own):
                    self.effects[query, p, d] = self._inject(ranking, similarities)
            see(query, own)

        for _ in in_threads(inject, range(len(block.queries)), _QUERIES_AT_A_TIME):
            pass

    def _similarities(self, kind: str, query: int) -> Tensor:
        """Return the similarities (tokens, draws, k) of the query to the vectors of a kind."""
        tokens = self._bench.queries[query].float()
        if kind in RANDOM:
            rng = self._bench.rng(f"{kind} distractors of {self._bench.query_ids[query]}")
            drawn = [self._source.draw(kind, tokens, max(self._k), rng) for _ in range(self._draws)]
        else:
            drawn = [self._source.rows(self._targeted(kind, query))]
        # A vector of the corpus meets itself in its own document: that is a tie, though the two products may round differently.
        rounding = _ROUNDING * self._source.moments.norm * tokens.norm(dim=1, keepdim=True)
        return (tokens @ torch.cat(drawn).T - rounding).unflatten(1, (len(drawn), -1))

    def _targeted(self, kind: str, query: int) -> NDArray[np.int64]:
        nearest = self._nearest[query]
        if kind == "targeted":
            return nearest.turns
        tokens = int(self._bench.queries.lengths[query])
        self.covered[query] = [len(np.unique(nearest.pooled_tokens[:k])) / tokens for k in self._k]
        return nearest.pooled

    def _inject(self, ranking: Ranking, similarities: Tensor) -> Array:
        """Return (k, EFFECTS), the mean over draws."""
        states = [ranking.pooling.pool(similarities[..., :k]) for k in self._k]
        effects = ranking.under(side_by_side(states))
        return effects.reshape(len(self._k), -1, len(EFFECTS)).mean(1)


def _mean(values: NDArray[Any]) -> Array:
    """Return the mean over the last axis, NaN where it is empty."""
    return values.mean(-1, dtype=np.float64) if values.shape[-1] else np.full(len(values), np.nan)


def side_by_side(states: Sequence[Any]) -> Any:
    """Join states (tokens, draws) of one shape into one (tokens, len(states) * draws)."""
    joined = {
        name: torch.cat([getattr(s, name) for s in states], 1) for name, part in vars(states[0]).items() if part is not None and part.ndim
    }
    draws = next(iter(joined.values())).shape[1] // len(states)
    return type(states[0])(n=torch.stack([s.n for s in states]).repeat_interleave(draws), **joined)
