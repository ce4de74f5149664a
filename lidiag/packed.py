"""One packed file of multi-vectors, written item by item: no more than an item is held in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}


def write(  # noqa: PLR0913, PLR0917 - what a file holds
    path: Path, lengths: Tensor, dim: int, items: Iterable[Tensor], small: dict[str, Tensor], dtype: torch.dtype = torch.float32
) -> None:
    """Write what `MultiVectors.load` reads: `items` are the (lengths[i], dim) tensors in order, kept as `dtype`, `small` the other tensors.

    The layout is that of safetensors: the header's size in 8 bytes, the header as JSON, the tensors one after another.
    """
    tokens = int(lengths.sum())
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    small = {"offsets": offsets, **small}
    header: dict[str, dict[str, object]] = {}
    end = 0
    for name, tensor in small.items():
        header[name] = _entry(tensor.dtype, list(tensor.shape), end, tensor.nbytes)
        end += tensor.nbytes
    header["vectors"] = _entry(dtype, [tokens, dim], end, tokens * dim * dtype.itemsize)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in small.values():
            file.write(_bytes(tensor))
        for item in items:
            file.write(_bytes(item.to(dtype)))


def _entry(dtype: torch.dtype, shape: list[int], start: int, size: int) -> dict[str, object]:
    return {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": [start, start + size]}


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)
    return flat.numpy().tobytes()
