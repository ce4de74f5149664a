"""The vectors that are scored: a folder's, a model's of a collection, or random ones of Cranfield's shape."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from lidiag.multivector import MultiVectors

# Token vectors of Cranfield under a ColBERT of 128 dimensions: 1,400 documents of 176 on average, 225 queries of 23.
DOCUMENTS, DOCUMENT_TOKENS, QUERIES, QUERY_TOKENS, DIM = 1400, 176, 225, 23, 128


def random_vectors(seed: int = 0) -> tuple[MultiVectors, MultiVectors]:
    """Draw unit vectors with Cranfield's counts and spread of lengths."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def draw(items: int, mean: float, spread: float, limit: int) -> MultiVectors:
        lengths = np.clip(rng.normal(mean, spread, items).round(), 4, limit).astype(np.int64).tolist()
        rows = torch.nn.functional.normalize(torch.randn(sum(lengths), DIM, generator=generator), dim=-1)
        return MultiVectors.pack(list(rows.split(lengths)))

    return draw(QUERIES, QUERY_TOKENS, 8, 32), draw(DOCUMENTS, DOCUMENT_TOKENS, 60, 256)


def read_vectors(folder: Path) -> tuple[MultiVectors, MultiVectors]:
    """Read queries.safetensors and documents.safetensors as MultiVectors.save wrote them."""
    return MultiVectors.load(folder / "queries.safetensors"), MultiVectors.load(folder / "documents.safetensors")


def encode(model: str, data: Path) -> tuple[MultiVectors, MultiVectors]:
    """Encode a BEIR folder with a sentence-transformers MultiVectorEncoder, once: the temporary folder keeps the vectors."""
    digest = hashlib.sha256(f"{Path(model).resolve()}\n{data.resolve()}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"lidiag-benchmark-{digest}"
    if not (folder / "documents.safetensors").exists():
        from sentence_transformers import MultiVectorEncoder  # noqa: PLC0415 - only where it is used: slow, or not installed

        encoder = MultiVectorEncoder(model, device="cpu")
        queries = [json.loads(line)["text"] for line in (data / "queries.jsonl").read_text().splitlines()]
        corpus = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
        texts = [f"{row.get('title', '')} {row['text']}".strip() for row in corpus]
        folder.mkdir(exist_ok=True)
        _pack(encoder.encode_query(queries)).save(folder / "queries.safetensors")
        _pack(encoder.encode_document(texts)).save(folder / "documents.safetensors")
    return read_vectors(folder)


def _pack(items: list[np.ndarray | torch.Tensor]) -> MultiVectors:
    return MultiVectors.pack([torch.as_tensor(item).float() for item in items])
