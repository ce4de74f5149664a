"""MaxSim on the processor by a product of 8-bit integers, where its instructions are known: scores and positions have the bits of fp32.

Both sides are centred first: q.d = (q - nu).(d - mu) + nu.d + (q - nu).mu. What is rounded to integers is smaller then, and so is
the rounding; nu.d stays in fp32, and the last term is the same for all of a query token's similarities.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numba import config
from numba.core.codegen import get_host_cpu_features
from numpy.typing import NDArray
from torch import Tensor

from lidiag import candidate_kernels as kernels
from lidiag.coarse_kernels import DEEP, LANES, MIDDLE, UP, Tokens, rounded
from lidiag.layout import Part

_SAMPLE = 2**14  # vectors whose mean is taken: any centre will do
WIDE = 192  # of fewer tokens the whole product takes less time, as every vector is rounded first
SHARE = 1 / 16  # of similarities that are candidates: with more of them the product in fp32 is faster


def centre(vectors: Tensor) -> Tensor:
    """Return about the mean of (rows, dim) vectors in fp32."""
    return vectors[:: max(1, len(vectors) // _SAMPLE)].float().mean(0) if len(vectors) else torch.zeros(vectors.shape[1])


def prepare(vectors: Tensor, mu: Tensor) -> Tokens:
    """Prepare (tokens, dim) query vectors in fp32 for documents whose vectors lie around `mu` (dim,)."""
    vectors = vectors.detach().contiguous()
    nu, (tokens, dim) = centre(vectors), vectors.shape
    integers, sums = np.empty((tokens, dim), np.int8), np.empty(tokens, np.int32)
    scales, norms = np.empty((2, tokens), np.float32), np.empty((3, tokens))
    rounded(vectors.numpy(), nu.numpy(), nu.numpy(), integers, sums, scales, norms)
    whole, left, off = norms
    both, long, inverse = whole + float(nu.double().norm()), left + off, 1 / scales[0].astype(np.float64)
    constants = np.zeros((3, -(-tokens // LANES) * LANES), np.float32)
    constants[:, :tokens] = np.stack([inverse, off * inverse * UP, long * inverse * UP])
    rest = 1 + long + both
    return Tokens(
        mu=mu.numpy(),
        nu=nu.numpy(),
        packed=_packed(torch.from_numpy(integers)),
        constants=constants,
        levels=((vectors - nu).double() @ mu.double()).numpy(),
        bounds=np.stack([both, rest]),
        largest=float(rest.max() * max(1.0, inverse.max())),
        vectors=vectors.numpy(),
    )


def _packed(integers: Tensor) -> NDArray[np.int8]:
    tokens, dim = integers.shape
    strips = -(-tokens // LANES)
    # torch's memory begins at a cache line, and so does every vector that the kernel reads.
    room = torch.full((strips, LANES, dim // DEEP, DEEP), MIDDLE, dtype=torch.uint8)
    room.view(-1, dim)[:tokens] = (integers.short() + MIDDLE).byte()
    return room.transpose(1, 2).reshape(strips, dim * LANES).view(torch.int8).numpy()


class Candidates:
    """Pools blocks of documents; gives up where vectors lie so close together that too many are candidates."""

    def __init__(self, centre: Tensor) -> None:
        """`centre` is to lie near the documents' vectors."""
        self.centre = centre
        self._tried = self._failed = 0

    def pool(  # noqa: PLR0913, PLR0917 - as the kernel's
        self, vectors: Tensor, tokens: Tokens, first: int, starts: NDArray[np.int64], ends: NDArray[np.int64],
        offsets: NDArray[np.int64], one_document: NDArray[np.float32], whole: Part, scores: Tensor,
    ) -> bool:  # fmt: skip
        """Score a block of documents, (rows, dim) in fp32, and what they begin with; tell whether it was done.

        `ends`, `one_document` and `scores` as the kernel takes them; `whole` takes the states.
        """
        if self._failed > 2 + self._tried // 8:
            return False
        self._tried += 1
        done = kernels.pool(
            vectors.numpy(), tokens, first, starts, ends, offsets, int(SHARE * len(vectors) * len(tokens.vectors)),
            one_document, whole.planes.numpy(), whole.positions.numpy(), scores.numpy(),
        )  # fmt: skip
        self._failed += not done
        return done


@functools.cache
def worthwhile(dim: int) -> bool:
    """Tell whether this machine has the instructions, and multiplies in fp32 as the kernel does, to the bit."""
    if dim % kernels.WIDTH or not _has_instructions():
        return False
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _same_bits(dim)
    finally:
        torch.set_num_threads(threads)


def _has_instructions() -> bool:
    # Numba compiles for another processor, or for fewer instructions, where it is told to.
    told = vars(config)["CPU_NAME"] or vars(config)["CPU_FEATURES"]
    return not told and "+avx512vnni" in get_host_cpu_features().split(",")


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
