"""What a probe is given: one model's vectors of one collection, the judgements, and a seeded source of randomness."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from lidiag.adapter import Adapter, Side
from lidiag.dataset import Dataset, Document
from lidiag.findings import Findings
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.similarity import Block, Needs, Tiling, similarity_pass


def no_states(side: Side, items: Sequence[str] | Sequence[Document], layer: int) -> MultiVectors:  # noqa: ARG001 - an encoder's signature
    """Stand in for the states of a bench that was made from vectors alone."""
    raise Skip("this bench was made from vectors, and there are no states behind them")


@dataclass(frozen=True, eq=False)
class Bench:
    """One model on one collection.

    `query_ids` are the queries that count: not empty, with at least one positive judgement; `queries` are their vectors in
    the same order. `documents` are the vectors of all documents, in the collection's order. `encode_documents` and
    `encode_queries` encode further texts through the store, `encode_states` the frozen states of a layer (-1: the last).
    """

    dataset: Dataset
    adapter: Adapter
    query_ids: Sequence[str]
    queries: MultiVectors
    documents: MultiVectors
    encode_documents: Callable[[Sequence[Document]], MultiVectors]
    encode_queries: Callable[[Sequence[str]], MultiVectors]
    encode_states: Callable[[Side, Sequence[str] | Sequence[Document], int], MultiVectors] = no_states
    seed: int = 0
    device: str = "cpu"
    tiling: Tiling | None = None

    def __len__(self) -> int:
        """Return the number of queries that count."""
        return len(self.query_ids)

    @property
    def pooled(self) -> bool:
        """Whether the model gives a single vector beside the token vectors, on both sides."""
        return self.queries.pooled is not None and self.documents.pooled is not None

    @cached_property
    def grades(self) -> list[dict[int, int]]:
        """For each query, document position -> grade, for every judged document (grade 0 and below included)."""
        position = {document.id: i for i, document in enumerate(self.dataset.documents)}
        return [{position[d]: grade for d, grade in self.dataset.relevance[q].items()} for q in self.query_ids]

    @cached_property
    def relevant(self) -> list[NDArray[np.int64]]:
        """For each query, the positions of its relevant documents (grade above 0), rising."""
        return [np.array(sorted(d for d, grade in judged.items() if grade > 0), dtype=np.int64) for judged in self.grades]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Token vectors per document."""
        return self.documents.lengths.numpy()

    @cached_property
    def query_texts(self) -> list[str]:
        """The texts of the queries that count."""
        texts = {query.id: query.text for query in self.dataset.queries}
        return [texts[q] for q in self.query_ids]

    def findings(self) -> Findings:
        """Return an empty collection of findings about these queries."""
        groups = self.dataset.groups
        clusters = np.unique([groups.get(q, q) for q in self.query_ids], return_inverse=True)[1] if groups else None
        return Findings(self.query_ids, clusters)

    def rng(self, step: str) -> np.random.Generator:
        """Return a generator that depends on the run's seed and on `step` alone."""
        return np.random.default_rng([self.seed, zlib.crc32(step.encode())])

    def compare(self, queries: MultiVectors, documents: MultiVectors, needs: Needs) -> Iterator[Block]:
        """Make a pass of one's own, over other vectors than the bench's."""
        return similarity_pass(queries, documents, needs, device=self.device, tiling=self.tiling)

    def torch_rng(self, step: str) -> torch.Generator:
        """Return torch's kind of generator, seeded likewise."""
        return torch.Generator().manual_seed(int(self.rng(step).integers(2**62)))
