"""`precomputed:FOLDER`: vectors that any stack in any language has written.

The folder holds, for each side (`documents`, `queries`), either

- `documents.safetensors` with the tensors `vectors` (all token vectors one after another, never padded: (tokens, dim)),
  `offsets` (int64, (n + 1,): item i owns rows offsets[i] to offsets[i + 1] - 1; offsets[0] is 0) and, where the model has one
  vector per item too, `pooled` (n, width); or
- the same as `documents.npy`, `documents.offsets.npy` and, perhaps, `documents.pooled.npy`,

beside `corpus.jsonl` and `queries.jsonl` in the BEIR layout, which say what was encoded, line by line in the vectors' order.
`?collection=FOLDER` takes these two files from another folder: the collection's own. A document's text is `title + " " + text`.

`model.json`, where it is present, is an object with any of `name` (org/name), `family`, `attention`, `similarity`, `dtype`,
`query_length`, `document_length`, `prompts`, `versions`, as in the report's model card.

An item is found by its content, so a probe that asks for other texts than the encoded ones is skipped, never misled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from lidiag import checkpoint, tensor_files
from lidiag.adapter import Label, LoadOptions, Side, read_parameters
from lidiag.card import ModelCard
from lidiag.dataset import Document
from lidiag.datasets.lines import Faults
from lidiag.datasets.rows import read_documents, read_queries
from lidiag.errors import LidiagError, unknown
from lidiag.files import expanded, sha256
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

_TOLD = ("name", "family", "attention", "similarity", "dtype", "query_length", "document_length", "prompts", "versions")
# Two items of one content were encoded in two batches: their vectors differ by rounding alone.
_SAME = 1e-2
_UNIT = 1e-3


@dataclass(frozen=True)
class Settings:
    """What can be set: `precomputed:FOLDER?collection=DATA`."""

    collection: str = ""


def claims(folder: Path) -> str | None:
    """Say which file makes a folder one of finished vectors."""
    return next((f"it holds {name}" for name in ("documents.safetensors", "documents.npy") if (folder / name).is_file()), None)


def load(name: str, options: LoadOptions) -> Precomputed:
    """Map the vectors of a folder, and match them to what was encoded.

    Raises:
        LidiagError: a file is missing or not valid, or the numbers of items do not agree.
    """
    folder = expanded(name)
    settings = read_parameters(Settings, options.parameters, f"precomputed:{name}")
    if not folder.is_dir():
        raise LidiagError(f"There is no folder {name}.", "Name the folder that holds documents.safetensors and queries.safetensors.")
    texts = expanded(settings.collection) if settings.collection else folder
    files = {name: texts / name for name in ("corpus.jsonl", "queries.jsonl")}
    if absent := next((path for path in files.values() if not path.is_file()), None):
        raise LidiagError(
            f"There is no {absent}, which says what was encoded.", "Put it there, or name the collection: ?collection=FOLDER."
        )
    faults = Faults()
    documents = list(read_documents(files["corpus.jsonl"], faults).values())
    queries = [_digest(query.text) for query in read_queries(files["queries.jsonl"], faults).values()]
    faults.refuse(texts, "Mend these lines.")
    sides: dict[Side, _Items] = {
        "document": _Items.match(_vectors(folder, "documents"), [document.digest() for document in documents], folder),
        "query": _Items.match(_vectors(folder, "queries"), queries, folder),
    }
    read = {"text": any(document.text for document in documents), "image": any(document.page for document in documents)}
    about = {"modalities": tuple(kind for kind, present in read.items() if present), "parameters": dict(options.parameters)}
    return Precomputed(sides, _card(folder, sides, list(files.values()), about | {"reason": options.reason}))


@dataclass(frozen=True)
class _Items:
    vectors: MultiVectors
    row: dict[str, int]  # digest of the content -> item

    @classmethod
    def match(cls, vectors: MultiVectors, digests: Sequence[str], folder: Path) -> _Items:
        if len(vectors) != len(digests):
            raise LidiagError(
                f"{folder} holds vectors of {len(vectors):,} items, and there are {len(digests):,} lines that say what they are.",
                "Write them in the order of the lines, an item without tokens included.",
            )
        row: dict[str, int] = {}
        for i, digest in enumerate(digests):
            first = row.setdefault(digest, i)
            one, other = vectors[first], vectors[i]
            if first != i and (one.shape != other.shape or not torch.allclose(one.float(), other.float(), atol=_SAME)):
                raise LidiagError(
                    f"{folder}: items {first + 1} and {i + 1} have the same content and different vectors.",
                    "Check the order of the vectors.",
                )
        return cls(vectors, row)


class Precomputed:
    """Finished vectors, found by the content that they stand for."""

    def __init__(self, sides: dict[Side, _Items], card: ModelCard) -> None:
        """Take both sides."""
        self.card = card
        self._sides = sides

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        """Return the vectors of texts that were encoded as queries.

        Raises:
            Skip: a text is not among them.
        """
        return self._found("query", [_digest(text) for text in texts], texts)

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        """Return the vectors of documents that were encoded.

        Raises:
            Skip: a document of this content is not among them.
        """
        return self._found("document", [document.digest() for document in documents], [document.id for document in documents])

    def labels(self, side: Side, item: str | Document) -> list[Label]:  # noqa: ARG002 - the protocol's
        """Skip: finished vectors do not say what they stand for."""
        raise Skip(f"{self.card.name} holds finished {side} vectors, which do not say what token each stands for")

    def _found(self, side: Side, digests: Sequence[str], names: Sequence[str]) -> MultiVectors:
        items = self._sides[side]
        for digest, name in zip(digests, names, strict=True):
            if digest not in items.row:
                raise Skip(f"{self.card.name} holds finished vectors only, and none of the {side} {name[:80]!r} as it stands here")
        chosen = items.vectors.select([items.row[digest] for digest in digests])
        pooled = None if chosen.pooled is None else chosen.pooled.float()
        return MultiVectors(chosen.vectors.float(), chosen.offsets, pooled, chosen.cut)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _vectors(folder: Path, side: str) -> MultiVectors:
    packed, plain = folder / f"{side}.safetensors", folder / f"{side}.npy"
    if packed.is_file():
        found = MultiVectors.load(packed)
    elif plain.is_file():
        found = _from_arrays(folder, side)
    else:
        raise LidiagError(
            f"{folder} holds neither {packed.name} nor {plain.name}.", "Write one of them; `lidiag.adapters.precomputed` says how."
        )
    if not found.vectors.is_floating_point():
        raise LidiagError(f"{folder} holds {side} of {found.vectors.dtype}.", "Write floats of 16 or 32 bits.")
    return found


def _from_arrays(folder: Path, side: str) -> MultiVectors:
    def array(name: str) -> Tensor:
        tensor_files.check_array(folder / name)
        # Copy on write: torch wants memory it may write to.
        return torch.from_numpy(np.load(folder / name, mmap_mode="c", allow_pickle=False))

    try:
        pooled = array(f"{side}.pooled.npy") if (folder / f"{side}.pooled.npy").is_file() else None
        return MultiVectors(array(f"{side}.npy"), array(f"{side}.offsets.npy"), pooled)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise LidiagError(f"The {side} in {folder} are not valid: {error}.", "Write them again with numpy.save.") from error


def _card(folder: Path, sides: dict[Side, _Items], files: Sequence[Path], about: dict[str, Any]) -> ModelCard:
    documents, queries = sides["document"].vectors, sides["query"].vectors
    if documents.dim != queries.dim:
        raise LidiagError(f"{folder}: documents have {documents.dim} dimensions and queries {queries.dim}.", "Encode both with one model.")
    told = checkpoint.config(folder, "model.json")
    if strange := next((key for key in told if key not in _TOLD), None):
        raise unknown(f"key of {folder / 'model.json'}", strange, _TOLD, "`lidiag.adapters.precomputed`")
    content = checkpoint.content_revision(folder) + "".join(map(sha256, files))
    values: dict[str, Any] = {
        "name": f"local/{folder.resolve().name}",
        "revision": hashlib.sha256(content.encode()).hexdigest()[:40],
        "adapter": "precomputed",
        "family": "precomputed",
        "dim": documents.dim,
        "dtype": str(documents.vectors.dtype).removeprefix("torch."),
        "unit_rows": _unit(documents) and _unit(queries),
        "randomly_initialised": None,
    }
    try:
        return ModelCard.model_validate(values | about | told)
    except ValidationError as error:
        first = error.errors()[0]
        raise LidiagError(f"{folder / 'model.json'}: {'.'.join(map(str, first['loc']))}: {first['msg']}.", "Mend it.") from error


def _unit(found: MultiVectors) -> bool:
    rows = found.vectors[:: max(1, len(found.vectors) // 1000)].float()
    return bool(((rows.norm(dim=1) - 1).abs() < _UNIT).all())
