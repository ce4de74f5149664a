"""What a late score over frozen states must be held against: words alone, random weights, and another kind of ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lidiag.adapter import Trainable
from lidiag.bench import Bench
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

Array = NDArray[np.float64]

_BATCH = 32


def bm25(bench: Bench, documents: Sequence[int]) -> Array:
    """Return BM25 scores (queries, documents), k1 = 1.5 and b = 0.75, without stop words (Lucene's variant, by bm25s).

    Raises:
        Skip: no document has a text.
    """
    texts = [bench.dataset.documents[i].text for i in documents]
    if not any(texts):
        raise Skip("no document has a text")
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, return_ids=False, show_progress=False), show_progress=False)
    asked: list[list[str]] = bm25s.tokenize(list(bench.query_texts), return_ids=False, show_progress=False)  # pyright: ignore[reportAssignmentType] - words, not ids
    return np.array([index.get_scores(words) if words else np.zeros(len(texts)) for words in asked], dtype=np.float64)


@torch.no_grad()
def random_weights(bench: Bench, documents: Sequence[int]) -> tuple[MultiVectors, MultiVectors]:
    """Return the vectors of queries and documents by the same network with weights drawn anew.

    Raises:
        Skip: the model offers no copy of its network.
    """
    adapter = bench.adapter
    if not isinstance(adapter, Trainable):
        raise Skip(f"{adapter.card.name} offers no copy of its network")
    network = adapter.copy()
    with torch.random.fork_rng():  # the layers draw from torch's global generator
        torch.manual_seed(int(bench.rng("random weights").integers(2**62)))
        for module in network.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # pyright: ignore[reportCallIssue] - a method wherever it exists
    return (
        _encoded(adapter, network, "query", bench.query_texts),
        _encoded(adapter, network, "document", [bench.dataset.documents[i] for i in documents]),
    )


def _encoded(adapter: Trainable, network: nn.Module, side: str, items: Sequence[object]) -> MultiVectors:
    # Long items beside long ones: a batch is padded to its longest.
    order = sorted(range(len(items)), key=lambda i: -len(getattr(items[i], "text", items[i])))  # pyright: ignore[reportArgumentType]
    parts = [
        adapter.encode(network, side, [items[i] for i in order[start : start + _BATCH]])  # pyright: ignore[reportArgumentType]
        for start in range(0, len(order), _BATCH)
    ]
    found = MultiVectors.concat(parts).select(np.argsort(order).tolist())
    pooled = None if found.pooled is None else found.pooled.cpu()
    return MultiVectors(found.vectors.cpu(), found.offsets, pooled)


def standardised(scores: Array) -> Array:
    """Return (..., documents) scores with mean 0 and standard deviation 1 within the query; constant ones become 0."""
    centred = scores - scores.mean(-1, keepdims=True)
    return centred / np.maximum(centred.std(-1, keepdims=True), 1e-12)
