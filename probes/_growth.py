"""Documents that grow by the vectors of others: states are merged, and nothing is scored again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lidiag.bench import Bench
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import Pooling
from lidiag.similarity import Needs

FILLERS = ("documents", "gaussian")

_NEAREST = 32  # fillers of nearly the document's own length to draw from
_MOST_GAUSSIAN = 1024  # documents of Gaussian rows; each length has its own among so many

Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Filler:
    """What documents grow by: whole other documents of nearly the same length, so that one more of them is once more the length.

    `hosts` are the positions of the documents that are not empty; row i of `candidates` are those that host i can grow by,
    in a drawn order, as rows of `hosts` or of `documents`, where there are any (None: the collection's own).
    """

    hosts: Positions
    candidates: Positions
    documents: MultiVectors | None

    @classmethod
    def of(cls, kind: str, bench: Bench, most: int) -> Filler:
        """Draw fillers for documents that will grow by `most` of them.

        Raises:
            Skip: there are too few documents to draw from.
        """
        hosts = np.flatnonzero(bench.lengths)
        lengths = bench.lengths[hosts]
        if len(hosts) <= most:
            raise Skip(f"a document that grows by {most} others needs more than the {len(hosts)} documents that are not empty")
        rng = bench.rng(f"fillers: {kind}")
        if kind == "documents":
            return cls(hosts, _draw(lengths, lengths, max(2 * most, _NEAREST), rng, own=True), None)
        chosen = np.sort(lengths)[np.linspace(0, len(lengths) - 1, min(len(lengths), _MOST_GAUSSIAN)).astype(np.int64)]
        rows = torch.randn(int(chosen.sum()), bench.documents.dim, generator=bench.torch_rng("gaussian fillers"))
        torch.nn.functional.normalize(rows, out=rows)
        made = MultiVectors(rows, torch.from_numpy(np.concatenate(([0], chosen.cumsum()))))
        return cls(hosts, _draw(lengths, chosen, max(most, _NEAREST), rng, own=False), made)

    def chosen(self, relevant: Positions, most: int, rng: np.random.Generator) -> Positions:
        """Return (hosts, most) fillers, those that are relevant to the query last; a filler must not bring the answer along.

        Every query draws anew among its hosts' candidates: were the fillers the same for all, their luck would be, too, and the
        spread of the queries would not show it.
        """
        # As many again, to take their places where some are relevant to the query.
        candidates = self.candidates[:, rng.permutation(self.candidates.shape[1])[: 2 * most]]
        chosen = np.ascontiguousarray(candidates[:, :most])
        if self.documents is None:
            answer = self._among(relevant)
            for host in np.flatnonzero(answer[chosen].any(1)).tolist():
                chosen[host] = candidates[host, np.argsort(answer[candidates[host]], kind="stable")[:most]]
        return chosen

    def answers(self, chosen: Positions, relevant: Positions) -> int:
        """Return how many of the chosen fillers are relevant to the query all the same."""
        return 0 if self.documents is not None else int(self._among(relevant)[chosen].sum())

    def _among(self, relevant: Positions) -> NDArray[np.bool_]:
        """Say of every host whether it is among the relevant documents."""
        return np.isin(self.hosts, relevant)

    def states(self, bench: Bench, queries: range, needs: Needs) -> Iterator[dict[Pooling, Any]]:
        """Yield each query's states (tokens, fillers) by pooling, where the fillers are not the collection's own."""
        if self.documents is None:
            return
        for block in bench.compare(bench.queries.select(queries), self.documents, needs):
            bounds = block.offsets.tolist()
            for start, end in pairwise(bounds):
                yield {pooling: of_tokens(state, start, end) for pooling, state in block.whole.states.items()}

    def lengths(self, bench: Bench) -> Positions:
        """Return the fillers' numbers of vectors."""
        return bench.lengths[self.hosts] if self.documents is None else self.documents.lengths.numpy()


def of_tokens(state: Any, start: int, end: int) -> Any:
    """Return the state of query tokens start..end of a (tokens, documents) state."""
    return type(state)(**{name: part if name == "n" or part is None else part[start:end] for name, part in vars(state).items()})


def _draw(hosts: Positions, fillers: Positions, count: int, rng: np.random.Generator, *, own: bool) -> Positions:
    """Draw (hosts, count) fillers, none twice for a host and none itself, from those nearest to it in order of length."""
    order = np.argsort(fillers, kind="stable")
    if own:
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
    else:
        place = np.searchsorted(fillers[order], hosts)
    window = min(max(_NEAREST, count + 1), len(fillers))
    first = np.clip(place - window // 2, 0, len(fillers) - window)
    keys = rng.random((len(hosts), window), dtype=np.float32)
    if own:
        keys[np.arange(len(hosts)), place - first] = np.inf
    drawn = np.argsort(keys, axis=1)[:, : min(count, window - own)]
    return order[first[:, None] + drawn]
