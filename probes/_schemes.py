"""Ways to store token vectors in fewer bytes, and what each leaves of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from lidiag.multivector import MultiVectors

_FLOAT, _HALF, _BYTE = 4.0, 2.0, 1.0
_LEVELS = 127
_LEAST = 2  # vectors that a clustering takes


@dataclass(frozen=True)
class Stored:
    """Queries and documents as they are scored, and the bytes that one stored document vector takes."""

    queries: MultiVectors
    documents: MultiVectors
    bytes_per_vector: float


Scheme = Callable[[MultiVectors, MultiVectors, torch.Generator], Stored]


def schemes(dim: int) -> dict[str, Scheme]:
    """Return all schemes by name, for vectors of `dim` dimensions; scales and axes come from the documents alone."""
    half = dim // 2
    return {
        "fp16": lambda q, d, _: Stored(q, _each(d, lambda v: v.half().float()), _HALF * dim),
        "bf16": lambda q, d, _: Stored(q, _each(d, lambda v: v.bfloat16().float()), _HALF * dim),
        "int8": lambda q, d, _: Stored(q, _int8(d), _BYTE * dim),
        "binary": lambda q, d, _: Stored(q, _each(d, _signs), np.ceil(dim / 8)),
        f"truncate-{half}": lambda q, d, _: Stored(_cut(q, half), _cut(d, half), _FLOAT * half),
        f"pca-{half}": lambda q, d, _: _turned(q, d, _axes(d)[:, :half]),
        f"rotate-{half}": lambda q, d, generator: _turned(q, d, _rotation(dim, generator)[:, :half]),
        **{f"pool-{factor}": _pooling(factor) for factor in (2, 3, 4)},
    }


def _each(items: MultiVectors, change: Callable[[Tensor], Tensor]) -> MultiVectors:
    return MultiVectors(change(items.vectors.float()), items.offsets)


def _int8(documents: MultiVectors) -> MultiVectors:
    """Round to 255 levels per dimension, from minus to plus the largest magnitude that a document has there."""
    scale = documents.vectors.float().abs().amax(0).clamp(min=1e-12) / _LEVELS
    return _each(documents, lambda v: (v / scale).round().clamp(-_LEVELS, _LEVELS) * scale)


def _signs(vectors: Tensor) -> Tensor:
    """Keep the signs, at the length of a unit vector; 0 counts as positive."""
    return torch.where(vectors < 0, -1.0, 1.0) / vectors.shape[1] ** 0.5


def _cut(items: MultiVectors, dims: int) -> MultiVectors:
    return _each(items, lambda v: torch.nn.functional.normalize(v[:, :dims], dim=1))


def _turned(queries: MultiVectors, documents: MultiVectors, axes: Tensor) -> Stored:
    def turn(items: MultiVectors) -> MultiVectors:
        return _each(items, lambda v: torch.nn.functional.normalize(v @ axes, dim=1))

    return Stored(turn(queries), turn(documents), _FLOAT * axes.shape[1])


def _axes(documents: MultiVectors) -> Tensor:
    """Return the documents' principal axes (dim, dim), the largest first, about the origin: similarities are products, not distances."""
    products = torch.zeros(documents.dim, documents.dim, dtype=torch.float64)
    for part in documents.vectors.split(2**18):
        rows = part.double()
        products += rows.T @ rows
    return torch.linalg.eigh(products).eigenvectors.flip(1).float()


def _rotation(dim: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q


def _pooling(factor: int) -> Scheme:
    def pool(queries: MultiVectors, documents: MultiVectors, _: torch.Generator) -> Stored:
        pooled = MultiVectors.pack([pooled_tokens(item.float(), factor) for item in documents])
        return Stored(queries, pooled, _FLOAT * documents.dim)

    return pool


def pooled_tokens(vectors: Tensor, factor: int) -> Tensor:
    """Return (about m / factor, dim) unit means of a document's vectors, clustered by Ward's rule on cosine distances.

    Source: token pooling for multi-vector retrieval (arXiv 2409.14683); clusters are those of scipy.
    """
    m = len(vectors)
    wanted = max(1, m // factor)
    if m < _LEAST or wanted >= m:
        return vectors
    unit = torch.nn.functional.normalize(vectors, dim=1)
    upper = np.triu_indices(m, 1)
    distances = np.maximum(0, 1 - (unit @ unit.T).numpy()[upper])
    owner = torch.from_numpy(fcluster(linkage(distances, method="ward"), wanted, criterion="maxclust").astype(np.int64) - 1)
    totals = torch.zeros(int(owner.max()) + 1, vectors.shape[1]).index_add_(0, owner, vectors)
    return torch.nn.functional.normalize(totals, dim=1)
