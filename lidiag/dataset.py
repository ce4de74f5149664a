"""A collection: queries, documents, and which documents are relevant."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lidiag.errors import LidiagError

if TYPE_CHECKING:
    from PIL import Image

# A page of 100 megapixels is A2 at 600 dpi; what claims more is a decompression bomb or a mistake.
MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Page:
    """A page image that is decoded only when it is asked for; `source` is a file or the encoded bytes."""

    source: Path | bytes

    def bytes(self) -> bytes:
        """Return the encoded image."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    def open(self) -> Image.Image:
        """Decode as RGB.

        Raises:
            LidiagError: it is no image, or too large to be a page.
        """
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - Pillow is not needed for text

        where = self.source if isinstance(self.source, Path) else f"an image of {len(self.source)} bytes"
        try:
            image = Image.open(io.BytesIO(self.bytes()))
            if image.width * image.height > MAX_PIXELS:
                raise LidiagError(
                    f"{where} claims {image.width} x {image.height} pixels, above the {MAX_PIXELS:,} allowed.", "Shrink it or leave it out."
                )
            return image.convert("RGB")
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise LidiagError(f"{where} cannot be read as an image: {error}.", "Mend or remove it.") from error


@dataclass(frozen=True)
class Document:
    """One document: text, a page image, or both. `text` already holds the title, where there is one."""

    id: str
    text: str = ""
    page: Page | None = None

    def digest(self) -> str:
        """Return the SHA-256 of what a model sees; the id is not part of it."""
        digest = hashlib.sha256(self.text.encode())
        if self.page is not None:
            digest.update(b"\0page\0" + hashlib.sha256(self.page.bytes()).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Query:
    """One query."""

    id: str
    text: str


@dataclass(frozen=True)
class Dataset:
    """Queries, documents and graded relevance: relevance[query id][document id] = grade; a grade above 0 is relevant.

    A document without judgement is unjudged; "non-relevant" in every measure means not judged relevant. `groups` says
    which queries share a fact, by query id, where that is known: they are one unit of the statistics. `facets` holds what
    a generated collection knows of a document, by document id.
    """

    name: str
    queries: Sequence[Query]
    documents: Sequence[Document]
    relevance: Mapping[str, Mapping[str, int]]
    revision: str = ""
    language: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    facets: Mapping[str, Mapping[str, str | int | float]] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, texts, pages and judgements, in order."""
        digest = hashlib.sha256()
        for row in self._rows():
            digest.update(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        return digest.hexdigest()

    def _rows(self) -> Iterator[list[object]]:
        for query in self.queries:
            yield ["query", query.id, query.text]
        for document in self.documents:
            yield ["document", document.id, document.digest()]
        for query_id in sorted(self.relevance):
            yield ["relevance", query_id, sorted(self.relevance[query_id].items())]

    @property
    def modalities(self) -> frozenset[str]:
        """What the documents are: text, image, or both."""
        text = any(document.text for document in self.documents)
        pages = any(document.page is not None for document in self.documents)
        return frozenset({"text"} if text else set()) | frozenset({"image"} if pages else set())
