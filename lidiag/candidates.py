"""MaxSim on the processor by a product in bf16, where that saves time: scores and positions have the bits of fp32 all the same.

Both sides are centred first: q.d = (q - nu).(d - mu) + nu.d + (q - nu).mu. What is rounded to bf16 is smaller then, and so is
the rounding; nu.d stays in fp32, and the last term is the same for all of a query token's similarities.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag import candidate_kernels as kernels
from lidiag.layout import Part

_FASTER = 1.15  # as many times must the product in bf16 be faster to be worth the search for candidates
_SAMPLE = 2**14  # vectors whose mean is taken: any centre will do
_LARGEST = 2.0**100  # products beyond might overflow on the way
_SHARE = 1 / 16  # of similarities that are candidates: with more of them the product in fp32 is faster
_GAP = 32  # bf16 numbers between rows, which would share their places in the cache at a power of two


def centre(vectors: Tensor) -> Tensor:
    """Return about the mean of (rows, dim) vectors in fp32."""
    return vectors[:: max(1, len(vectors) // _SAMPLE)].float().mean(0) if len(vectors) else torch.zeros(vectors.shape[1])


@dataclass(frozen=True, eq=False)
class _Coarse:
    """One side's vectors in bf16, centred; `norms` as the kernel writes them, (3, rows)."""

    vectors: Tensor
    shifts: NDArray[np.float32]
    norms: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: Tensor, centre: Tensor, other: Tensor, *, multiple: int = 1) -> _Coarse:
        """Round (rows, dim) vectors, with rows of zeros behind up to a multiple."""
        rows, dim = vectors.shape
        coarse = torch.zeros(-(-rows // multiple) * multiple, dim, dtype=torch.bfloat16)
        shifts, norms = np.empty(rows, np.float32), np.empty((3, rows))
        kernels.centred(vectors.numpy(), centre.numpy(), other.numpy(), coarse.view(torch.uint16).numpy(), shifts, norms)
        return cls(coarse, shifts, norms)


@dataclass(frozen=True, eq=False)
class Tokens:
    """A block of query vectors, prepared."""

    vectors: Tensor  # (tokens, dim), fp32
    centre: Tensor
    coarse: Tensor
    bounds: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: Tensor) -> Tokens:
        """Prepare (tokens, dim) vectors in fp32."""
        vectors = vectors.detach().contiguous()
        nu = centre(vectors)
        coarse = _Coarse.of(vectors, nu, nu, multiple=kernels.LANES)
        norms, left, off = coarse.norms
        both, rounded = norms + float(nu.double().norm()), left + off
        return cls(vectors, nu, coarse.vectors, np.stack([off, rounded, both, 1 + rounded + both]))

    def room(self, rows: int) -> Tensor:
        """Make room for the product with `rows` rows."""
        columns = len(self.coarse)
        return torch.empty(rows, columns + _GAP, dtype=torch.bfloat16)[:, :columns]


class Candidates:
    """Pools blocks of documents; gives up where vectors lie so close together that too many are candidates."""

    def __init__(self, centre: Tensor) -> None:
        """`centre` is to lie near the documents' vectors."""
        self._centre = centre
        self._tried = self._failed = 0

    def pool(  # noqa: PLR0913, PLR0917 - as the kernel's
        self, vectors: Tensor, tokens: Tokens, first: int, starts: NDArray[np.int64], ends: Sequence[NDArray[np.int64]],
        offsets: NDArray[np.int64], parts: Sequence[Part], one_document: NDArray[np.float32], room: Tensor,
    ) -> bool:  # fmt: skip
        """Score a block of documents, (rows, dim) in fp32, for each part with its own `ends`; tell whether it was done.

        `room` is the tokens' for at least as many rows.
        """
        if self._failed > 2 + self._tried // 8:
            return False
        self._tried += 1
        coarse = _Coarse.of(vectors, self._centre, tokens.centre)
        norms, left, _ = coarse.norms
        done = float(norms.max() + left.max()) * float(tokens.bounds[3].max()) < _LARGEST and self._pool(
            coarse, vectors, tokens, first, starts, ends, offsets, parts, one_document, room
        )
        self._failed += not done
        return done

    @staticmethod
    def _pool(  # noqa: PLR0913, PLR0917
        coarse: _Coarse, vectors: Tensor, tokens: Tokens, first: int, starts: NDArray[np.int64], ends: Sequence[NDArray[np.int64]],
        offsets: NDArray[np.int64], parts: Sequence[Part], one_document: NDArray[np.float32], room: Tensor,
    ) -> bool:  # fmt: skip
        block = room[: len(vectors)]
        torch.mm(coarse.vectors, tokens.coarse.T, out=block)
        bounds, bits = _row_bounds(coarse.norms, vectors.shape[1]), block.view(torch.uint16).numpy()
        most = int(_SHARE * len(vectors) * len(tokens.vectors))
        return all(
            kernels.pool(
                bits, coarse.shifts, vectors.numpy(), tokens.vectors.numpy(), tokens.bounds, bounds, first, starts, end, offsets,
                most, part.keep, part.planes.numpy() if part.keep else one_document, part.positions.numpy(), part.scores.numpy(),
            )
            for part, end in zip(parts, ends, strict=True)
        )  # fmt: skip


def _row_bounds(norms: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
    """Return what, times the bounds of a token, bounds the error of a similarity before it is rounded to bf16.

    By Cauchy and Schwarz, with the usual bound n u of n additions in fp32 (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, section 3.1): rounding of the token, rounding of the row and both products' sums, the row's shift and
    the exact value, and what underflows.
    """
    whole, left, off = norms
    sums = 1.1 * (dim + 8) * 2.0**-24
    bounds = np.empty((4, len(whole)))
    np.multiply(left, 1 + sums, out=bounds[0])
    np.add(off, 2 * sums * (left + off), out=bounds[1])
    np.multiply(whole, sums, out=bounds[2])
    np.multiply(1 + left + whole, dim * 2.0**-120, out=bounds[3])
    return bounds


@functools.cache
def worthwhile(dim: int) -> bool:
    """Tell whether this machine multiplies in bf16 enough faster than in fp32, and in fp32 as the kernel does, to the bit."""
    if dim % kernels.WIDTH:
        return False
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _same_bits(dim) and _times_faster(dim) >= _FASTER
    finally:
        torch.set_num_threads(threads)


def _same_bits(dim: int) -> bool:
    generator = torch.Generator().manual_seed(dim)
    for rows, columns in ((16, 16), (16, 1040), (275, 533)):
        documents, tokens = (torch.randn(n, dim, generator=generator) for n in (rows, columns))
        some = 4096
        row, column = (torch.randint(n, (some,), generator=generator).numpy() for n in (rows, columns))
        found = np.empty(some, np.float32)
        kernels.dots(documents.numpy(), row, tokens.numpy(), column, some, found)
        if not np.array_equal(torch.mm(documents, tokens.T).numpy()[row, column], found):
            return False
    return True


def _times_faster(dim: int) -> float:
    documents, tokens = torch.ones(256, dim), torch.ones(1024, dim)
    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(4):
        for kind, each in seconds.items():
            a, b = documents.to(kind), tokens.to(kind)
            out = torch.empty(256, 1024, dtype=kind)
            before = time.perf_counter()
            torch.mm(a, b.T, out=out)
            each.append(time.perf_counter() - before)
    return min(seconds[torch.float32]) / min(seconds[torch.bfloat16])
