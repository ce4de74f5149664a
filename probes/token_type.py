"""Which types of token does the score come from?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Coordinate, Measurement, Paper, Skip
from lidiag.pooling import MaxSim
from lidiag.probe import Measuring
from lidiag.similarity import Needs

from ._rankings import Rankings
from ._token_types import BLANK, PUNCTUATION, STOP_WORD, TYPES, Codes, all_codes

# Written before the figures: of the variance of a query's score over documents, what words without a topic may hold.
NEGLIGIBLE, STRONG = 0.25, 0.5

_MAXSIM = MaxSim(argmax=True)
_TOPICLESS = tuple(TYPES.index(kind) for kind in (STOP_WORD, PUNCTUATION, "special"))
_AUGMENTATION, _PATCH, _BLANK = (TYPES.index(kind) for kind in ("augmentation", "patch", BLANK))
_SHARES = {"token_share", "ndcg_without"}  # in 0..1 by definition; the shares of a sum are not
_DRAWS = 3
_FEWEST = 2  # documents, for a variance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TokenType:
    """MaxSim's sum over query tokens, taken apart by the tokens' types, and its maxima by the types of their winners.

    `masks` are the numbers of augmentation vectors that a query is left with.
    """

    masks: tuple[int, ...] = (0, 8, 32)

    name: ClassVar[str] = "token-type"
    version: ClassVar[int] = 1
    question: ClassVar[str] = "Which types of token does the score come from?"
    source: ClassVar[Paper | None] = None
    primary: ClassVar[str] = "topicless_variance_share"
    formulas: ClassVar[dict[str, str]] = {
        "topicless_variance_share": "variance_share of stop words, punctuation and special tokens together; ours",
        "token_share": "share of the query's vectors that are of the type, mean over queries (control of the two shares below); ours",
        "score_share": "mean over documents of the sum of M_i(q, d) over query tokens i of the type / mean over documents of S(q, d), mean over queries whose "
        "mean score is above 0; ours",
        "variance_share": "Cov over documents of (sum of M_i over query tokens of the type, S) / Var over documents of S, mean over queries; the types' shares "
        "sum to 1, and one that works against the others is below 0; ours",
        "ndcg": "nDCG@10 with all query tokens; ours",
        "ndcg_without": "nDCG@10 with the type's maxima left out of the sum (the query is not encoded anew), over queries that have the type and others; ours",
        "ndcg_without_change": "that less nDCG@10 with all, paired by query; ours",
        "ndcg_without_random_change": "the same for as many query tokens drawn at random, mean of three draws (control); ours",
        "augmentation_ndcg": "nDCG@10 with only the first so many augmentation vectors of each query, all where there are fewer; ours",
        "wins_share": "share of a query's maxima, one by query token and document, that document vectors of the type win, mean over queries; ours",
        "vector_share": "share of a document's vectors that are of the type, mean over documents: what wins_share would be if any vector won as often as any "
        "other of its document (control); ours",
    }

    def __post_init__(self) -> None:
        """Refuse numbers of vectors that are none."""
        if any(masks < 0 for masks in self.masks) or len(set(self.masks)) < len(self.masks):
            raise LidiagError(f"{self.name}: masks = {list(self.masks)} are no numbers of vectors.", "Give each once, 0 or more.")

    def measure(self, bench: Bench) -> Measuring:
        """Name all vectors, then take every query's scores apart as it goes by."""
        filled = torch.from_numpy(np.flatnonzero(bench.lengths))
        if len(filled) < _FEWEST:
            raise Skip("a variance over documents takes two documents with vectors")
        found = bench.findings()
        asked = _Queries(bench, all_codes(bench.adapter, "query", bench.query_texts, bench.queries), self.masks)
        types = _document_types(found, bench)
        starts = bench.documents.offsets[:-1][filled]
        wins = np.full((len(bench), len(TYPES)), np.nan)
        while block := (yield Needs((_MAXSIM,), tokens=True)):
            for row, query in enumerate(block.queries):
                state = block.state_of(_MAXSIM, row)
                asked.fold(query, state.maximum[:, filled].cpu().double(), filled)
                if types is not None:
                    winners = types[(state.argmax[:, filled].cpu() + starts).numpy()]
                    wins[query] = np.bincount(winners.ravel(), minlength=len(TYPES)) / winners.size
        asked.report(found)
        if types is not None:
            _add_documents(found, bench, types, wins)
        return found


