"""The pass on the processor: a block of similarities is multiplied out by the BLAS and pooled while it is in the cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag import kernels
from lidiag.multivector import MultiVectors, blocks
from lidiag.pooling import MaxSim, MaxState, Mean, MeanState, Pooling, Softmax, SoftState, TopK, TopState

# A product of fewer rows or columns goes to another routine of the BLAS, which adds up in another order: with this many, a
# similarity has the same bits whatever stands beside it, and the division into blocks changes no byte.
_LEAST = 16

# A row of similarities begins at a cache line, 16 floats, and no row lies a power of two from the next: those share their
# places in the cache.
_LINE = 16


@dataclass(frozen=True)
class Layout:
    """Where the kernels put scores (one row per pooling) and states (planes of one number per query token and document)."""

    argmax: bool
    ks: tuple[int, ...]
    temperatures: tuple[float, ...]
    mean: bool

    @classmethod
    def of(cls, poolings: Iterable[Pooling]) -> Layout:
        """Return the layout that serves all of them, each k and each temperature once."""
        poolings = list(poolings)
        return cls(
            any(isinstance(p, MaxSim) and p.argmax for p in poolings),
            tuple(sorted({p.k for p in poolings if isinstance(p, TopK)})),
            tuple(sorted({p.t for p in poolings if isinstance(p, Softmax)})),
            any(isinstance(p, Mean) for p in poolings),
        )

    @property
    def rows(self) -> int:
        """Number of rows of scores."""
        return 1 + len(self.ks) + len(self.temperatures) + self.mean

    @property
    def planes(self) -> int:
        """Number of planes of states."""
        return 1 + max(self.ks, default=0) + 2 * len(self.temperatures) + self.mean

    def row(self, pooling: Pooling) -> int:
        """Return the row of a pooling's scores."""
        match pooling:
            case TopK():
                return 1 + self.ks.index(pooling.k)
            case Softmax():
                return 1 + len(self.ks) + self.temperatures.index(pooling.t)
            case Mean():
                return self.rows - 1
            case MaxSim():
                return 0
            case _:
                raise TypeError(f"no kernel computes {pooling!r}")

    def state(self, pooling: Pooling, n: Tensor, planes: Tensor, positions: Tensor) -> Any:
        """Return a pooling's state as views of planes (P, documents, tokens)."""
        planes = planes.mT
        match pooling:
            case TopK():
                return TopState(n, planes[1 : 1 + pooling.k].movedim(0, -1))
            case Softmax():
                mass = 1 + max(self.ks, default=0) + 2 * self.temperatures.index(pooling.t)
                return SoftState(n, planes[0], planes[mass], planes[mass + 1])
            case Mean():
                return MeanState(n, planes[-1])
            case MaxSim():
                return MaxState(n, planes[0], positions.mT if pooling.argmax else None)
            case _:
                raise TypeError(f"no kernel computes {pooling!r}")


@dataclass(frozen=True, eq=False)
class _Part:
    """What is written for whole documents, or for their first `prefix` vectors."""

    prefix: int | None
    keep: bool  # whether states are kept
    scores: Tensor  # (rows, queries, documents)
    planes: Tensor  # (planes, documents, tokens); room for none where states are not kept
    positions: Tensor  # (documents, tokens); likewise


