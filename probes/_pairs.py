"""Queries with their documents, split into those that train, those that choose, and those that judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lidiag.bench import Bench
from lidiag.measurement import Skip

_SHARES = (0.5, 0.2)  # for training and validation; what is left judges
_FEWEST = 8  # of each part: below that there is no batch, no choice and no interval worth the name


@dataclass(frozen=True)
class Pairs:
    """Positions of queries, each with its highest-graded document (the first in judgement order)."""

    bench: Bench
    queries: tuple[int, ...]

    @property
    def documents(self) -> list[int]:
        """The document of every query."""
        return [max(self.bench.grades[query], key=self.bench.grades[query].__getitem__) for query in self.queries]

    def foreign(self, chosen: Sequence[int], documents: Sequence[int]) -> Tensor:
        """Tell which of `documents` are not relevant to each of the pairs `chosen`, or are its own: (chosen, documents)."""
        own = self.documents
        relevant = [set(self.bench.relevant[self.queries[i]].tolist()) - {own[i]} for i in chosen]
        return torch.tensor([[document not in there for document in documents] for there in relevant])


@dataclass(frozen=True)
class Split:
    """Three parts of a collection's queries."""

    training: Pairs
    validation: Pairs
    held_out: Pairs


def split(bench: Bench) -> Split:
    """Divide the queries at random, those that share facts together; a query whose document has no vectors is left out.

    Raises:
        Skip: too few queries to train on, choose by and judge by.
    """
    whole = Pairs(bench, tuple(range(len(bench))))
    usable = [query for query, document in enumerate(whole.documents) if bench.lengths[document]]
    groups = bench.dataset.groups
    names = [groups.get(bench.query_ids[query], bench.query_ids[query]) for query in usable]
    order = bench.rng("split of the queries").permutation(sorted(set(names)))
    ends = np.round(np.cumsum(_SHARES) * len(order)).astype(int)
    part = {name: int(np.searchsorted(ends, place, side="right")) for place, name in enumerate(order)}
    parts = [tuple(query for query, name in zip(usable, names, strict=True) if part[name] == number) for number in range(3)]
    if min(map(len, parts)) < _FEWEST:
        raise Skip(
            f"{len(usable)} queries divide into {len(parts[0])} to train on, {len(parts[1])} to choose by and {len(parts[2])} to judge by: "
            f"fewer than {_FEWEST}"
        )
    return Split(*(Pairs(bench, queries) for queries in parts))
