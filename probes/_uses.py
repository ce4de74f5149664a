"""How often document vectors are used: wins within their document, and places among the nearest of the whole corpus."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from lidiag.multivector import MultiVectors

NEAREST = 10
_QUERY_TOKENS, _VECTORS = 512, 32_768  # similarities at a time

Counts = NDArray[np.int64]
Array = NDArray[np.float64]


def rarefied(wins: Counts, tokens: int, sample: int) -> float:
    """Return the share of vectors expected to win for at least one of `sample` query tokens drawn without replacement from `tokens`.

    Each vector won for `wins` of the tokens; exact, by the hypergeometric law (Hurlbert 1971), where subsampling has noise.
    """
    sample = min(sample, tokens)
    there, how_many = np.unique(wins, return_counts=True)
    lost = tokens - there
    can_miss = lost >= sample
    logs = np.where(
        can_miss,
        special.gammaln(lost + 1.0) - special.gammaln(np.maximum(lost - sample, 0) + 1.0) - special.gammaln(tokens + 1.0) + special.gammaln(tokens - sample + 1.0),
        -np.inf,
    )  # fmt: skip
    return float(((1 - np.exp(logs)) * how_many).sum() / len(wins))


def nearest_counts(queries: Tensor, vectors: Tensor, owner: NDArray[np.int64], groups: int) -> Counts:
    """Return N_10 (groups, vectors): for how many query tokens of each group a vector is among the 10 nearest of all.

    `queries` (t, dim), `vectors` (v, dim), `owner` (t,) the group of each query token.
    """
    found = np.zeros((groups, len(vectors)), np.int64)
    kept = min(NEAREST, len(vectors))
    for start in range(0, len(queries), _QUERY_TOKENS):
        tokens = queries[start : start + _QUERY_TOKENS].float()
        best = torch.full((len(tokens), kept), -torch.inf)
        place = torch.zeros(len(tokens), kept, dtype=torch.int64)
        for first in range(0, len(vectors), _VECTORS):
            similarities = tokens @ vectors[first : first + _VECTORS].float().T
            top = similarities.topk(min(kept, similarities.shape[1]), 1)
            both, places = torch.cat((best, top.values), 1), torch.cat((place, top.indices + first), 1)
            best, chosen = both.topk(kept, 1)
            place = places.gather(1, chosen)
        for group in np.unique(owner[start : start + len(tokens)]):
            rows = place[torch.from_numpy(owner[start : start + len(tokens)] == group)].flatten().numpy()
            found[group] += np.bincount(rows, minlength=len(vectors))
    return found


def most_used(documents: MultiVectors, wins: Counts, keep: float) -> MultiVectors:
    """Return the documents with the `keep` share of their vectors that won most (the first on ties), at least one of each."""
    return _pruned(documents, wins, keep)


def drawn(documents: MultiVectors, keep: float, rng: np.random.Generator) -> MultiVectors:
    """Return the documents with a random `keep` share of their vectors, at least one of each."""
    return _pruned(documents, rng.permutation(len(documents.vectors)), keep)


def _pruned(documents: MultiVectors, value: Counts, keep: float) -> MultiVectors:
    lengths = documents.lengths.numpy()
    owner = np.repeat(np.arange(len(documents)), lengths)
    order = np.lexsort((np.arange(len(value)), -value, owner))
    rank = np.arange(len(order)) - np.repeat(documents.offsets[:-1].numpy(), lengths)
    quota = np.ceil(keep * lengths - 1e-9).astype(np.int64)
    chosen = np.sort(order[rank < quota[owner]])
    kept = torch.from_numpy(np.bincount(owner[chosen], minlength=len(documents)))
    return MultiVectors(documents.vectors[torch.from_numpy(chosen)], torch.cat((torch.zeros(1, dtype=torch.int64), kept.cumsum(0))))
