"""The synthetic world of Spike Hijacking (arXiv 2604.05253): concepts, queries, positives, and hard negatives with a spike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lidiag.multivector import MultiVectors
from lidiag.pooling import Pooling

from ._batch_scores import batch_scores

CONCEPTS = 100
DIM = 16
TOKENS = 16
NOISE = 0.1
# Not published; fixed here, as they stand beside every figure. The first four are those of an earlier re-implementation
# that met the published Gini.
SUPPORT = 8  # of a positive's patches, how many lie on the query's concepts
WIDTH = 64
LEARNING_RATE = 1e-3
QUERIES = 512
HELD_OUT = 256
SHARED = 3  # a hard negative's patches on the query's concepts
SPIKE = 4  # query concepts that its one spike patch averages
BATCH = 64  # [published]


@dataclass(frozen=True)
class World:
    """Raw patches: queries (n, 16, 16), positives (n, m, 16) and, where there are any, hard negatives (n, m, 16)."""

    queries: Tensor
    positives: Tensor
    negatives: Tensor | None

    @classmethod
    def draw(cls, n: int, m: int, *, hard: bool, concepts: Tensor, generator: torch.Generator) -> World:
        """Draw n queries with documents of m patches; `hard` adds a hard negative to each."""
        of_query = torch.randint(CONCEPTS, (n, TOKENS), generator=generator)
        queries = _noisy(concepts[of_query], generator)
        positives = _documents(of_query, SUPPORT, m, concepts, generator)
        negatives = None
        if hard:
            negatives = _documents(of_query, SHARED, m, concepts, generator)
            negatives[:, -1] = _unit(concepts[_some(of_query, SPIKE, generator)].mean(1))
        return cls(queries, positives, negatives)

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.queries)

    @property
    def documents(self) -> Tensor:
        """All documents, (n or 2 n, m, 16): document i is query i's own."""
        return self.positives if self.negatives is None else torch.cat((self.positives, self.negatives))

    def select(self, index: Tensor) -> World:
        """Take some queries with their documents."""
        return World(self.queries[index], self.positives[index], None if self.negatives is None else self.negatives[index])


def concepts(generator: torch.Generator) -> Tensor:
    """Draw the world's concepts, (100, 16) unit rows."""
    return _unit(torch.randn(CONCEPTS, DIM, generator=generator))


def train(pooling: Pooling, world: World, epochs: int, generator: torch.Generator, after: Callable[[int, nn.Module], None]) -> nn.Module:
    """Train the shared encoder by in-batch InfoNCE on sums of pooled similarities, without a temperature; return it.

    `after` is called with every epoch's number, from 1, and the encoder as it is then.
    """
    encoder = nn.Sequential(nn.Linear(DIM, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, DIM))
    for layer in encoder:
        if isinstance(layer, nn.Linear):  # as torch does itself, from our generator
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=LEARNING_RATE)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(world), generator=generator).split(BATCH):
            batch = world.select(chosen)
            scores = batch_scores(encode(encoder, batch.queries), encode(encoder, batch.documents), pooling)
            loss = nn.functional.cross_entropy(scores, torch.arange(len(batch)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        after(epoch + 1, encoder)
    return encoder


def encode(encoder: nn.Module, patches: Tensor) -> MultiVectors:
    """Encode (n, m, 16) raw patches to unit rows."""
    n, m, _ = patches.shape
    return MultiVectors(_unit(encoder(patches.reshape(n * m, DIM))), torch.arange(n + 1) * m)


def _documents(of_query: Tensor, support: int, m: int, concepts: Tensor, generator: torch.Generator) -> Tensor:
    n = len(of_query)
    drawn = torch.randint(CONCEPTS, (n, m), generator=generator)
    drawn[:, :support] = _some(of_query, support, generator)
    return _noisy(concepts[drawn], generator)


def _some(of_query: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose `count` of every query's tokens, and return their concepts (n, count)."""
    return of_query.gather(1, torch.rand(of_query.shape, generator=generator).argsort(1)[:, :count])


def _noisy(vectors: Tensor, generator: torch.Generator) -> Tensor:
    return _unit(vectors + NOISE * torch.randn(vectors.shape, generator=generator))


def _unit(vectors: Tensor) -> Tensor:
    return nn.functional.normalize(vectors, dim=-1)
