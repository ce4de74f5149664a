"""The pass on the processor: a block of similarities is multiplied out by the BLAS and pooled while it is in the cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag import kernels
from lidiag.candidates import WIDE, Candidates, centre, prepare, worthwhile
from lidiag.coarse_kernels import Tokens
from lidiag.layout import Layout, Part
from lidiag.multivector import MultiVectors, blocks
from lidiag.pooling import MaxSim, Mean, Pooling, Softmax, TopK
from lidiag.resident import Trail

# A product of fewer rows or columns goes to another routine of the BLAS, which adds up in another order: with this many, a
# similarity has the same bits whatever stands beside it, and the division into blocks changes no byte.
_LEAST = 16

# A row of similarities begins at a cache line, 16 floats, and no row lies a power of two from the next: those share their
# places in the cache.
_LINE = 16

# A block is as large as it need be for the calls of Python's that it takes to cost little beside it: it has up to so many similarities,
# and so many rows, as long as every thread has so many blocks.
_SIMILARITIES, _ROWS, _SHARES = 2**19, 2**13, 8

# Fewer similarities are computed sooner than a way is chosen.
MANY = 2**24

# Of documents with fewer numbers the whole product takes less time than a search for candidates, as the best vector is computed twice.
LONG = 2**12


class FusedPass:
    """Pools blocks of queries against all documents on the processor, with the poolings that the kernels know.

    Every block of documents is multiplied and pooled by one thread: no thread waits for another, the similarities are
    still in its cache when they are pooled, and the number of threads changes no byte.
    """

    def __init__(
        self, documents: MultiVectors, poolings: Sequence[Pooling], prefixes: Sequence[int], *, keep: bool, document_tokens: int
    ) -> None:
        """`keep` keeps the states of whole documents.

        A block has `document_tokens` rows, or more where the tokens are few, or those of one longer document.
        """
        self._documents = documents
        self._poolings = poolings
        self._prefixes = (*sorted(prefixes), None)  # as the kernel takes them, the whole document last
        self._keep = keep
        self._layout = Layout.of(poolings)
        self._bounds: NDArray[np.int64] = documents.offsets.numpy()
        self._document_tokens = document_tokens
        self._trail = Trail(documents.vectors)
        self._candidates: Candidates | None = None

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
        documents = len(self._documents)
        scores = torch.empty(len(self._prefixes), self._layout.rows, len(offsets) - 1, documents)
        parts = [
            Part.allocate(self._layout, prefix, keep=self._keep and prefix is None, offsets=offsets, documents=documents, scores=of_part)
            for prefix, of_part in zip(self._prefixes, scores, strict=True)
        ]
        columns = _at_least(tokens)
        search = self._search(len(tokens))
        prepared = prepare(tokens, search.centre) if search else None
        threads = torch.get_num_threads()
        divided = self._blocks(len(tokens), threads)
        widest = max((int(self._bounds[last] - self._bounds[first]) for first, last in divided), default=0)
        waiting: SimpleQueue[tuple[int, int]] = SimpleQueue()
        for block in divided:
            waiting.put(block)
        workers = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for work in [
                workers.submit(self._work, waiting, widest, columns, prepared, offsets.numpy(), parts, scores) for _ in range(threads)
            ]:
                work.result()
        finally:
            while not waiting.empty():  # after an error or an interrupt, nobody shall go on
                waiting.get()
            workers.shutdown()
            self._trail.end()
            torch.set_num_threads(threads)
        return {part.prefix: part.read(self._poolings, self._documents.lengths) for part in parts}

    def _blocks(self, tokens: int, threads: int) -> list[tuple[int, int]]:
        """Divide the documents: a call of Python's for each block would cost more than the block, were both of its sides narrow."""
        fair = len(self._documents.vectors) // (_SHARES * threads)
        return blocks(self._documents.lengths, max(self._document_tokens, min(_SIMILARITIES // max(tokens, 1), fair, _ROWS)))

    def _search(self, tokens: int) -> Candidates | None:
        """Return what searches for candidates, where MaxSim alone is wanted, much of it, and of documents that are not short."""
        vectors, dim = self._documents.vectors, self._documents.dim
        if self._layout.rows > 1 or tokens * len(vectors) < max(1, MANY) or not worthwhile(dim):
            return None
        if tokens < WIDE or len(vectors) * dim < LONG * len(self._documents):
            return None
        self._candidates = self._candidates or Candidates(centre(vectors))
        return self._candidates

    @torch.no_grad()
    def _work(  # noqa: PLR0913, PLR0917 - what the kernel takes
        self,
        waiting: SimpleQueue[tuple[int, int]],
        widest: int,
        tokens: Tensor,
        prepared: Tokens | None,
        offsets: NDArray[np.int64],
        parts: Sequence[Part],
        scores: Tensor,
    ) -> None:
        bounds, layout = self._bounds, self._layout
        similarities = torch.empty(max(widest, _LEAST), (len(tokens) // _LINE + 2) * _LINE)
        one_document = np.empty((layout.planes, 1, int(offsets[-1])), np.float32)
        ks, temperatures = np.array(layout.ks, np.int64), np.array(layout.temperatures, np.float64)
        while True:
            try:
                first, last = waiting.get_nowait()
            except Empty:
                return
            start = bounds[first]
            self._trail.reach(int(start))
            starts, whole = bounds[first:last] - start, bounds[first + 1 : last + 1] - start
            ends = np.stack([whole if part.prefix is None else np.minimum(whole, starts + part.prefix) for part in parts])
            vectors = self._documents.vectors[start : bounds[last]].detach().float()
            search = self._candidates if len(vectors) else None
            if prepared and search and search.pool(vectors, prepared, first, starts, ends, offsets, one_document, parts[-1], scores):
                continue
            vectors = _at_least(vectors)
            torch.mm(vectors, tokens.T, out=similarities[: len(vectors), : len(tokens)])
            kernels.pool(
                similarities.numpy(), first, starts, ends, offsets, ks, temperatures, layout.mean, one_document,
                parts[-1].planes.numpy(), parts[-1].positions.numpy(), scores.numpy(),
            )  # fmt: skip


def _at_least(rows: Tensor) -> Tensor:
    """Return (rows, dim) with rows of zeros behind, where there are few."""
    return rows if len(rows) >= _LEAST else torch.nn.functional.pad(rows, (0, 0, 0, _LEAST - len(rows)))
