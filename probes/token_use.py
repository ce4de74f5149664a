"""Which document vectors do the work, and which could be left out?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Coordinate, Measurement, Paper, Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.probe import Measuring
from lidiag.similarity import Needs

from ._moments import Moments
from ._rankings import Rankings
from ._uses import drawn, most_used, nearest_counts, rarefied

# Written before the figures. Hubs: of all places among the nearest ten, beyond what Gaussian vectors of the same mean and
# covariance give. Pruning: of nDCG@10, against the unpruned.
NEGLIGIBLE, STRONG = 0.05, 0.25

_GROUPS = 10  # of queries, left out one by one for the intervals; the halves of pruning are five each
_FEWEST = 2 * _GROUPS
_TOP = 0.001
_DRAWS = 3
_ROUNDING = 1e-12
_MAXSIM = MaxSim(argmax=True)

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class TokenUse:
    """Wins of MaxSim over all documents, hubs among the nearest vectors of the corpus, and pruning by use.

    `tokens` is the number of query tokens that shares are rarefied to, so that collections with more questions do not seem to
    use more of their documents; `keep` are the shares of a document's vectors that pruning leaves.
    """

    tokens: int = 500
    curve: tuple[int, ...] = (50, 100, 200, 500, 1000, 2000)
    keep: tuple[float, ...] = (0.75, 0.5, 0.25)

    name: ClassVar[str] = "token-use"
    version: ClassVar[int] = 2
    question: ClassVar[str] = "Which document vectors do the work, and which could be left out?"
    source: ClassVar[Paper | None] = None
    primary: ClassVar[str] = "used_share"
    formulas: ClassVar[dict[str, str]] = {
        "used_share": "share of document vectors that are the best match of their document for at least one of 500 query tokens (or all, where there are "
        "fewer), expected over draws of the tokens (rarefaction, Hurlbert 1971, exact); interval: jackknife over ten groups of queries; ours",
        "used_share_by_tokens": "the same for other numbers of query tokens; ours",
        "wins_gini": "Gini of a document's wins over its vectors, mean over documents of two vectors or more; ours",
        "hub_skewness": "skewness of N_10(v), the number of query tokens with v among their 10 nearest corpus vectors (Radovanovic et al. 2010, JMLR 11)",
        "hub_share": "share of all those places that the 0.1 % most frequent vectors hold; ours",
        "hub_share_matched": "the same for Gaussian vectors with the mean and covariance of the model's documents and queries (control); ours",
        "hub_excess": "hub_share less hub_share_matched; ours",
        "pruned_ndcg_retained": "nDCG@10 with the most used share of every document's vectors, over nDCG@10 with all; use counted on one half of the queries, "
        "judged on the other, both ways; at least one vector of a document is kept; ours",
        "pruned_ndcg_retained_random": "the same for vectors drawn at random, mean of three draws (control); ours",
        "pruning_gain": "nDCG@10 pruned by use less nDCG@10 pruned at random, paired; ours",
    }

    def __post_init__(self) -> None:
        """Refuse shares that are none, and numbers that draw nothing."""
        if not self.keep or not all(0 < keep < 1 for keep in self.keep) or min(self.tokens, *self.curve) < 1:
            raise LidiagError(
                f"{self.name}: keep = {list(self.keep)}, tokens = {self.tokens}, curve = {list(self.curve)}.",
                "Give shares between 0 and 1, and numbers of query tokens of 1 or more.",
            )

    def measure(self, bench: Bench) -> Measuring:
        """Count in one pass, then prune."""
        groups = _groups(bench)
        found = bench.findings()
        wins = np.zeros((_GROUPS, len(bench.documents.vectors)), np.int64)
        starts = bench.documents.offsets[:-1]
        filled = torch.from_numpy(np.flatnonzero(bench.lengths))
        while block := (yield Needs((_MAXSIM,), tokens=True)):
            for row, query in enumerate(block.queries):
                winners = block.state_of(_MAXSIM, row).argmax[:, filled] + starts[filled]
                wins[groups[query]] += np.bincount(winners.flatten().cpu().numpy(), minlength=wins.shape[1])
        owner = np.repeat(groups, bench.queries.lengths.numpy())
        tokens = np.bincount(owner, minlength=_GROUPS)
        self._report_use(found, bench, wins, tokens)
        self._report_hubs(found, bench, owner)
        self._report_pruning(found, bench, wins, groups)
        return found

    def _report_use(self, found: Findings, bench: Bench, wins: Counts, tokens: Counts) -> None:
        def share(sample: int) -> Callable[[Counts, int], float]:
            return lambda counts, there: rarefied(counts, there, sample)

        used = _jackknifed(found, "used_share", {}, share(self.tokens), wins, tokens)
        for sample in self.curve:
            if sample <= tokens.sum():
                _jackknifed(found, "used_share_by_tokens", {"tokens": sample}, share(sample), wins, tokens)
        whole = wins.sum(0)
        bounds = bench.documents.offsets.tolist()
        ginis = [float(stats.gini(whole[a:b])) for a, b in pairwise(bounds) if b - a > 1]
        if ginis:
            estimate = stats.mean_interval(np.array(ginis), share=True)
            found.number("wins_gini", {}, estimate.value, n=len(ginis), unit_of_n="documents", low=estimate.low, high=estimate.high, no_interval=estimate.no_interval)  # fmt: skip
        few = f" (there are only {tokens.sum()})" if tokens.sum() < self.tokens else ""
        found.say(
            "use",
            f"For {min(self.tokens, int(tokens.sum()))} query tokens{few}, {used.value:.0%}{_reach(used)} of the document vectors are the best match of their "
            f"document at least once; for all {tokens.sum():,}, {(whole > 0).mean():.0%}.",
        )

    def _report_hubs(self, found: Findings, bench: Bench, owner: Counts) -> None:
        queries, documents = bench.queries.vectors, bench.documents.vectors
        counts = nearest_counts(queries, documents, owner, _GROUPS)
        places = np.ones(_GROUPS, np.int64)
        share = _jackknifed(found, "hub_share", {}, lambda held, _: _top_share(held), counts, places)
        _jackknifed(found, "hub_skewness", {}, lambda held, _: _skewness(held), counts, places)
        generator = bench.torch_rng("matched vectors of the hubs")
        matched = nearest_counts(_like(bench.queries, generator), _like(bench.documents, generator), owner, _GROUPS)
        control = _jackknifed(found, "hub_share_matched", {}, lambda held, _: _top_share(held), matched, places)
        both = np.concatenate((counts, matched), axis=1)
        half = counts.shape[1]
        excess = _jackknifed(found, "hub_excess", {}, lambda held, _: _top_share(held[:half]) - _top_share(held[half:]), both, places)
        word = stats.verdict(excess.low, excess.high, NEGLIGIBLE, STRONG)
        sense = {
            "strong": "a few vectors are near very many queries",
            "shown": "a few vectors are near many queries",
            "none": "no vectors are near more queries than their mean and covariance give",
            "cannot tell": "whether a few vectors are near many queries cannot be told",
        }[word]
        text = (
            f"Hubs: {sense}. The {_TOP:.1%} most frequent hold {share.value:.1%}{_reach(share)} of all places among the nearest ten, Gaussian vectors with the "
            f"same mean and covariance {control.value:.1%}: {word}."
        )
        found.say("hubs", text, verdict=word)

    def _report_pruning(self, found: Findings, bench: Bench, wins: Counts, groups: Counts) -> None:
        rankings = Rankings(bench, range(len(bench.documents)))
        halves = [np.flatnonzero((groups < _GROUPS // 2) == first) for first in (True, False)]
        full = np.full(len(bench), np.nan)
        for half in halves:
            full[half] = _judged(bench, rankings, half, bench.documents)
        for keep in self.keep:
            at: dict[str, Coordinate] = {"keep": keep}
            by_use, at_random = np.full(len(bench), np.nan), np.zeros(len(bench))
            for number, half in enumerate(halves):
                elsewhere = wins[_GROUPS // 2 :] if number == 0 else wins[: _GROUPS // 2]
                by_use[half] = _judged(bench, rankings, half, most_used(bench.documents, elsewhere.sum(0), keep))
                for draw in range(_DRAWS):
                    few = drawn(bench.documents, keep, bench.rng(f"random pruning {keep:g} {number} {draw}"))
                    at_random[half] += _judged(bench, rankings, half, few) / _DRAWS
            retained = found.ratio("pruned_ndcg_retained", at, by_use, full, better="higher")
            control = found.ratio("pruned_ndcg_retained_random", at, at_random, full)
            found.mean("pruning_gain", at, by_use - at_random)
            lost = [None if end is None else 1 - end for end in (retained.high, retained.low)]
            word = stats.verdict(lost[0], lost[1], NEGLIGIBLE, STRONG)
            sense = {
                "strong": "costs much of the ranking",
                "shown": "costs ranking",
                "none": "costs nothing that counts",
                "cannot tell": "may cost ranking",
            }[word]
            text = (
                f"Keeping the {keep:.0%} of a document's vectors that other queries used most {sense}: {retained.value:.3f}{_reach(retained)} of nDCG@10 is kept, "
                f"and {control.value:.3f} with as many drawn at random."
            )
            found.say("pruning", text, verdict=word, keep=keep)


def _groups(bench: Bench) -> Counts:
    """Divide the queries into ten groups, those that share facts together."""
    clusters = bench.findings().clusters
    units = np.arange(len(bench)) if clusters is None else clusters
    names = np.unique(units)
    if len(names) < _FEWEST:
        raise Skip(f"{len(names)} independent queries do not divide into {_GROUPS} groups of two or more")
    seats = bench.rng("groups of the queries").permutation(len(names)) % _GROUPS
    return seats[np.searchsorted(names, units)]


def _judged(bench: Bench, rankings: Rankings, half: Counts, documents: MultiVectors) -> Array:
    chosen = half.tolist()
    return rankings.ndcg(chosen, bench.queries.select(chosen), documents, [MaxSim()])[MaxSim()]


def _jackknifed(  # noqa: PLR0913, PLR0917 - a measurement, what it is of, and its units
    found: Findings, name: str, at: dict[str, Coordinate], value: Callable[[Counts, int], float], counts: Counts, tokens: Counts
) -> Measurement:
    """Add value(counts of all groups, their tokens), with the interval of leaving groups of queries out one by one."""
    whole, total = counts.sum(0), int(tokens.sum())
    point = value(whole, total)
    left = np.array([value(whole - counts[group], total - int(tokens[group])) for group in range(len(counts))])
    error = float(np.sqrt((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum()))
    n, unit = len(left), "groups of queries"
    if error <= _ROUNDING:
        return found.number(name, at, point, n=n, unit_of_n=unit, no_interval="leaving queries out changes nothing")
    reach = float(scipy_stats.t.ppf(0.975, len(left) - 1)) * error
    return found.number(name, at, point, n=n, unit_of_n=unit, low=point - reach, high=point + reach)


def _top_share(counts: Counts) -> float:
    top = max(1, round(_TOP * len(counts)))
    return float(np.sort(counts)[-top:].sum() / max(1, counts.sum()))


def _skewness(counts: Counts) -> float:
    return float(scipy_stats.skew(counts)) if counts.min() < counts.max() else 0.0


def _like(items: MultiVectors, generator: torch.Generator) -> torch.Tensor:
    """Draw as many Gaussian vectors with the same mean and covariance, of the items' mean length."""
    moments = Moments.of(items)
    rows = moments.mean + torch.randn(len(items.vectors), items.dim, generator=generator) @ moments.root.T
    return moments.norm * torch.nn.functional.normalize(rows, dim=1)


def _reach(m: Measurement) -> str:
    return "" if m.low is None or m.high is None else f" ({m.low:.3f} to {m.high:.3f})"
