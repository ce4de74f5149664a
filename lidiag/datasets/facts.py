"""`builtin:facts`: a generated English collection in which document length is crossed with relevance.

Sixty statements, each in ten documents: alone, and with idle talk before it, after it or around it, at 2, 4 and 8 times
its length. All statements have the same number of words, and so have all documents of one cell of the design; so the
relevant and the other documents of every query have the same lengths, and what a model gains from length it cannot gain
from relevance. Within one statement and position the longer document holds the shorter one's talk, nearest the statement.

The longest document has 112 words, some 150 word pieces: below the 180 at which late-interaction models commonly cut.

A town has three statements and a kind of statement stands for five towns: every query has documents about the same town,
and documents of the same kind about other towns, that do not answer it.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import NamedTuple

from lidiag.dataset import Dataset, Document, Query
from lidiag.datasets.draws import shuffled
from lidiag.datasets.talk import brief, talk
from lidiag.datasets.words import KINDS, STATEMENT_WORDS, TOWNS, Kind

TIMES = (2, 4, 8)
_PER_TOWN = 3


class Fact(NamedTuple):
    """One statement about one town."""

    id: str
    kind: Kind
    town: str
    value: str

    def says(self, template: str) -> str:
        """Fill in town and value."""
        return template.format(town=self.town, value=self.value)


class _Draft(NamedTuple):
    fact: Fact
    position: str
    times: int
    text: str


def facts(seed: int) -> Dataset:
    """Generate the collection: 600 documents, 180 queries, grade 1 where a document states the fact that is asked for."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    stated = _facts(rng)
    drafts = shuffled(rng, [draft for fact in stated for draft in _drafts(fact, rng)])
    documents = [Document(f"d{number:03}", draft.text) for number, draft in enumerate(drafts, 1)]
    asked = shuffled(rng, [(fact, ask) for fact in stated for ask in (fact.kind.direct, fact.kind.reworded, fact.kind.inverse)])
    queries = [Query(f"q{number:03}", fact.says(ask)) for number, (fact, ask) in enumerate(asked, 1)]
    answers = {
        fact.id: {document.id: 1 for document, draft in zip(documents, drafts, strict=True) if draft.fact is fact} for fact in stated
    }
    dataset = Dataset(
        name="builtin:facts" + (f"?seed={seed}" if seed else ""),
        queries=queries,
        documents=documents,
        relevance={query.id: answers[fact.id] for query, (fact, _) in zip(queries, asked, strict=True)},
        language="eng-Latn",
        groups={query.id: fact.id for query, (fact, _) in zip(queries, asked, strict=True)},
        facets={
            document.id: {"fact": draft.fact.id, "position": draft.position, "times": draft.times, "words": draft.times * STATEMENT_WORDS}
            for document, draft in zip(documents, drafts, strict=True)
        },
    )
    return dataclasses.replace(dataset, revision=dataset.fingerprint[:40])


def _facts(rng: random.Random) -> list[Fact]:
    """Give every town three kinds of statement and every kind as many towns, no value twice within a kind."""
    values = {kind.name: shuffled(rng, kind.values) for kind in KINDS}
    rounds = len(TOWNS) * _PER_TOWN // len(KINDS)
    kinds = [kind for _ in range(rounds) for kind in shuffled(rng, KINDS)]
    towns = [town for town in shuffled(rng, TOWNS) for _ in range(_PER_TOWN)]
    return [Fact(f"{kind.name}-{town}", kind, town, values[kind.name].pop()) for kind, town in zip(kinds, towns, strict=True)]


def _drafts(fact: Fact, rng: random.Random) -> list[_Draft]:
    statement = fact.says(fact.kind.statement)
    drafts = [_Draft(fact, "alone", 1, statement)]
    for position in ("before", "after", "around"):
        # Talk in the order of its distance from the statement; the shorter document takes the nearest part.
        left, right = _sides(position, rng)
        for times in TIMES:
            before, after = (side[: _sentences(side, times, halves=position == "around")] for side in (left, right))
            drafts.append(_Draft(fact, position, times, " ".join([*reversed(before), statement, *after])))
    return drafts


def _sides(position: str, rng: random.Random) -> tuple[list[str], list[str]]:
    """Return the talk before and after a statement: long sentences, or a short and long ones on both sides."""
    longest = TIMES[-1]
    if position == "around":
        said, (left, right) = talk(longest - 2, rng), brief(2, rng)
        half = len(said) // 2
        return [left, *said[:half]], [right, *said[half:]]
    said = talk(longest - 1, rng)
    return (said, []) if position == "before" else ([], said)


def _sentences(side: Sequence[str], times: int, *, halves: bool) -> int:
    """Return how many sentences of a side make a document `times` as long as its statement."""
    if not side:
        return 0
    return times // 2 if halves else times - 1
