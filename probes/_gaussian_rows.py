"""Fillers of isotropic Gaussian unit rows, of as many rows as the documents that take them have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from lidiag.kernels import kept_on_disk, power_of_two
from lidiag.pooling import MaxSim, Mean, Pooling, Softmax, TopK

from ._growth_kernels import LOG2_E, Floats, Lanes

_LENGTHS = 256  # distinct lengths of fillers; where documents have more, they take the nearest
_ONE, _NOTHING = np.float32(1), np.float32(-np.inf)

Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GaussianRows:
    """Families of rows: a filler is the first so many rows of one, so that every length has a filler of each family.

    `vectors` are (rows x families, dim) unit rows, `lengths` the rising lengths that fillers have; filler i is of the length
    number i // families, and of the family i % families.
    """

    vectors: Tensor
    lengths: Positions
    families: int

    @classmethod
    def drawn(cls, lengths: Positions, dim: int, families: int, generator: torch.Generator) -> GaussianRows:
        """Draw families for documents of these lengths, all above 0."""
        distinct = np.unique(lengths)
        if len(distinct) > _LENGTHS:
            distinct = np.unique(np.sort(lengths)[np.linspace(0, len(lengths) - 1, _LENGTHS).astype(np.int64)])
        rows = torch.randn(int(distinct[-1]) * families, dim, generator=generator)
        return cls(normalize(rows, out=rows), distinct, families)

    def of_length(self, lengths: Positions) -> Positions:
        """Return the number of the first filler that has as many rows as asked for, or nearly as many; the other families' follow."""
        middles = (self.lengths[1:] + self.lengths[:-1]) / 2
        return np.searchsorted(middles, lengths, side="right") * self.families

    def similarities(self, tokens: Tensor, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return those of a query's (tokens, dim) vectors, (tokens, rows, families).

        Each query meets the rows with signs of its own on their dimensions: as Gaussian as before, and what one query owes to
        the rows that were drawn another does not.
        """
        signs = torch.from_numpy(rng.choice(np.array([-1, 1], dtype=np.float32), self.vectors.shape[1]))
        found = (tokens.float() * signs) @ self.vectors.T
        return found.numpy().reshape(len(tokens), -1, self.families)

    def lanes(self, pooling: Pooling, similarities: NDArray[np.float32]) -> Lanes:
        """Return every filler's state from the similarities of its family."""
        shape = (len(similarities), len(self.lengths), self.families)
        match pooling:
            case MaxSim():
                _top(similarities, self.lengths, out := np.empty((1, *shape), np.float32))
            case TopK(k):
                _top(similarities, self.lengths, out := np.empty((k, *shape), np.float32))
            case Softmax(t):
                _softmax(similarities, self.lengths, np.float32(LOG2_E / t), out := np.empty((3, *shape), np.float32))
            case Mean():
                _sum(similarities, self.lengths, out := np.empty((1, *shape), np.float32))
            case _:
                raise TypeError(f"{pooling!r} has no compiled state")
        return Lanes(out.reshape(*out.shape[:2], -1), np.repeat(self.lengths, self.families).astype(np.float32))


@kept_on_disk
def _top(similarities: Floats, lengths: Positions, out: Floats) -> None:
    # A place keeps the larger value and passes the smaller one on.
    places, families = len(out), similarities.shape[2]
    best, passing = np.empty((places, families), np.float32), np.empty(families, np.float32)
    for t in range(len(similarities)):
        best[:] = _NOTHING
        done = 0
        for g in range(len(lengths)):
            for row in range(done, lengths[g]):
                passing[:] = similarities[t, row]
                for place in range(places):
                    kept = best[place]
                    for f in range(families):
                        a, b = kept[f], passing[f]
                        kept[f], passing[f] = a if a > b else b, b if a > b else a  # noqa: FURB136 - `max` minds NaN
            done = lengths[g]
            out[:, t, g] = best


@kept_on_disk
def _softmax(similarities: Floats, lengths: Positions, scale: np.float32, out: Floats) -> None:
    # scale = log2(e) / temperature.
    families = similarities.shape[2]
    top, mass, weighted = np.empty(families, np.float32), np.empty(families, np.float32), np.empty(families, np.float32)
    for t in range(len(similarities)):
        top[:], mass[:], weighted[:] = similarities[t, 0], _ONE, similarities[t, 0]
        done = 1
        for g in range(len(lengths)):
            for row in range(done, lengths[g]):
                values = similarities[t, row]
                for f in range(families):
                    # Whichever is lower, the sums so far or the new one, is scaled down to the other's maximum.
                    s, lower = values[f], values[f] <= top[f]
                    ratio = power_of_two((s - top[f] if lower else top[f] - s) * scale)
                    ours, theirs = _ONE if lower else ratio, ratio if lower else _ONE
                    top[f] = top[f] if lower else s
                    mass[f] = mass[f] * ours + theirs
                    weighted[f] = weighted[f] * ours + s * theirs
            done = max(done, lengths[g])
            out[0, t, g], out[1, t, g], out[2, t, g] = top, mass, weighted


@kept_on_disk
def _sum(similarities: Floats, lengths: Positions, out: Floats) -> None:
    total = np.empty(similarities.shape[2])
    for t in range(len(similarities)):
        total[:] = 0
        done = 0
        for g in range(len(lengths)):
            for row in range(done, lengths[g]):
                total += similarities[t, row]
            done = lengths[g]
            out[0, t, g] = total
