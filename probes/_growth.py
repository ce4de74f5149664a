"""Documents that grow by the vectors of others: states are merged, and nothing is scored again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidiag.bench import Bench
from lidiag.measurement import Skip

from ._gaussian_rows import GaussianRows

FILLERS = ("documents", "gaussian")

_NEAREST = 32  # fillers of nearly the document's own length to draw from
_FAMILIES = 16  # of Gaussian rows to draw from: 128 give the same figures

Positions = NDArray[np.int64]
Candidates = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Filler:
    """What documents grow by: whole other documents of nearly the same length, so that one more of them is once more the length.

    `hosts` are the positions of the documents that are not empty, by length; row i of `candidates` are those that host i can grow by,
    in a drawn order, as rows of `hosts` or of `made`, where fillers are made (None: the collection's own).
    """

    hosts: Positions
    candidates: Candidates
    made: GaussianRows | None

    @classmethod
    def of(cls, kind: str, bench: Bench, most: int) -> Filler:
        """Draw fillers for documents that will grow by `most` of them.

        Raises:
            Skip: there are too few documents to draw from.
        """
        filled = np.flatnonzero(bench.lengths)
        if len(filled) <= most:
            raise Skip(f"a document that grows by {most} others needs more than the {len(filled)} documents that are not empty")
        rng = bench.rng(f"fillers: {kind}")
        order = np.argsort(bench.lengths[filled], kind="stable")
        hosts = filled[order]
        if kind == "documents":
            return cls(hosts, _draw(order, max(2 * most, _NEAREST), rng), None)
        families = max(most, _FAMILIES)
        made = GaussianRows.drawn(bench.lengths[hosts], bench.documents.dim, families, bench.torch_rng("gaussian fillers"))
        drawn = np.argsort(rng.random((len(hosts), families), dtype=np.float32)[order], axis=1)
        return cls(hosts, _side_by_side(made.of_length(bench.lengths[hosts])[:, None] + drawn), made)

    def chosen(self, relevant: Positions, most: int, rng: np.random.Generator) -> Candidates:
        """Return (hosts, most) fillers, those that are relevant to the query last; a filler must not bring the answer along.

        Every query draws anew among its hosts' candidates: were the fillers the same for all, their luck would be, too, and the
        spread of the queries would not show it.
        """
        # As many again, to take their places where some are relevant to the query.
        candidates = self.candidates.T[rng.permutation(self.candidates.shape[1])[: 2 * most]].T
        chosen = candidates[:, :most]
        if self.made is None:
            answer = self._among(relevant)
            for host in np.flatnonzero(answer[chosen].any(1)).tolist():
                chosen[host] = candidates[host, np.argsort(answer[candidates[host]], kind="stable")[:most]]
        return chosen

    def answers(self, chosen: Candidates, relevant: Positions) -> int:
        """Return how many of the chosen fillers are relevant to the query all the same."""
        return 0 if self.made is not None else int(self._among(relevant)[chosen].sum())

    def _among(self, relevant: Positions) -> NDArray[np.bool_]:
        """Say of every host whether it is among the relevant documents."""
        return np.isin(self.hosts, relevant)

    def lengths(self, bench: Bench) -> Positions:
        """Return the fillers' numbers of vectors."""
        return bench.lengths[self.hosts] if self.made is None else np.repeat(self.made.lengths, self.made.families)


def _draw(order: Positions, count: int, rng: np.random.Generator) -> Candidates:
    """Draw (documents, count) others for documents in order of length, none twice and none itself, from those nearest to it."""
    place = np.arange(len(order))
    window = min(max(_NEAREST, count + 1), len(order))
    first = np.clip(place - window // 2, 0, len(order) - window)
    keys = rng.random((len(order), window), dtype=np.float32)[order]
    keys[place, place - first] = np.inf
    drawn = np.argsort(keys, axis=1)[:, : min(count, window - 1)]
    return _side_by_side(first[:, None] + drawn)


def _side_by_side(candidates: Positions) -> Candidates:
    """Return (documents, number) candidates with those of one number beside each other: they are drawn, and taken, by their numbers."""
    return np.ascontiguousarray(candidates.T, dtype=np.int32).T
