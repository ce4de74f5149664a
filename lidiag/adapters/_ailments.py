"""Ailments to plant in `builtin:lexical`, each with a dial: what a probe must find is known beforehand. Ours.

Most are one thing: a direction that all query vectors share, and that the document's vectors share to a degree `a` of their own.
With a dial at s it adds s * a to their similarity, and what is left of both counts sqrt(1 - s) * sqrt(1 - s a^2) as much.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from lidiag.errors import LidiagError
from lidiag.multivector import MultiVectors

_MOST_ROWS = 64
_DOUBLINGS = 10  # a document of 1,024 words has the whole length bias
_KINDS = 8  # of query tokens, where only some vectors of the collection are near them
_LOUD, _HUBS = 5, 10  # one word in so many is near, one document in so many has a hub


@dataclass(frozen=True)
class Ailments:
    """How strong each is: 0 is healthy, 1 is the most; `pad_rows` counts rows."""

    length_bias: float = 0.0  # similarity grows by a tenth of this for each doubling of a document's words
    hijackable: float = 0.0  # a fifth of a document's words are near an eighth of all query tokens by this, others' words near others
    hub_vector: float = 0.0  # one document in ten has a first vector that is near every query by this
    tail_signal: float = 0.0  # every document has one, nearer or less near by chance: relevance shows beyond rank 1 only
    gradient_spike: float = 0.0  # every document has one, the mean of its words: most of the gradient falls on it
    anisotropic: float = 0.0  # all vectors are near each other by this, which changes no ranking
    causal: float = 0.0  # the share of the following word that is not mixed in; at 1 no word knows what follows
    random_head: float = 0.0  # the share of a random projection that no checkpoint held
    batch_dependent: float = 0.0  # the share of the batch's mean vector that is mixed in
    pad_rows: int = 0  # rows of zeros behind every item

    def __post_init__(self) -> None:
        """Refuse a strength that is none."""
        for field in fields(Ailments):
            value, most = getattr(self, field.name), _MOST_ROWS if field.name == "pad_rows" else 1
            if not 0 <= value <= most:
                raise LidiagError(
                    f"builtin:lexical?{field.name}={value:g} is out of range.", f"Choose {field.name} from 0 (healthy) to {most}."
                )


class Planted:
    """The ailments of one model, with the directions drawn for it."""

    def __init__(self, ailments: Ailments, dim: int, seed: int) -> None:
        """Draw a direction for every ailment that needs one, the same whichever others are planted."""
        self._ailments = ailments
        generators = {name: np.random.default_rng([seed, zlib.crc32(name.encode())]) for name in (*_DEGREES, "random_head")}
        self._directions = {
            name: _drawn(generators[name], _KINDS if name == "hijackable" else 1, dim) for name in _DEGREES if getattr(ailments, name)
        }
        share = ailments.random_head
        head = torch.from_numpy(generators["random_head"].standard_normal((dim, dim))).float() / dim**0.5
        self._head = (1 - share) * torch.eye(dim) + share * head if share else None

    def in_queries(self, vectors: MultiVectors) -> MultiVectors:
        """Plant in unit vectors of queries."""
        rows = vectors.vectors
        for name, directions in self._directions.items():
            kinds = (rows @ directions.T).argmax(1)
            rows = _turned(rows, directions[kinds], torch.full((len(rows),), getattr(self._ailments, name) ** 0.5))
        return self._in_both(MultiVectors(rows, vectors.offsets))

    def in_documents(self, vectors: MultiVectors, texts: Sequence[str]) -> MultiVectors:
        """Plant in unit vectors of documents; what falls on a document by chance depends on its text alone."""
        rows = vectors.vectors
        if self._ailments.gradient_spike:
            first = _first_rows(vectors)
            rows = rows.clone()
            rows[first] = means(vectors)[vectors.lengths > 0]
        for name, directions in self._directions.items():
            seeds = [zlib.crc32(text.encode(), zlib.crc32(name.encode())) for text in texts]
            kinds = torch.tensor([seed % len(directions) for seed in seeds]).repeat_interleave(vectors.lengths)
            rows = _turned(rows, directions[kinds], getattr(self._ailments, name) ** 0.5 * _DEGREES[name](vectors, seeds))
        return self._in_both(MultiVectors(rows, vectors.offsets))

    def _in_both(self, vectors: MultiVectors) -> MultiVectors:
        rows, offsets = vectors.vectors, vectors.offsets
        if self._head is not None:
            rows = torch.nn.functional.normalize(rows @ self._head, dim=1)
        if self._ailments.batch_dependent and len(rows):
            rows = torch.nn.functional.normalize(rows + self._ailments.batch_dependent * rows.mean(0), dim=1)
        if self._ailments.pad_rows:
            zeros = rows.new_zeros(self._ailments.pad_rows, rows.shape[1])
            return MultiVectors.pack([torch.cat((item, zeros)) for item in MultiVectors(rows, offsets)])
        return MultiVectors(rows, offsets)


def means(vectors: MultiVectors) -> Tensor:
    """Return every item's mean vector at length 1, (n, dim); zeros for an item without vectors."""
    items = torch.repeat_interleave(torch.arange(len(vectors)), vectors.lengths)
    sums = vectors.vectors.new_zeros(len(vectors), vectors.dim).index_add_(0, items, vectors.vectors)
    return torch.nn.functional.normalize(sums, dim=1)


