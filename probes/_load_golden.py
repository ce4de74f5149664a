"""Vectors that the model is known to give, kept in a file: the one sure way to see a query prefix that was lost."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from lidiag import strict_json, tensor_files
from lidiag.bench import Bench
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.multivector import MultiVectors

from ._load_stability import ALLOWED

_WRITE = 'Write it with MultiVectors.save(path, {"side": "query" or "document", "texts": a JSON list of the texts}).'


def check_golden(found: Findings, bench: Bench, path: Path) -> None:
    """Encode the file's texts and compare; another library or device may differ by ten times what a batch may.

    Raises:
        LidiagError: the file is missing, or does not say which texts of which side its vectors are.
    """
    side, texts, golden = _read(path)
    documents = [Document(f"golden {i}", text) for i, text in enumerate(texts)]
    ours = bench.adapter.queries(texts) if side == "query" else bench.adapter.documents(documents)
    if ours.dim != golden.dim or not torch.equal(ours.lengths, golden.lengths):
        shapes = f"{ours.lengths[:3].tolist()} vectors of {ours.dim} dimensions, and the file {golden.lengths[:3].tolist()} of {golden.dim}"
        found.fault(
            "golden", f"For the first golden {side} texts the model gives {shapes}: a prompt, the augmentation or the model is another."
        )
        return
    off = float(((ours.vectors - golden.vectors).norm(dim=1) / golden.vectors.norm(dim=1).median()).max())
    found.number(
        "golden_difference", {"side": side}, off, n=len(texts), unit_of_n="texts", no_interval="a maximum", unit="of a vector's length", better="lower"
    )  # fmt: skip
    if off > 10 * ALLOWED.get(bench.adapter.card.dtype, ALLOWED["float32"]):
        found.fault(
            "golden", f"A {side} vector is off from the golden one by {off:.2g} of its length: a prompt, a weight or a version is another."
        )


def _read(path: Path) -> tuple[str, list[str], MultiVectors]:
    tensor_files.check_safetensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            told = dict(file.metadata() or {})
        side, texts = told["side"], strict_json.parse(told["texts"])
        vectors = MultiVectors.load(path)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise LidiagError(f"{path} does not hold golden vectors: {type(error).__name__} {error}.", _WRITE) from error
    if side not in {"query", "document"} or not isinstance(texts, list) or len(texts) != len(vectors):
        raise LidiagError(f"{path} does not say whose vectors it holds, text by text.", _WRITE)
    return side, [str(text) for text in texts], vectors