@dataclass(eq=False)
class _Queries:
    """The values of every query, as they come: shares by type, and nDCG@10 by what is left of the query."""

    bench: Bench
    types: Codes
    masks: Sequence[int]
    shares: Mapping[str, Array] = field(init=False)
    ndcg: Array = field(init=False)
    augmented: Array = field(init=False)

    def __post_init__(self) -> None:
        n, kinds = len(self.bench), len(TYPES)
        self.shares = {name: np.full((n, kinds), np.nan) for name in ("token_share", "score_share", "variance_share")}
        self.ndcg = np.full((n, 1 + 2 * kinds), np.nan)  # with all, without each type, without as many drawn at random
        self.augmented = np.full((n, len(self.masks)), np.nan)
        self._rankings = Rankings(self.bench, range(len(self.bench.documents)))
        self._rng = self.bench.rng("query tokens left out at random")

    def fold(self, query: int, maxima: Tensor, filled: Tensor) -> None:
        """Take one query's maxima, (query_tokens, documents that have vectors), apart."""
        start, end = self.bench.queries.offsets[query : query + 2].tolist()
        types = self.types[start:end]
        of_type = types == np.arange(len(TYPES))[:, None]
        parts = torch.from_numpy(of_type).double() @ maxima
        total = maxima.sum(0)
        self.shares["token_share"][query] = of_type.mean(1)
        if (mean := float(total.mean())) > 0:
            self.shares["score_share"][query] = (parts.mean(1) / mean).numpy()
        spread = total - total.mean()
        # A query of zeros scores all documents alike, but for rounding.
        if float(spread.square().mean().sqrt()) > 1e-9 * max(1.0, abs(mean)):
            self.shares["variance_share"][query] = (parts @ spread / (spread @ spread)).numpy()
        self._judge(query, types, of_type, maxima, filled)

    def _judge(self, query: int, types: Codes, of_type: NDArray[np.bool_], maxima: Tensor, filled: Tensor) -> None:
        there = [kind for kind in range(len(TYPES)) if 0 < of_type[kind].sum() < len(types)]
        drawn = [self._rng.permutation(of_type[kind]) for kind in there for _ in range(_DRAWS)]
        left = [np.ones(len(types), dtype=np.bool_), *(~of_type[kind] for kind in there), *(~out for out in drawn)]
        masked = types == _AUGMENTATION
        if masked.any():
            left += [~masked | (np.cumsum(masked) <= masks) for masks in self.masks]
        keep = np.array(left)
        scores = torch.full((len(keep), len(self.bench.documents)), -torch.inf)
        scores[:, filled] = (torch.from_numpy(keep).double() @ maxima).float()
        ndcg = np.where(keep.any(1), self._rankings.of_scores(query, scores), np.nan)
        n = 1 + len(there)
        self.ndcg[query, 0] = ndcg[0]
        self.ndcg[query, 1 + np.array(there, dtype=np.int64)] = ndcg[1:n]
        at_random = ndcg[n : n + len(drawn)].reshape(-1, _DRAWS).mean(1)
        self.ndcg[query, 1 + len(TYPES) + np.array(there, dtype=np.int64)] = at_random
        if masked.any():
            self.augmented[query] = ndcg[n + len(drawn) :]

    def report(self, found: Findings) -> None:
        """Add everything about the queries' side."""
        found.mean("ndcg", {}, self.ndcg[:, 0], better="higher", share=True)
        for code, kind in enumerate(TYPES):
            if np.isin(code, self.types):
                self._add(found, code, kind)
        augments = bool((self.types == _AUGMENTATION).any())
        for column, masks in enumerate(self.masks):
            if np.isnan(self.augmented[:, column]).all():
                why = "no query has other vectors." if augments else "no query has augmentation vectors."
                found.unmade("augmentation_ndcg", {"masks": masks}, why)
            else:
                found.mean("augmentation_ndcg", {"masks": masks}, self.augmented[:, column], better="higher", share=True)
        self._say(found)

    def _add(self, found: Findings, code: int, kind: str) -> None:
        for name, values in self.shares.items():
            _mean(found, name, {"type": kind}, values[:, code], "no query's scores can be taken apart")
        why = "no query has both this type and another one"
        without, at_random = self.ndcg[:, 1 + code], self.ndcg[:, 1 + len(TYPES) + code]
        _mean(found, "ndcg_without", {"type": kind}, without, why)
        _mean(found, "ndcg_without_change", {"type": kind}, without - self.ndcg[:, 0], why)
        _mean(found, "ndcg_without_random_change", {"type": kind}, at_random - self.ndcg[:, 0], why)

    def _say(self, found: Findings) -> None:
        held = self.shares["variance_share"][:, _TOPICLESS].sum(1)
        if np.isnan(held).all():
            found.unmade("topicless_variance_share", {}, "no query's score differs between documents.")
            return
        share = found.mean("topicless_variance_share", {}, held)
        tokens = float(self.shares["token_share"][:, _TOPICLESS].sum(1).mean())
        scores = self.shares["score_share"][:, _TOPICLESS].sum(1)
        of_score = f" and hold {np.nanmean(scores):.0%} of the score" if np.isfinite(scores).any() else ""
        word = stats.verdict(share.low, share.high, NEGLIGIBLE, STRONG)
        said = {
            "none": "little of what tells documents apart comes from words without a topic",
            "shown": "a good part of what tells documents apart comes from words without a topic",
            "strong": "most of what tells documents apart comes from words without a topic",
            "cannot tell": "these queries cannot tell whether much of what tells documents apart comes from words without a topic",
        }[word]
        text = (
            f"{said[0].upper()}{said[1:]}: stop words, punctuation and special tokens hold {share.value:.0%}{_reach(share)} of the score's variance over "
            f"documents (little within {NEGLIGIBLE:.0%}, most above {STRONG:.0%}). They are {tokens:.0%} of the query's vectors{of_score}."
        )
        found.say("topicless", text, verdict=word, token_share=tokens)


