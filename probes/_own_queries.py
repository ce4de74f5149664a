"""What the collection's own queries say about length, folded block by block."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from lidiag import stats
from lidiag.bench import Bench
from lidiag.findings import Findings
from lidiag.pooling import Scoring
from lidiag.similarity import Block

from ._controlled import Controlled
from ._lengths import Array, Lengths, not_relevant
from ._quality import Order
from ._references import Effects

_DECILES = 10


class OwnQueries:
    """What the collection's own queries say, by measurement and scoring, one value per query."""

    def __init__(self, bench: Bench, scorings: tuple[Scoring, ...], lengths: Lengths) -> None:
        self.scorings = scorings
        self.lengths = lengths
        self.values: Effects = {}
        self._bench = bench
        self._order = Order([document.id for document in bench.dataset.documents])
        self._decile = _deciles(bench.lengths)
        self._lift = {scoring: np.zeros((len(bench), _DECILES)) for scoring in scorings}
        self._relevant = np.stack([self._by_decile(relevant) for relevant in bench.relevant])
        self._controlled = Controlled.of(bench)

    def fold(self, block: Block) -> None:
        """Measure one block of queries under every scoring."""
        mask = not_relevant(self._bench, block.queries)
        for scoring in self.scorings:
            effects = self.lengths.effects(block, scoring, mask)
            effects |= self._ratios(block, scoring, mask)
            effects |= self._controlled.effects(self._bench, block, scoring) if self._controlled else {}
            per_sd = np.maximum(block.offsets.diff().numpy(), 1) / effects.pop("sd")
            effects |= {
                f"{name}_sd": effects[name] * per_sd for name in ("slope_between", "slope_within", "controlled_effect") if name in effects
            }
            effects["per_sd"] = per_sd
            effects["score_length_correlation"] = effects.pop("rho")
            for name, values in effects.items():
                self.values.setdefault((name, scoring), np.full(len(self._bench), np.nan))[block.queries.start : block.queries.stop] = (
                    values
                )

    def _ratios(self, block: Block, scoring: Scoring, mask: NDArray[np.bool_]) -> dict[str, Array]:
        scores, lengths = block.scores(scoring), self._bench.lengths
        usual = np.array([lengths[row].mean() if row.any() else np.nan for row in mask])
        best = self._order.first(torch.where(torch.from_numpy(mask), scores, -torch.inf)).numpy()
        retrieved = np.array([lengths[first[row[first]]].mean() if row.any() else np.nan for first, row in zip(best, mask, strict=True)])
        relevant = [self._bench.relevant[query][lengths[self._bench.relevant[query]] > 0] for query in block.queries]
        wanted = np.array([lengths[rows].mean() if len(rows) else np.nan for rows in relevant])
        for query, first in zip(block.queries, self._order.first(scores).numpy(), strict=True):
            self._lift[scoring][query] = self._by_decile(first)
        return {"retrieved_length_ratio": retrieved / usual, "relevant_length_ratio": wanted / usual}

    def _by_decile(self, documents: NDArray[np.int64]) -> NDArray[np.float64]:
        deciles = self._decile[documents]
        return np.bincount(deciles[deciles > 0] - 1, minlength=_DECILES).astype(np.float64)

    def report(self, found: Findings, names: Iterable[str]) -> None:
        """Add what was measured, in the order of `names`, and say what was not."""
        for name, scoring in ((name, scoring) for name in names for scoring in self.scorings):
            values = self.values.get((name, scoring))
            if values is not None and np.isfinite(values).any():
                found.mean(name, {"pooling": repr(scoring)}, values)
            elif values is not None:
                found.unmade(
                    name, {"pooling": repr(scoring)}, "no query has what it takes: documents of several lengths, with unequal scores."
                )
        if self.lengths.prefixes:
            reached = int((self._bench.lengths >= self.lengths.prefixes[-1]).sum())
            first, middle, last = self.lengths.prefixes
            found.say(
                "prefixes",
                f"Documents were cut to their first {first}, {middle} and {last} vectors; {reached} have {last}.",
                p=last,
                documents=reached,
            )
        else:
            found.say("prefixes", "Too few documents have 8 vectors: nothing is said about growth within a document.", p=None, documents=0)
        self._report_lift(found)

    def _report_lift(self, found: Findings) -> None:
        smoothing = 0.5 / len(self._bench)
        for scoring, retrieved in self._lift.items():
            for decile in sorted(set(self._decile[self._decile > 0].tolist())):
                at = {"pooling": repr(scoring), "decile": decile}
                found.ratio("length_lift", at, retrieved[:, decile - 1] + smoothing, self._relevant[:, decile - 1] + smoothing)
        members = {str(d): self._bench.lengths[self._decile == d] for d in range(1, _DECILES + 1)}
        spans = {d: [int(rows.min()), int(rows.max()), len(rows)] for d, rows in members.items() if len(rows)}
        listed = "; ".join(f"{d}: {low}-{high} vectors ({n} documents)" for d, (low, high, n) in spans.items())
        found.say("deciles", f"Length deciles, equal lengths in one: {listed}.", deciles=spans)


def _deciles(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 1..10 for documents from the shortest to the longest, equal lengths in one decile; 0 for an empty one."""
    filled = lengths > 0
    ranks = stats.average_ranks(lengths, filled)
    return np.where(filled, np.ceil(ranks / filled.sum() * _DECILES - 1e-9).clip(1, _DECILES), 0).astype(np.int64)
