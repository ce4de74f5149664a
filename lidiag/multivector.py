"""Token vectors of many items, packed one after another and never padded.

A zero pad is a token with similarity 0: it beats every negative maximum, so a scorer that pads makes a length bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lidiag import tensor_files
from lidiag.errors import LidiagError


@dataclass(frozen=True, eq=False)
class MultiVectors:
    """`vectors` (total_tokens, dim) and `offsets` (n + 1,): item i owns rows offsets[i]:offsets[i + 1]; items may be empty.

    `vectors` may be of 16 bits, as stored; items are handed out, selected and multiplied in fp32.

    `pooled` (n, dim') holds each item's single vector where the model has one; `cut` (n,) says which items the model
    cut at its maximum length, where that is known.
    """

    vectors: Tensor
    offsets: Tensor
    pooled: Tensor | None = None
    cut: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not fit together."""
        ends = self.offsets
        if self.vectors.ndim != 2 or ends.ndim != 1 or len(ends) == 0 or ends.dtype != torch.int64:  # noqa: PLR2004 - rows and columns
            raise ValueError(
                f"vectors must be (tokens, dim) and offsets int64 (n + 1,), not {tuple(self.vectors.shape)} and {tuple(ends.shape)} {ends.dtype}"
            )
        if ends[0] != 0 or ends[-1] != len(self.vectors) or bool((ends[1:] < ends[:-1]).any()):
            raise ValueError(f"offsets must rise from 0 to the number of tokens, {len(self.vectors)}")
        for name, part in (("pooled", self.pooled), ("cut", self.cut)):
            if part is not None and len(part) != len(self):
                raise ValueError(f"{name} has {len(part)} rows for {len(self)} items")

    @classmethod
    def pack(cls, items: Sequence[Tensor], pooled: Tensor | None = None, cut: Tensor | None = None) -> MultiVectors:
        """Pack a non-empty sequence of (n_i, dim) tensors; n_i may be 0, dim must agree."""
        lengths = torch.tensor([len(item) for item in items], dtype=torch.int64)
        return cls(torch.cat(list(items)), _offsets(lengths), pooled, cut)

    @classmethod
    def unpad(cls, vectors: Tensor, mask: Tensor) -> MultiVectors:
        """Pack the rows of a padded batch (items, tokens, dim) that `mask` (items, tokens) keeps: fp32, where they are, with gradients."""
        kept = mask.bool()
        return cls(vectors[kept.to(vectors.device)].float(), _offsets(kept.sum(1).cpu()))

    @classmethod
    def concat(cls, parts: Sequence[MultiVectors]) -> MultiVectors:
        """Put the items of a non-empty sequence one after another.

        Raises:
            ValueError: some parts have pooled vectors (or `cut`) and others have none.
        """
        lengths = torch.cat([part.lengths for part in parts])
        pooled, cut = (_all_or_none(name, [getattr(part, name) for part in parts]) for name in ("pooled", "cut"))
        return cls(torch.cat([part.vectors for part in parts]), _offsets(lengths), pooled, cut)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Tensor:
        """Return item `index` (n_i, dim) in fp32, a view where it is stored so; a negative index counts from the end.

        Raises:
            IndexError: there is no such item.
        """
        index = range(len(self))[index]
        return self.vectors[self.offsets[index] : self.offsets[index + 1]].float()

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the items in fp32, as views where they are stored so."""
        for start, end in pairwise(self.offsets.tolist()):
            yield self.vectors[start:end].float()

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self.vectors.shape[1]

    @property
    def lengths(self) -> Tensor:
        """Token vectors per item, int64 (n,)."""
        return self.offsets.diff()

    def select(self, index: Sequence[int] | Tensor) -> MultiVectors:
        """Copy the items at `index`, in that order, in fp32."""
        index = torch.as_tensor(index, dtype=torch.int64)
        bounds = self.offsets.tolist()
        rows = [self.vectors[bounds[i] : bounds[i + 1]].float() for i in index.tolist()]
        vectors = torch.cat(rows) if rows else self.vectors[:0].float()
        pooled = None if self.pooled is None else self.pooled[index]
        cut = None if self.cut is None else self.cut[index]
        return MultiVectors(vectors, _offsets(self.lengths[index]), pooled, cut)

    def heads(self, tokens: int) -> MultiVectors:
        """Copy every item cut to its first `tokens` vectors."""
        return MultiVectors.pack([item[:tokens] for item in self]) if len(self) else self

    def save(self, path: Path, metadata: dict[str, str] | None = None) -> None:
        """Write one safetensors file; the caller makes it atomic.

        Raises:
            OSError: the disk refuses.
        """
        tensors = {"vectors": self.vectors, "offsets": self.offsets}
        tensors |= {} if self.pooled is None else {"pooled": self.pooled}
        tensors |= {} if self.cut is None else {"cut": self.cut}
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error

    @classmethod
    def load(cls, path: Path) -> MultiVectors:
        """Map a file that `save` wrote; vectors are read from disk when they are touched.

        Raises:
            LidiagError: the file is not one.
        """
        tensor_files.check_safetensors(path)
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return cls(tensors["vectors"], tensors["offsets"], tensors.get("pooled"), tensors.get("cut"))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise LidiagError(f"{path} does not hold multi-vectors: {error}.", "Delete it and encode again.") from error


def blocks(lengths: Tensor, limit: int) -> list[tuple[int, int]]:
    """Divide consecutive items into ranges (first, last) with at most `limit` tokens, or of one item with more."""
    ends = lengths.cumsum(0).numpy()
    ranges: list[tuple[int, int]] = []
    first, before = 0, 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, before + limit, side="right")))
        ranges.append((first, last))
        first, before = last, int(ends[last - 1])
    return ranges


def _offsets(lengths: Tensor) -> Tensor:
    return torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))


def _all_or_none(name: str, tables: Sequence[Tensor | None]) -> Tensor | None:
    present = [table for table in tables if table is not None]
    if 0 < len(present) < len(tables):
        raise ValueError(f"{name} is there for {len(present)} of {len(tables)} parts")
    return torch.cat(present) if present else None