def _document_types(found: Findings, bench: Bench) -> Codes | None:
    """Return the types of all document vectors; None, and the reason said, where they have none."""
    try:
        return all_codes(bench.adapter, "document", bench.dataset.documents, bench.documents)
    except Skip as skip:
        for name in ("wins_share", "vector_share"):
            found.unmade(name, {}, f"{skip}.")
        return None


def _add_documents(found: Findings, bench: Bench, types: Codes, wins: Array) -> None:
    owner = np.repeat(np.arange(len(bench.documents)), bench.lengths)
    lengths = bench.lengths[bench.lengths > 0]
    there = np.flatnonzero(np.bincount(types, minlength=len(TYPES)))
    for code in there:
        at: dict[str, Coordinate] = {"type": TYPES[code]}
        found.mean("wins_share", at, wins[:, code], share=True)
        shares = np.bincount(owner[types == code], minlength=len(bench.documents))[bench.lengths > 0] / lengths
        mean = stats.mean_interval(shares, share=True)
        found.number("vector_share", at, mean.value, n=mean.n, unit_of_n="documents", low=mean.low, high=mean.high, no_interval=mean.no_interval)  # fmt: skip
    if _BLANK in there:
        won, held = (found.get(name, {"type": BLANK}) for name in ("wins_share", "vector_share"))
        found.say(
            "blank", f"Blank patches are {held.value:.0%} of a document's vectors and win {won.value:.0%}{_reach(won)} of the maxima."
        )
    elif _PATCH in there:
        found.say("blank", "No patch is blank, or it is not known where on the page the patches lie.")


def _mean(found: Findings, name: str, at: Mapping[str, Coordinate], values: Array, why: str) -> None:
    if np.isnan(values).all():
        found.unmade(name, at, f"{why}.")
    else:
        found.mean(name, at, values, better="higher" if name == "ndcg_without" else "neither", share=name in _SHARES)


def _reach(measured: Measurement) -> str:
    return "" if measured.low is None or measured.high is None else f" ({measured.low:.0%} to {measured.high:.0%})"
