"""Scores of a training batch, every query with every document, with their gradients and without padding."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag.multivector import MultiVectors, blocks
from lidiag.pooling import MaxSim, Mean, Pooling, Softmax, TopK

from . import _batch_kernels as kernels

_FLOATS = 2**17  # similarities at a time: half a megabyte, so that what is multiplied is still in the cache when it is pooled
_PARTS = 8  # about so many; the gradient of the queries is summed part by part, whatever the number of threads


def batch_scores(queries: MultiVectors, documents: MultiVectors, pooling: Pooling) -> Tensor:
    """Return S(q, d), (queries, documents), differentiable in both sides' vectors; every item must have a vector.

    The gradient of a maximum goes to one vector, the first on ties. On the processor similarities are computed again for the
    gradient rather than kept, and the number of threads changes no byte.
    """
    if queries.vectors.device.type == "cpu" and queries.vectors.dtype == torch.float32:
        return _Scores.apply(queries.vectors, documents.vectors, queries.offsets, documents.offsets, pooling)  # pyright: ignore[reportReturnType]
    return eager_scores(queries, documents, MaxSim(argmax=True) if isinstance(pooling, MaxSim) else pooling)


def eager_scores(queries: MultiVectors, documents: MultiVectors, pooling: Pooling) -> Tensor:
    """Return the same by torch's own operations: the reference, and what other devices use."""
    similarities = queries.vectors @ documents.vectors.T
    bounds = documents.offsets.tolist()
    columns = [pooling.score(pooling.pool(similarities[:, start:end])) for start, end in pairwise(bounds)]
    owner = torch.repeat_interleave(queries.lengths).to(similarities.device)
    return similarities.new_zeros(len(queries), len(documents)).index_add(0, owner, torch.stack(columns, 1))


_Kernel = Callable[[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]], None]


@dataclass(frozen=True)
class _Batch:
    queries: Tensor
    documents: Tensor
    bounds: Tensor
    pooling: Pooling

    def parts(self) -> list[tuple[int, int]]:
        """Return the ranges of documents that are summed up one by one."""
        return blocks(self.bounds.diff(), len(self.documents) // _PARTS + 1)

    def each(self, work: Callable[[int, int, Tensor, Tensor], None]) -> None:
        """Call `work` (part, first document, phi, derivatives) for every range of documents, on as many threads as torch has."""
        lengths, kernel = self.bounds.diff(), _kernel(self.pooling)

        @torch.no_grad()
        def one(part: tuple[int, tuple[int, int]]) -> None:
            number, (first, last) = part
            for a, b in blocks(lengths[first:last], max(1, _FLOATS // len(self.queries))):
                bounds = self.bounds[first + a : first + b + 1]
                block = self.documents[bounds[0] : bounds[-1]] @ self.queries.T
                phi = torch.empty(b - a, len(self.queries))
                kernel(block.numpy(), (bounds - bounds[0]).numpy(), phi.numpy())
                work(number, first + a, phi, block)

        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as workers:
                list(workers.map(one, enumerate(self.parts())))
        finally:
            torch.set_num_threads(threads)


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, documents: Tensor, query_offsets: Tensor, bounds: Tensor, pooling: Pooling) -> Tensor:  # noqa: PLR0913, PLR0917 - as `apply` hands them over
        totals = torch.empty(len(bounds) - 1, len(queries))

        def keep(_: int, first: int, phi: Tensor, __: Tensor) -> None:
            totals[first : first + len(phi)] = phi

        _Batch(queries, documents, bounds, pooling).each(keep)
        ctx.save_for_backward(queries, documents)
        ctx.rest = query_offsets, bounds, pooling
        return torch.from_numpy(np.add.reduceat(totals.numpy(), query_offsets[:-1].numpy(), axis=1)).T

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        queries, documents = ctx.saved_tensors
        query_offsets, bounds, pooling = ctx.rest
        factor = upstream[0].T.repeat_interleave(query_offsets.diff(), 1).contiguous()
        batch = _Batch(queries, documents, bounds, pooling)
        to_queries = torch.zeros(len(batch.parts()), *queries.shape)
        to_documents = torch.empty_like(documents)

        def multiply(part: int, first: int, phi: Tensor, derivatives: Tensor) -> None:
            own = bounds[first : first + len(phi) + 1]
            kernels.spread(derivatives.numpy(), (own - own[0]).numpy(), factor[first : first + len(phi)].numpy())
            rows = slice(int(own[0]), int(own[-1]))
            torch.mm(derivatives, queries, out=to_documents[rows])
            to_queries[part].addmm_(derivatives.T, documents[rows])

        batch.each(multiply)
        return to_queries.sum(0), to_documents, None, None, None


def _kernel(pooling: Pooling) -> _Kernel:
    match pooling:
        case MaxSim():
            return kernels.maximum
        case TopK(k):
            return lambda block, bounds, phi: kernels.top(block, bounds, k, phi)
        case Softmax(t):
            return lambda block, bounds, phi: kernels.softmax(block, bounds, t, phi)
        case Mean():
            return kernels.mean
        case _:
            raise TypeError(f"{pooling!r} has no derivative written down")
