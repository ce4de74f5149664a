"""What do typos, capitals, filler and other function words cost?"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError, unknown
from lidiag.findings import Findings
from lidiag.measurement import Coordinate, Paper, Skip
from lidiag.pooling import MaxSim
from lidiag.probe import Measuring

from ._rankings import Rankings

# Written before the figures, as shares of nDCG@10 lost.
NEGLIGIBLE, STRONG = 0.05, 0.25

_TYPO_RATE = 0.3
_SHORTEST = 4  # letters of a word that gets typos
_FILLERS = (
    ("Please tell me, if you can:", "Thank you very much."),
    ("I was wondering about this:", "Any help is welcome."),
    ("Hello, a short question.", "I hope that this is clear."),
)
# Words that carry no subject, each with one that may stand in its place.
_OTHERS = {
    "what": "which", "which": "what", "how": "in what way", "is": "was", "are": "were", "was": "is", "were": "are", "can": "could", "could": "can",
    "the": "a", "a": "the", "of": "for", "for": "of", "in": "within", "on": "upon", "with": "by", "does": "did", "do": "did", "and": "as well as",
    "to": "towards", "has": "had", "have": "had", "at": "near", "by": "through", "from": "out of", "about": "on", "when": "at what time",
    "where": "in which place", "why": "for what reason", "who": "which person", "must": "should", "should": "must", "an": "the", "any": "some",
}  # fmt: skip

Array = NDArray[np.float64]


@dataclass(frozen=True)
class QueryNoise:
    """Queries as people write them, re-encoded: the documents stay as they are. Ranked by MaxSim."""

    noises: tuple[str, ...] = ("typos", "case", "filler", "paraphrase")

    name: ClassVar[str] = "query-noise"
    version: ClassVar[int] = 2
    question: ClassVar[str] = "What do typos, capitals, filler and other function words cost?"
    source: ClassVar[Paper | None] = None
    primary: ClassVar[str] = "ndcg_retained"
    formulas: ClassVar[dict[str, str]] = {
        "ndcg_retained": "nDCG@10 of the noisy queries over that of the queries as they are. typos: in a word of four letters or more, with probability 0.3, two "
        "neighbouring letters change places or one is left out; case: all capitals; filler: polite words in front and behind; paraphrase: function words "
        "exchanged by a list, words of content stay; ours",
        "ndcg_change": "nDCG@10 of the noisy queries less that of the queries as they are, paired; ours",
        "changed_share": "share of queries that the noise changes at all; ours",
    }

    def __post_init__(self) -> None:
        """Refuse unknown noises."""
        if not self.noises:
            raise LidiagError(f"{self.name}: no noise is asked for.", f"Name one of {', '.join(NOISES)}.")
        for noise in self.noises:
            if noise not in NOISES:
                raise unknown("noise", noise, NOISES, "`lidiag describe probe query-noise`")

    def measure(self, bench: Bench) -> Measuring:
        """Encode the noisy queries and rank all documents again."""
        found = bench.findings()
        rankings = Rankings(bench, range(len(bench.documents)))
        every = range(len(bench))
        clean = rankings.ndcg(every, bench.queries, bench.documents, [MaxSim()])[MaxSim()]
        if not clean.any():
            raise Skip("no query has a relevant document among its first ten: there is nothing to lose")
        for noise in self.noises:
            rng = bench.rng(f"query noise {noise}")
            texts = [NOISES[noise](text, rng) for text in bench.query_texts]
            encoded = bench.encode_queries(texts)
            noisy = rankings.ndcg(every, encoded, bench.documents, [MaxSim()])[MaxSim()]
            noisy[encoded.lengths.numpy() == 0] = 0.0  # a query without a vector finds nothing
            changed = np.array([a != b for a, b in zip(texts, bench.query_texts, strict=True)])
            _report(found, noise, noisy, clean, changed)
        return found
        yield from ()


def _report(found: Findings, noise: str, noisy: Array, clean: Array, changed: NDArray[np.bool_]) -> None:
    at: dict[str, Coordinate] = {"noise": noise}
    retained = found.ratio("ndcg_retained", at, noisy, clean, better="higher")
    found.mean("ndcg_change", at, noisy - clean, better="higher")
    found.mean("changed_share", at, changed.astype(np.float64), share=True)
    same = bool((noisy == clean).all())
    low, high = (1.0, 1.0) if same else (retained.low, retained.high)
    word = stats.verdict(None if high is None else 1 - high, None if low is None else 1 - low, NEGLIGIBLE, STRONG)
    sense = {"strong": "costs much", "shown": "costs", "none": "costs nothing that counts", "cannot tell": "may cost"}[word]
    reach = "" if retained.low is None or retained.high is None else f" ({retained.low:.3f} to {retained.high:.3f})"
    found.say(
        noise,
        f"{noise} {sense}: {retained.value:.3f}{reach} of nDCG@10 is kept; {changed.mean():.0%} of the queries changed.",
        verdict=word,
        noise=noise,
    )


def _typos(text: str, rng: np.random.Generator) -> str:
    def spoil(match: re.Match[str]) -> str:
        word = match[0]
        if len(word) < _SHORTEST or rng.random() >= _TYPO_RATE:
            return word
        place = int(rng.integers(1, len(word) - 1))
        if rng.random() < 0.5:  # noqa: PLR2004 - either kind as often
            return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        return word[:place] + word[place + 1 :]

    return re.sub(r"[^\W\d_]+", spoil, text)


def _filler(text: str, rng: np.random.Generator) -> str:
    before, behind = _FILLERS[rng.integers(len(_FILLERS))]
    return f"{before} {text} {behind}"


def _paraphrase(text: str, _: np.random.Generator) -> str:
    def exchange(match: re.Match[str]) -> str:
        word = match[0]
        other = _OTHERS.get(word.lower(), word)
        return other.capitalize() if word[0].isupper() and other != word else other

    return re.sub(r"[^\W\d_]+", exchange, text)


NOISES: dict[str, Callable[[str, np.random.Generator], str]] = {
    "typos": _typos,
    "case": lambda text, _: text.upper(),
    "filler": _filler,
    "paraphrase": _paraphrase,
}
