"""The pass on a GPU: similarities stay in registers, where plain torch writes each of them to memory and reads it again.

The kernels of late-interaction-kernels 0.4.5 (PyPI) do not serve here: they round fp32 vectors to fp16, where 1e-5 is promised here,
know MaxSim alone, give back no state of each token, and score an empty document 0, not minus infinity.
"""

from __future__ import annotations

import logging
import math
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from lidiag.layout import Layout, Part
from lidiag.multivector import MultiVectors, blocks
from lidiag.pooling import MaxSim, Mean, Pooling, Softmax, TopK

_log = logging.getLogger(__name__)

LARGEST_K = 16  # more values than these fill a program's registers

# Of a tile of similarities: query tokens, document tokens, and how much of a vector is multiplied at a time.
ROWS, COLUMNS, DEPTH = 64, 64, 16


class TritonPass:
    """Pools blocks of queries against all documents on a GPU, with the poolings that the kernel knows."""

    def __init__(  # noqa: PLR0913 - mirrors the other passes
        self,
        documents: MultiVectors,
        poolings: Sequence[Pooling],
        prefixes: Sequence[int],
        *,
        keep: bool,
        document_tokens: int,
        device: str | torch.device,
    ) -> None:
        """`keep` keeps the states of whole documents; a block has at most `document_tokens` rows, or those of one longer document."""
        self._documents = documents
        self._poolings = poolings
        self._prefixes = (None, *prefixes)
        self._keep = keep
        self._device = device
        self._layout = Layout.of(poolings)
        # A block's states take no more room than its similarities would, however short its documents are.
        self._blocks = blocks(documents.lengths.clamp(min=self._layout.planes), document_tokens)

    @staticmethod
    def knows(poolings: Iterable[Pooling]) -> bool:
        """Tell whether Triton is installed and the kernel computes all of them."""
        known = (type(p) in (MaxSim, Softmax, Mean) or (isinstance(p, TopK) and p.k <= LARGEST_K) for p in poolings)
        return find_spec("triton") is not None and all(known)

    @staticmethod
    def starts(device: str | torch.device) -> bool:
        """Tell whether Triton can compile for the device and start there; where it cannot, a warning says why, once."""
        return _starts(torch.device(device))

    @property
    def floats(self) -> tuple[int, int]:
        """Numbers written per query and document, and per query token and document."""
        parts = len(self._prefixes)
        return parts * self._layout.rows, (self._layout.planes + 2 * self._layout.argmax) * self._keep

    @torch.no_grad()
    def pool(self, tokens: Tensor, offsets: Tensor) -> dict[int | None, tuple[dict[Pooling, Tensor], dict[Pooling, Any]]]:
        """Pool a block of queries: scores by pooling and states by pooling, for whole documents (None) and for every prefix."""
        parts = [
            Part.allocate(self._layout, prefix, keep=self._keep and prefix is None, offsets=offsets, documents=len(self._documents))
            for prefix in self._prefixes
        ]
        tokens, lengths = tokens.to(self._device).contiguous(), offsets.diff().to(self._device)
        bounds = self._documents.offsets
        for first, last in self._blocks:
            start, end = int(bounds[first]), int(bounds[last])
            vectors = self._documents.vectors[start:end].to(self._device).float().contiguous()
            ends = (bounds[first : last + 1] - start).to(self._device)
            for part in parts:
                self._pool_block(part, first, vectors, ends, tokens, lengths)
        return {part.prefix: part.read(self._poolings, self._documents.lengths) for part in parts}

    def _pool_block(self, part: Part, first: int, vectors: Tensor, bounds: Tensor, tokens: Tensor, lengths: Tensor) -> None:  # noqa: PLR0913, PLR0917 - a block's two sides, and where it goes
        """Write the scores and states of documents `first` and following, rows bounds[i]:bounds[i + 1] of `vectors`."""
        layout, starts, ends = part.layout, bounds[:-1], bounds[1:]
        if part.prefix is not None:
            ends = torch.minimum(ends, starts + part.prefix)
        planes = tokens.new_empty(layout.planes, len(starts), len(tokens))
        positions = torch.empty_like(planes[0], dtype=torch.int64) if part.keep and layout.argmax else None
        if len(tokens):
            self._launch(tokens, vectors, starts, ends, planes, positions)
        chosen = slice(first, first + len(starts))
        for row, pooling in {layout.row(pooling): pooling for pooling in self._poolings}.items():
            values = pooling.score(layout.state(pooling, ends - starts, planes, planes))  # a score needs no positions
            scores = torch.segment_reduce(values.double(), "sum", lengths=lengths, axis=0)
            part.scores[row, :, chosen] = scores.float()
        if part.keep:
            part.planes[:, chosen] = planes
        if positions is not None:
            part.positions[chosen] = positions

    def _launch(self, tokens: Tensor, vectors: Tensor, starts: Tensor, ends: Tensor, planes: Tensor, positions: Tensor | None) -> None:  # noqa: PLR0913, PLR0917 - what the kernel reads and writes
        from lidiag import triton_kernels  # noqa: PLC0415 - it imports Triton, which not every machine has

        layout, count = self._layout, len(starts)
        k, temperatures = max(layout.ks, default=0), len(layout.temperatures)
        scales = torch.tensor([math.log2(math.e) / t for t in layout.temperatures], device=tokens.device, dtype=torch.float32)
        kernel: Any = triton_kernels.pool  # compiled: it takes a grid first
        with torch.cuda.device_of(tokens):  # Triton launches on the current one
            kernel[(-(-len(tokens) // ROWS) * count,)](
                tokens, vectors, starts, ends, scales, planes, planes if positions is None else positions,
                len(tokens), count, tokens.shape[1],
                k=k, temperatures=temperatures, mean=layout.mean, argmax=positions is not None,
                places=_power_of_two(k), slots=_power_of_two(temperatures), rows=ROWS, columns=COLUMNS, depth=DEPTH,
                num_warps=8, enable_fp_fusion=True,
            )  # fmt: skip


@cache
def _starts(device: torch.device) -> bool:
    from triton.errors import TritonError  # noqa: PLC0415  # pyright: ignore[reportMissingImports] - not every machine has it

    one = MultiVectors.pack([torch.ones(1, 1)])
    try:
        TritonPass(one, (MaxSim(),), (), keep=False, document_tokens=1, device=device).pool(one.vectors, one.offsets)
    # It needs a C compiler and Python's headers beside itself, and a GPU that it has not given up.
    except (TritonError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        _log.warning("Similarities on %s are pooled by plain torch, slower, as Triton cannot start there: %s", device, error)
        return False
    return True


def _power_of_two(n: int) -> int:
    """Return the least power of two that is at least n, and at least 1."""
    return 1 << max(n - 1, 0).bit_length()
