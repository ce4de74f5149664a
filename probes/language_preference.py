"""Does a model prefer documents in the query's own language?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag import stats
from lidiag.bench import Bench
from lidiag.findings import Findings
from lidiag.measurement import Paper, Skip
from lidiag.pooling import MaxSim
from lidiag.probe import Measuring
from lidiag.similarity import Needs

from ._quality import CUTOFF, Order

# Written before the figures: a twentieth of the first ten is half a document, a quarter moves two or three.
NEGLIGIBLE, STRONG = 0.05, 0.25

_FEWEST = 2

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LanguagePreference:
    """On a collection made of parts that say the same in several languages (`mixed:en,de,zh`).

    Where every document stands there in every language, any excess of the query's own language among the documents that are
    not relevant is preference and nothing else.
    """

    name: ClassVar[str] = "language-preference"
    version: ClassVar[int] = 1
    question: ClassVar[str] = "Does a model prefer documents in the query's own language?"
    source: ClassVar[Paper | None] = None
    primary: ClassVar[str] = "same_language_preference"
    formulas: ClassVar[dict[str, str]] = {
        "same_language_preference": "share of the ten best documents that are not relevant which are in the query's language, less that language's share of "
        "all documents that are not relevant; ours",
        "same_language_first": "share of queries whose relevant document scores above all its versions in other languages; ties are not above; ours",
        "chance_same_language_first": "1 / versions of the relevant document (control); ours",
        "RR@10_by_languages": "RR@10 where only documents of document_language are ranked, by queries of query_language; ours, of ir-measures' RR@10",
    }

    def measure(self, bench: Bench) -> Measuring:
        """Fold MaxSim scores, query by query."""
        parts = _Parts.of(bench)
        found = bench.findings()
        preference, first, chance = (np.full(len(bench), np.nan) for _ in range(3))
        reciprocal = np.full((len(parts.names), len(bench)), np.nan)
        while block := (yield Needs((MaxSim(),))):
            for query, scores in zip(block.queries, block.scores(MaxSim()).cpu(), strict=True):
                preference[query] = parts.preference(query, scores)
                first[query], chance[query] = parts.versions(query, scores)
                reciprocal[:, query] = parts.reciprocal_ranks(query, scores)
        if np.isfinite(preference).any():
            found.mean("same_language_preference", {}, preference, better="neither")
            self._say(found)
        else:
            found.unmade("same_language_preference", {}, "no query leaves documents of several languages that are not relevant.")
        if np.isfinite(first).any():
            found.mean("same_language_first", {}, first, share=True)
            found.mean("chance_same_language_first", {}, chance, share=True)
        else:
            found.unmade("same_language_first", {}, "no relevant document has a version in another language.")
        for asked, language in enumerate(parts.names):
            for there, other in enumerate(parts.names):
                values = np.where(parts.of_queries == asked, reciprocal[there], np.nan)
                if np.isfinite(values).any():
                    found.mean(
                        "RR@10_by_languages", {"query_language": language, "document_language": other}, values, better="higher", share=True
                    )
        return found

    def _say(self, found: Findings) -> None:
        m = found.get("same_language_preference", {})
        word = stats.verdict(m.low, m.high, NEGLIGIBLE, STRONG)
        sense = {
            "strong": "strongly prefers documents in the query's language", "shown": "prefers documents in the query's language",
            "none": "does not prefer the query's language", "cannot tell": "may or may not prefer the query's language",
        }[word]  # fmt: skip
        reach = "" if m.low is None or m.high is None else f" ({m.low:+.2f} to {m.high:+.2f})"
        text = f"The model {sense}: it takes {m.value:+.2f}{reach} more of the first ten than its share of what is not relevant."
        found.say("language", f"{text} Negligible up to {NEGLIGIBLE}, strong above {STRONG}.", verdict=word)


@dataclass(frozen=True, eq=False)
class _Parts:
    """Which part each query and document is from, and which documents are versions of one original."""

    bench: Bench
    names: list[str]
    of_queries: NDArray[np.int64]
    of_documents: NDArray[np.int64]
    originals: list[str]
    order: Order

    @classmethod
    def of(cls, bench: Bench) -> _Parts:
        facets = bench.dataset.facets
        ids = [document.id for document in bench.dataset.documents]
        told = [facets.get(item, {}) for item in (*ids, *bench.query_ids)]
        if not all("part" in facet for facet in told):
            raise Skip(f"{bench.dataset.name} does not say which language its documents are in: name a mixed: collection of folders")
        names = list(dict.fromkeys(str(facet["part"]) for facet in told))
        if len(names) < _FEWEST:
            raise Skip(f"{bench.dataset.name} has one part only")
        seat = {name: i for i, name in enumerate(names)}
        of = np.array([seat[str(facet["part"])] for facet in told])
        return cls(bench, names, of[len(ids) :], of[: len(ids)], [str(facets[item].get("original", item)) for item in ids], Order(ids))

    def preference(self, query: int, scores: Tensor) -> float:
        """Return by how much the query's part is over-represented in the ten best that are not relevant; NaN without a choice."""
        other = np.ones(len(self.of_documents), bool)
        other[self.bench.relevant[query]] = False
        own = self.of_documents == self.of_queries[query]
        if not (other & own).any() or not (other & ~own).any():
            return float("nan")
        best = self.order.first(torch.where(torch.from_numpy(other), scores, -torch.inf)).numpy()
        return float(own[best[other[best]]].mean() - own[other].mean())

    def versions(self, query: int, scores: Tensor) -> tuple[float, float]:
        """Return whether the relevant document of the query's own part beats its versions, and how often chance would have it."""
        relevant = self.bench.relevant[query]
        for document in relevant[self.of_documents[relevant] == self.of_queries[query]]:
            versions = [int(i) for i in relevant if self.originals[i] == self.originals[document]]
            if len(versions) >= _FEWEST:
                others = max(float(scores[i]) for i in versions if i != document)
                return float(scores[document] > others), 1 / len(versions)
        return float("nan"), float("nan")

    def reciprocal_ranks(self, query: int, scores: Tensor) -> Array:
        """Return RR@10 among the documents of each part; NaN where none of them is relevant."""
        found = np.full(len(self.names), np.nan)
        relevant = np.zeros(len(self.of_documents), bool)
        relevant[self.bench.relevant[query]] = True
        for part in range(len(self.names)):
            inside = self.of_documents == part
            if (relevant & inside).any():
                best = self.order.first(torch.where(torch.from_numpy(inside), scores, -torch.inf)).numpy()
                hits = np.flatnonzero(relevant[best] & inside[best])
                found[part] = 1 / (hits[0] + 1) if len(hits) and hits[0] < CUTOFF else 0.0
        return found
