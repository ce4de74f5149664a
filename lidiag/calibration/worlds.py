"""Simulated collections of vectors: one that is healthy, and some with one ailment each."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lidiag.adapter import Label, Side
from lidiag.bench import Bench
from lidiag.card import ModelCard
from lidiag.dataset import Dataset, Document, Query
from lidiag.multivector import MultiVectors

AILMENTS = {
    "healthy": "documents hold matches of their own topic among unrelated vectors; length says nothing",
    "length": "every vector of a document is drawn towards what all queries have in common, by the document's length",
    "drift": "every vector of a document is drawn towards what all queries have in common, by how far on it stands",
    "halves": "every document is near one half of any query's tokens, so that two of them together answer everything",
    "hub": "three documents hold nothing but one vector that is near all queries",
    "random": "documents have nothing to do with queries",
}
PLANTED = {
    "length": "length-bias rho_excess",
    "drift": "length-bias slope_excess",
    "halves": "length-sweep ndcg_retained",
    "hub": "distractor-hijacking recall_retained",
    "random": "retrieval nDCG@10",
}
"""The gate that each ailing world was made to fail, whatever else it fails."""

_QUERIES, _TOPICS, _DIM = 40, 40, 64
_TOKENS = 6
_SHORTEST, _LONGEST = 12, 60
_COMMON = 0.6  # how much all queries have in common
_MUCH = 1.0  # the same where documents hold half of it
_PULL = 0.5  # of the ailing worlds
_HUBS = (0, 27, 54)
_SPREAD = 1.7  # of a topic's vectors, in lengths of the topic: not so near that every query finds its documents
_CLEAR = 1.2  # the same where a gate judges what is left of a ranking: that takes one to lose


@dataclass
class _Simulated:
    """An adapter for texts that a probe makes itself: unrelated vectors, the same for the same text and seed.

    An interval over a probe's own questions speaks of other such questions, so another seed is to draw others.
    """

    card: ModelCard
    common: Tensor
    seed: int

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        """Encode every text as an unrelated query."""
        items: list[Tensor] = []
        for text in texts:
            generator = torch.Generator().manual_seed(zlib.crc32(text.encode(), self.seed))
            items.append(_unit(torch.randn(_TOKENS, _DIM, generator=generator) / _DIM**0.5 + self.common))
        return MultiVectors.pack(items)

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        """Encode every document's text likewise."""
        return self.queries([document.text for document in documents])

    def labels(self, side: Side, item: str | Document) -> list[Label]:  # noqa: ARG002 - an adapter's signature
        """Name every vector a word."""
        return [Label("word")] * _TOKENS


def simulate(ailment: str, collection: int, seed: int) -> Bench:
    """Draw the 80 documents of a collection, two on each of 40 topics, and by `seed` 40 queries, each on a topic at random.

    An interval over queries speaks of other queries to the same documents: so many seeds of one collection show what it covers.
    """
    generator = torch.Generator().manual_seed(collection)
    poles = _unit(torch.randn(2, _DIM, generator=generator))
    topics = _unit(torch.randn(_TOPICS, _DIM, generator=generator))
    lengths = torch.randint(_SHORTEST, _LONGEST + 1, (2 * _TOPICS,), generator=generator).tolist()
    documents = [_document(ailment, topics[d % _TOPICS], lengths[d], poles, generator) for d in range(2 * _TOPICS)]
    if ailment == "hub":
        documents = [poles[:1].expand(lengths[d], _DIM) if d in _HUBS else document for d, document in enumerate(documents)]
    generator = torch.Generator().manual_seed(2**32 + seed)
    asked: list[int] = torch.randint(_TOPICS, (_QUERIES,), generator=generator).tolist()
    common = _common(ailment, poles)
    queries = [_unit(_near(ailment, topics[topic], _TOKENS, generator) + common) for topic in asked]
    card = ModelCard(
        name="lidiag/simulated", revision="0" * 40, adapter="builtin", reason="simulated", family="Simulated", modalities=("text",), dim=_DIM,
        dtype="float32",
    )  # fmt: skip
    adapter = _Simulated(card, common, seed)
    dataset = Dataset(
        name=f"simulated:{ailment}",
        queries=[Query(f"q{q}", f"query {q}") for q in range(_QUERIES)],
        documents=[Document(f"d{d}", f"document {d}") for d in range(2 * _TOPICS)],
        relevance={f"q{q}": {f"d{topic}": 1, f"d{topic + _TOPICS}": 1} for q, topic in enumerate(asked)},
    )
    return Bench(
        dataset=dataset,
        adapter=adapter,
        query_ids=[query.id for query in dataset.queries],
        queries=MultiVectors.pack(queries),
        documents=MultiVectors.pack(documents),
        encode_documents=adapter.documents,
        encode_queries=adapter.queries,
        seed=seed,
    )


def _common(ailment: str, poles: Tensor) -> Tensor:
    """Return what is the same in all queries, token by token."""
    if ailment == "halves":
        return _MUCH * poles.repeat_interleave(_TOKENS // 2, 0)
    return _COMMON * poles[:1].expand(_TOKENS, _DIM)


def _document(ailment: str, topic: Tensor, length: int, poles: Tensor, generator: torch.Generator) -> Tensor:
    matches = max(2, length // 6)
    rows = torch.cat((_near(ailment, topic, matches, generator), _unit(torch.randn(length - matches, _DIM, generator=generator))))
    # What a document is about may stand anywhere in it: its first vectors are to be like the rest.
    rows = rows[torch.randperm(length, generator=generator)]
    if ailment == "random":
        rows = torch.randn(length, _DIM, generator=generator)
    elif ailment == "length":
        rows = rows + _PULL * torch.tensor(length / _SHORTEST).log2() * poles[0]
    elif ailment == "drift":
        rows = rows + _PULL * torch.arange(length)[:, None] / _SHORTEST * poles[0]
    elif ailment == "halves":
        rows[-2:] = poles[int(torch.randint(2, (), generator=generator))]
    return _unit(rows)


def _near(ailment: str, topic: Tensor, tokens: int, generator: torch.Generator) -> Tensor:
    spread = _CLEAR if ailment in {"halves", "hub"} else _SPREAD
    return _unit(topic + spread * torch.randn(tokens, _DIM, generator=generator) / _DIM**0.5)


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)
