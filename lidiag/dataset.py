"""A collection: queries, documents, and which documents are relevant."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lidiag.card import ModelCard
from lidiag.errors import LidiagError, unknown

if TYPE_CHECKING:
    from PIL import Image

# A page of 100 megapixels is A2 at 600 dpi; what claims more is a decompression bomb or a mistake.
MAX_PIXELS = 100_000_000
# Pillow knows some fifty; for PostScript, for one, it starts another program.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")


@dataclass(frozen=True)
class DataOptions:
    """How a collection is to be loaded.

    `parameters` is the `?key=value` of its name; `data_dir` a local mirror of what the hub holds.
    """

    split: str | None = None
    revision: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    offline: bool = False
    data_dir: Path | None = None

    def require(self, dataset: str, known: Sequence[str], *, revision: bool = False) -> None:
        """Refuse a parameter that `dataset` does not read, and a revision where it has none.

        Raises:
            LidiagError: a key of `parameters` is not in `known`, or there is a revision and `revision` is false.
        """
        for key in self.parameters:
            if key not in known:
                raise unknown(f"parameter of {dataset}", key, known, "the README's table of collections")
        if self.revision is not None and not revision:
            raise LidiagError(f"{dataset} has no revisions, and {self.revision!r} is asked for.", f"Leave out @{self.revision}.")


@dataclass(frozen=True)
class Page:
    """A page image that is decoded only when it is asked for; `source` is a file, the encoded bytes, or what makes them.

    `identity` names the content where making it is costly: pages of equal identity are the same image.
    """

    source: Path | bytes | Callable[[], bytes]
    identity: str = ""

    def bytes(self) -> bytes:
        """Return the encoded image.

        Raises:
            LidiagError: the file cannot be read.
        """
        if isinstance(self.source, bytes):
            return self.source
        if not isinstance(self.source, Path):
            return self.source()
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise LidiagError(
                f"The page {self.source} cannot be read: {error.strerror or error}.", "Put it back, or mend its path."
            ) from error

    def digest(self) -> bytes:
        """Return the SHA-256 of the identity, or of the encoded image."""
        return hashlib.sha256(self.identity.encode() or self.bytes()).digest()

    def open(self) -> Image.Image:
        """Decode as RGB.

        Raises:
            LidiagError: it is no image, or too large to be a page.
        """
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - Pillow is not needed for text

        encoded = self.bytes()
        where = self.source if isinstance(self.source, Path) else f"an image of {len(encoded)} bytes"
        try:
            image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
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
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(self.text.encode())
        if self.page is not None:
            digest.update(b"\0page\0" + self.page.digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Query:
    """One query."""

    id: str
    text: str


@dataclass(frozen=True)
class Counted:
    """What a benchmark's own code counted of one ranking of a collection.

    `main` is the metric that the benchmark is ranked by and `value` what it came to, as the benchmark rounds it, over `queries`
    queries. `by_query` holds what it counted query by query: metric, then query id. `record` is plain JSON, all that a file of
    the benchmark's results says of it.
    """

    by: str
    main: str
    value: float
    queries: int
    by_query: Mapping[str, Mapping[str, float]]
    record: Mapping[str, object]


class Benchmark(Protocol):
    """Where a collection is part of a benchmark that counts by its own code: that code.

    `queries` are all that it counts; `depth` is how many documents of each it looks at; `candidates` are the ones to be ranked,
    by query id, where it ranks given candidates and not the whole collection.
    """

    queries: Sequence[Query]
    depth: int
    candidates: Mapping[str, Sequence[str]] | None

    def count(self, run: Mapping[str, Mapping[str, float]], card: ModelCard) -> Counted:
        """Count a run: scores by query id and document id, of every query in `queries`."""
        ...


@dataclass(frozen=True)
class Dataset:
    """Queries, documents and graded relevance: relevance[query id][document id] = grade; a grade above 0 is relevant.

    A document without judgement is unjudged; "non-relevant" in every measure means not judged relevant. `groups` says
    which queries share a fact, by query id, where that is known: they are one unit of the statistics. `facets` holds what
    a generated collection knows of a document, by document id. `notes` are sentences that the report is to carry.
    `language` is an ISO 639-3 code with a script, as mteb writes it: `eng-Latn`; empty where it is not known. `benchmark`
    counts the collection's official scores, where it has such.
    """

    name: str
    queries: Sequence[Query]
    documents: Sequence[Document]
    relevance: Mapping[str, Mapping[str, int]]
    revision: str = ""
    language: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    facets: Mapping[str, Mapping[str, str | int | float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    benchmark: Benchmark | None = field(default=None, compare=False, repr=False)

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
