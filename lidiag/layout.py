"""Where the kernels, on the processor and on a GPU, put scores and states."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidiag.pooling import MaxSim, MaxState, Mean, MeanState, Pooling, Softmax, SoftState, TopK, TopState


@dataclass(frozen=True)
class Layout:
    """One row of scores per pooling, and planes of states: one number per query token and document."""

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
class Part:
    """What is written for whole documents, or for their first `prefix` vectors."""

    layout: Layout
    prefix: int | None
    keep: bool  # whether states are kept
    scores: Tensor  # (rows, queries, documents)
    planes: Tensor  # (planes, documents, tokens); room for none where states are not kept
    positions: Tensor  # (documents, tokens); likewise

    @classmethod
    def allocate(  # noqa: PLR0913 - what has a size
        cls, layout: Layout, prefix: int | None, *, keep: bool, offsets: Tensor, documents: int, scores: Tensor | None = None
    ) -> Part:
        """Make room on the processor for a block of queries, `offsets` (queries + 1,), and all documents; for `scores` where there is none."""
        queries, tokens = len(offsets) - 1, int(offsets[-1])
        return cls(
            layout,
            prefix,
            keep,
            torch.empty(layout.rows, queries, documents) if scores is None else scores,
            # NumPy asks the kernel for large pages: a table of states has many to be faulted in, and to be found again.
            torch.from_numpy(np.empty((layout.planes, documents if keep else 0, tokens), np.float32)),
            torch.empty((documents, tokens) if keep and layout.argmax else (0, 0), dtype=torch.int64),
        )

    def read(self, poolings: Iterable[Pooling], lengths: Tensor) -> tuple[dict[Pooling, Tensor], dict[Pooling, Any]]:
        """Return scores by pooling, and states by pooling where they are kept, as views; `lengths` are the documents'."""
        poolings = list(poolings)
        scores = {pooling: self.scores[self.layout.row(pooling)] for pooling in poolings}
        kept = poolings if self.keep else ()
        return scores, {pooling: self.layout.state(pooling, lengths, self.planes, self.positions) for pooling in kept}
