"""What happens to a query when the same vectors are put into all of its non-relevant documents.

Only states are merged: the documents' own similarities are not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.bench import Bench
from lidiag.pooling import Pooling
from lidiag.similarity import Block

from . import _injection_kernels as kernels
from ._distractors import RANDOM, TARGETED, Source
from ._merging import Documents
from ._nearest import first_look
from ._nested import nested
from ._quality import Judgements, Order
from ._threads import in_threads

BEFORE = ("recall", "ndcg", "gap")
EFFECTS = ("hijack_rate", "gain", "outbid_rate", "takeover@10", "recall", "ndcg")

_QUERIES_AT_A_TIME = 16
_SCORES = 1_000_000  # after an injection, held at a time by each thread
_ROUNDING = 1e-6  # of a product of two vectors of length 1

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Ranking:
    """One query's ranking as it is, and what an injection needs to know of it. Empty documents stay empty.

    `scores` are (documents,), `first` the positions of the first ten, `bar` the tenth score. `foes` are the positions of the
    documents that get the vectors, `outside` says which of them are outside the first ten. `gap` is the best relevant score
    minus the median of the foes'. `part` says what a document takes part as, as the kernels have it; `filled` are the
    positions of those that are not empty, and `state` is (tokens, documents).
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
    part: NDArray[np.uint8]
    filled: NDArray[np.int64]
    state: Any

    @classmethod
    def of(cls, pooling: Pooling, order: Order, judgements: Judgements, scores: Tensor, state: Any) -> Ranking:
        """Take one query's (documents,) scores and (tokens, documents) state."""
        filled, relevant = scores.isfinite(), judgements.gains > 0
        foes, friends = (filled & ~relevant).nonzero()[:, 0], (filled & relevant).nonzero()[:, 0]
        first = order.first(scores)
        outside = torch.ones(len(scores), dtype=torch.bool)
        outside[first] = False
        gap = float(scores[friends].max()) - float(np.median(scores[foes].numpy())) if len(friends) and len(foes) else np.nan
        part = np.full(len(scores), kernels.EMPTY, np.uint8)
        part[friends.numpy()] = kernels.FRIEND
        part[foes.numpy()] = np.where(outside[foes].numpy(), kernels.FOE_OUTSIDE, kernels.FOE)
        return cls(
            pooling, order, judgements, scores, first, float(scores[first].min()), foes, outside[foes], gap, part,
            filled.nonzero()[:, 0].numpy(), state,
        )  # fmt: skip

    def under(self, sets: Any) -> Array:
        """Return the EFFECTS (sets, 6) of each of several sets, given as a state (tokens, sets).

        NaN where an effect is undefined: no document that gets the vectors, none that could be outbid.
        """
        number, tokens = len(sets.n), 0
        sums, leaders = np.zeros((number, len(kernels.SUMS))), self.order.leaders(number)
        at_once = max(1, _SCORES // number)
        for first in range(0, len(self.scores), at_once):
            some = slice(first, min(first + at_once, len(self.scores)))
            left, right = self.filled.searchsorted((some.start, some.stop))
            merged = Documents.of(self.pooling, self.state, self.filled[left:right]).merged(sets)
            leaders.see(self._after(merged.sums, some, sums), first)
            tokens = merged.tokens
        gain, own, theirs, entered = sums.T
        foes, friends, outside = len(self.foes), int((self.part == kernels.FRIEND).sum()), int(self.outside.sum())
        return np.stack(
            [
                _over(own, foes * tokens),
                _over(gain, foes),
                _over(theirs, friends * tokens),
                _over(entered, outside),
                self.judgements.recall(leaders.first),
                self.judgements.ndcg(leaders.first),
            ],
            axis=1,
        )

    def _after(self, changes: Floats, some: slice, sums: Array) -> Floats:
        """Add some documents' `changes`, (3, sets, those not empty), to `sums` and return their scores (sets, documents) after them."""
        part = self.part[some]
        if changes.shape[-1] < len(part):
            only_filled, changes = changes, np.zeros((*changes.shape[:-1], len(part)), np.float32)
            changes[..., part != kernels.EMPTY] = only_filled
        # The gain is added to the score as it was, so that a set that changes nothing changes no rank by rounding.
        after = np.empty(changes.shape[1:], np.float32)
        kernels.tally(self.scores.numpy()[some], part, np.float32(self.bar), changes, after, sums)
        return after


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
            similarities = self._similarities(query)
            for p, ranking in enumerate(own):
                self.effects[query, p] = self._inject(ranking, similarities)
            see(query, own)

        for _ in in_threads(inject, range(len(block.queries)), _QUERIES_AT_A_TIME):
            pass

    def _similarities(self, query: int) -> Tensor:
        """Return the similarities (tokens, sets, k) of the query to the vectors of every draw of every kind."""
        tokens = self._bench.queries[query].float()
        drawn = torch.cat([rows for kind in self._kinds for rows in self._drawn(kind, query, tokens)])
        # A vector of the corpus meets itself in its own document: that is a tie, though the two products may round differently.
        rounding = _ROUNDING * self._source.moments.norm * tokens.norm(dim=1, keepdim=True)
        return (tokens @ drawn.T - rounding).unflatten(1, (-1, max(self._k)))

    def _drawn(self, kind: str, query: int, tokens: Tensor) -> Iterator[Tensor]:
        """Yield the vectors (k, dim) of each draw of a kind."""
        if kind not in RANDOM:
            yield self._source.rows(self._targeted(kind, query))
            return
        rng = self._bench.rng(f"{kind} distractors of {self._bench.query_ids[query]}")
        for _ in range(self._draws):
            yield self._source.draw(kind, tokens, max(self._k), rng)

    def _targeted(self, kind: str, query: int) -> NDArray[np.int64]:
        nearest = self._nearest[query]
        if kind == "targeted":
            return nearest.turns
        tokens = len(self._bench.queries[query])
        self.covered[query] = [len(np.unique(nearest.pooled_tokens[:k])) / tokens for k in self._k]
        return nearest.pooled

    def _inject(self, ranking: Ranking, similarities: Tensor) -> Array:
        """Return (kinds, k, EFFECTS), the mean over draws."""
        draws = [self._draws if kind in RANDOM else 1 for kind in self._kinds]
        sizes = np.tile(self._k, sum(draws))
        # Nothing is the same whatever it was drawn from: of the sets without a vector the first stands for all.
        chosen, place = np.unique(np.where(sizes == 0, 0, np.arange(len(sizes))), return_inverse=True)
        sets = nested(ranking.pooling, similarities, self._k).select(torch.from_numpy(chosen))
        effects = ranking.under(sets)[place].reshape(sum(draws), len(self._k), len(EFFECTS))
        return np.stack([part.mean(0) for part in np.split(effects, np.cumsum(draws)[:-1])])


def _over(total: Array, n: int) -> Array:
    """Return the mean of n, NaN of none."""
    return total / n if n else np.full(len(total), np.nan)