def _drawn(rng: np.random.Generator, number: int, dim: int) -> Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((number, dim))).float(), dim=1)


def _turned(rows: Tensor, towards: Tensor, shares: Tensor) -> Tensor:
    """Turn unit rows until their cosine with those of `towards` is what `shares` (rows,) says; a share of 0 leaves a row as it is."""
    aside = torch.nn.functional.normalize(rows - (rows * towards).sum(1, keepdim=True) * towards, dim=1)
    turned = shares[:, None] * towards + (1 - shares**2).sqrt()[:, None] * aside
    return torch.where(shares[:, None] > 0, turned, rows)


def _first_rows(vectors: MultiVectors) -> Tensor:
    return vectors.offsets[:-1][vectors.lengths > 0]


def _by_place(vectors: MultiVectors, seeds: Sequence[int]) -> Tensor:  # noqa: ARG001 - a degree's signature
    starts = torch.repeat_interleave(vectors.offsets[:-1], vectors.lengths)
    places = torch.arange(1, len(starts) + 1) - starts
    return (places.float().log2() / _DOUBLINGS).clamp(max=1)


def _everywhere(vectors: MultiVectors, seeds: Sequence[int]) -> Tensor:  # noqa: ARG001 - a degree's signature
    return torch.ones(len(vectors.vectors))


def _here_and_there(vectors: MultiVectors, seeds: Sequence[int]) -> Tensor:
    loud = [
        zlib.crc32(str(i).encode(), seed) % _LOUD == 0
        for seed, length in zip(seeds, vectors.lengths.tolist(), strict=True)
        for i in range(length)
    ]
    return torch.tensor(loud, dtype=torch.float32)


def _first_of(degree: Callable[[int], float]) -> Callable[[MultiVectors, Sequence[int]], Tensor]:
    """Give a document's first vector the degree that the document's seed has, and the others none."""

    def degrees(vectors: MultiVectors, seeds: Sequence[int]) -> Tensor:
        found = torch.zeros(len(vectors.vectors))
        drawn = torch.tensor([degree(seed) for seed in seeds], dtype=torch.float32)
        found[_first_rows(vectors)] = drawn[vectors.lengths > 0]
        return found

    return degrees


_DEGREES: dict[str, Callable[[MultiVectors, Sequence[int]], Tensor]] = {
    "length_bias": _by_place,
    "hijackable": _here_and_there,
    "hub_vector": _first_of(lambda seed: float(seed % _HUBS == 0)),
    "tail_signal": _first_of(lambda seed: seed / 2**32),
    "gradient_spike": _first_of(lambda _: 1.0),
    "anisotropic": _everywhere,
}
