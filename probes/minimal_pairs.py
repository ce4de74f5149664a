"""Does one decisive word still decide?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lidiag import stats
from lidiag.bench import Bench
from lidiag.dataset import Document
from lidiag.errors import LidiagError, unknown
from lidiag.findings import Findings
from lidiag.measurement import Coordinate, Measurement, Paper, Skip
from lidiag.probe import Measuring

from ._pair_templates import KINDS, Pair, pairs

# Written before the figures, as shares of pairs; a coin wins half of them.
BLIND, READS = 0.6, 0.8

_FEWEST = 20
_NEGATION = ("negation-affirmed", "negation-denied")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MinimalPairs:
    """Two sentences that differ in one word, or in who stands where, and a query that one of them answers; scored by MaxSim.

    The wrong sentence echoes no word of the query that the right one lacks. `pairs` are drawn of each kind.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    pairs: int = 160

    name: ClassVar[str] = "minimal-pairs"
    version: ClassVar[int] = 1
    question: ClassVar[str] = "Does one decisive word still decide?"
    source: ClassVar[Paper | None] = None
    primary: ClassVar[str] = "right_wins"
    formulas: ClassVar[dict[str, str]] = {
        "right_wins": "share of pairs whose right sentence scores above the wrong one, ties not; other words in the same templates give the interval; ours",
        "score_gap": "mean of S(right) - S(wrong), per query token; ours",
    }

    def __post_init__(self) -> None:
        """Refuse unknown kinds, and too few pairs."""
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown("kind of pair", kind, KINDS, "`lidiag describe probe minimal-pairs`")
        if self.pairs < _FEWEST or not self.kinds:
            raise LidiagError(f"{self.name}: {self.pairs} pairs of {len(self.kinds)} kinds.", f"Give a kind, and {_FEWEST} pairs or more.")

    def measure(self, bench: Bench) -> Measuring:
        """Encode the pairs; no pass over the collection is needed."""
        if "text" not in bench.adapter.card.modalities:
            raise Skip(f"{bench.adapter.card.name} reads no text documents")
        found = bench.findings()
        for kind in self.kinds:
            gaps = _gaps(bench, pairs(kind, self.pairs, bench.rng(f"minimal pairs {kind}")))
            at: dict[str, Coordinate] = {"kind": kind}
            _add(found, "right_wins", at, (gaps > 0).astype(np.float64), share=True)
            _add(found, "score_gap", at, gaps, share=False)
        self._say(found)
        return found
        yield from ()

    def _say(self, found: Findings) -> None:
        wins = {kind: found.get("right_wins", {"kind": kind}) for kind in self.kinds}
        words = {kind: _word(m) for kind, m in wins.items()}
        listed = ", ".join(f"{kind} {m.value:.2f}" for kind, m in wins.items())
        blind = [kind for kind, word in words.items() if word == "blind"]
        said = f"The model is blind to {', '.join(blind)}" if blind else "The model is blind to none of these"
        found.say("pairs", f"{said} (right sentence first: {listed}; a coin gives 0.5).", verdict="blind" if blind else "none", words=words)
        if all(kind in wins for kind in _NEGATION):
            worse = min(_NEGATION, key=lambda kind: wins[kind].value)
            m = wins[worse]
            sense = {"blind": "is blind to negation", "reads": "reads negation", "cannot tell": "may or may not read negation"}[
                words[worse]
            ]
            found.say("negation", f"By the worse direction, {worse}, the model {sense}: {m.value:.2f}{_reach(m)}.", verdict=words[worse])


def _gaps(bench: Bench, chosen: list[Pair]) -> Array:
    """Return S(right) - S(wrong) per query token of every pair."""
    queries = bench.encode_queries([pair.query for pair in chosen])
    sentences = [
        Document(f"{side} {i}", text) for i, pair in enumerate(chosen) for side, text in (("right", pair.right), ("wrong", pair.wrong))
    ]
    documents = bench.encode_documents(sentences)
    gaps = np.full(len(chosen), np.nan)
    for i, query in enumerate(queries):
        right, wrong = documents[2 * i], documents[2 * i + 1]
        if len(query) and len(right) and len(wrong):
            scores = [float((query.float() @ side.float().T).amax(1).sum()) for side in (right, wrong)]
            # Sums in another order differ in the last digits: equal scores are ties.
            gaps[i] = 0.0 if np.isclose(*scores, rtol=1e-5, atol=1e-6) else (scores[0] - scores[1]) / len(query)
    if np.isnan(gaps).any():
        raise Skip(f"{int(np.isnan(gaps).sum())} of {len(gaps)} sentences have no token vectors")
    return gaps


def _add(found: Findings, name: str, at: dict[str, Coordinate], values: Array, *, share: bool) -> None:
    estimate = stats.mean_interval(values, share=share)
    found.number(
        name, at, estimate.value, n=estimate.n, unit_of_n="pairs", low=estimate.low, high=estimate.high, no_interval=estimate.no_interval,
        better="higher",
    )  # fmt: skip


def _word(m: Measurement) -> str:
    if m.low is None or m.high is None:
        return "cannot tell"
    return "blind" if m.high < BLIND else "reads" if m.low > READS else "cannot tell"


def _reach(m: Measurement) -> str:
    return "" if m.low is None or m.high is None else f" ({m.low:.2f} to {m.high:.2f})"