class FusedPass:
    """Pools blocks of queries against all documents on the processor, with the poolings that the kernels know.

    Every block of documents is multiplied and pooled by one thread: no thread waits for another, the similarities are
    still in its cache when they are pooled, and the number of threads changes no byte.
    """

    def __init__(
        self, documents: MultiVectors, poolings: Sequence[Pooling], prefixes: Sequence[int], *, keep: bool, document_tokens: int
    ) -> None:
        """`keep` keeps the states of whole documents; a block has at most `document_tokens` rows, or those of one longer document."""
        self._documents = documents
        self._poolings = poolings
        self._prefixes = (None, *prefixes)
        self._keep = keep
        self._layout = Layout.of(poolings)
        self._bounds: NDArray[np.int64] = documents.offsets.numpy()
        self._blocks = blocks(documents.lengths, document_tokens)

    @staticmethod
    def knows(poolings: Iterable[Pooling]) -> bool:
        """Tell whether the kernels compute all of them."""
        return all(type(pooling) in (MaxSim, TopK, Softmax, Mean) for pooling in poolings)

    @property
    def floats(self) -> tuple[int, int]:
        """Numbers written per query and document, and per query token and document."""
        parts = len(self._prefixes)
        return parts * self._layout.rows, (self._layout.planes + 2 * self._layout.argmax) * self._keep

    def pool(self, tokens: Tensor, offsets: Tensor) -> dict[int | None, tuple[dict[Pooling, Tensor], dict[Pooling, Any]]]:
        """Pool a block of queries: scores by pooling and states by pooling, for whole documents (None) and for every prefix."""
        parts = [self._allocate(prefix, len(tokens), len(offsets) - 1) for prefix in self._prefixes]
        columns = _at_least(tokens)
        waiting: SimpleQueue[tuple[int, int]] = SimpleQueue()
        for block in self._blocks:
            waiting.put(block)
        threads = torch.get_num_threads()
        workers = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for work in [workers.submit(self._work, waiting, columns, offsets.numpy(), parts) for _ in range(threads)]:
                work.result()
        finally:
            while not waiting.empty():  # after an error or an interrupt, nobody shall go on
                waiting.get()
            workers.shutdown()
            torch.set_num_threads(threads)
        return {part.prefix: self._read(part) for part in parts}

    def _allocate(self, prefix: int | None, tokens: int, queries: int) -> _Part:
        documents, layout = len(self._documents), self._layout
        keep = self._keep and prefix is None
        return _Part(
            prefix,
            keep,
            torch.empty(layout.rows, queries, documents),
            torch.empty(layout.planes, documents if keep else 0, tokens),
            torch.empty((documents, tokens) if keep and layout.argmax else (0, 0), dtype=torch.int64),
        )

    @torch.no_grad()
    def _work(self, waiting: SimpleQueue[tuple[int, int]], tokens: Tensor, offsets: NDArray[np.int64], parts: Sequence[_Part]) -> None:
        bounds, layout = self._bounds, self._layout
        widest = max((bounds[last] - bounds[first] for first, last in self._blocks), default=0)
        similarities = torch.empty(max(int(widest), _LEAST), (len(tokens) // _LINE + 2) * _LINE)
        one_document = np.empty((layout.planes, 1, int(offsets[-1])), np.float32)
        ks, temperatures = np.array(layout.ks, np.int64), np.array(layout.temperatures, np.float64)
        while True:
            try:
                first, last = waiting.get_nowait()
            except Empty:
                return
            start, end = bounds[first], bounds[last]
            vectors = _at_least(self._documents.vectors[start:end].float())
            torch.mm(vectors, tokens.T, out=similarities[: len(vectors), : len(tokens)])
            for part in parts:
                starts, ends = bounds[first:last] - start, bounds[first + 1 : last + 1] - start
                if part.prefix is not None:
                    ends = np.minimum(ends, starts + part.prefix)
                planes = part.planes.numpy() if part.keep else one_document
                kernels.pool(
                    similarities.numpy(), first, starts, ends, offsets, ks, temperatures, layout.mean, part.keep,
                    planes, part.positions.numpy(), part.scores.numpy(),
                )  # fmt: skip

    def _read(self, part: _Part) -> tuple[dict[Pooling, Tensor], dict[Pooling, Any]]:
        layout, lengths = self._layout, self._documents.lengths
        scores = {pooling: part.scores[layout.row(pooling)] for pooling in self._poolings}
        kept = self._poolings if part.keep else ()
        return scores, {pooling: layout.state(pooling, lengths, part.planes, part.positions) for pooling in kept}


def _at_least(rows: Tensor) -> Tensor:
    """Return (rows, dim) with rows of zeros behind, where there are few."""
    return rows if len(rows) >= _LEAST else torch.nn.functional.pad(rows, (0, 0, 0, _LEAST - len(rows)))
