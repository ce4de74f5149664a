"""An attribution as one HTML file, beside its picture."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lidiag.attribution import Attribution
from lidiag.dataset import Document, Page
from lidiag.errors import LidiagError
from lidiag.files import write_text

_IMAGES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".gif": "gif"}
_LARGEST_TEXT = 2**20


def document_from_file(path: Path) -> Document:
    """Read a page image or a text file as a document.

    Raises:
        LidiagError: it is neither, or too large.
    """
    if path.suffix.lower() in _IMAGES:
        page = Page(path)
        page.open()
        return Document(path.name, page=page)
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise LidiagError(f"{path} has {path.stat().st_size:,} bytes; a text may have {_LARGEST_TEXT:,}.", "Name a shorter one.")
        return Document(path.name, text=path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise LidiagError(
            f"{path} cannot be read as text: {error}.", f"Name a text file in UTF-8 or an image ({', '.join(_IMAGES)})."
        ) from error


@dataclass(frozen=True)
class _Piece:
    """A stretch of the text, with its share of the score in [0, 1] of the largest."""

    text: str
    heat: float
    share: float


@dataclass(frozen=True)
class _Patch:
    """A box on the page in percent, with its share of the score."""

    left: float
    top: float
    width: float
    height: float
    heat: float
    share: float


def write(attribution: Attribution, path: Path) -> None:
    """Write the page: one file, nothing loaded from elsewhere, readable without JavaScript."""
    environment = Environment(
        loader=PackageLoader("lidiag", "html/templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    views = [_view(attribution, clean=True), *([_view(attribution, clean=False)] if attribution.injected else [])]
    write_text(path, environment.get_template("attribution.html.j2").render(a=attribution, views=views, image=_image(attribution.document)))


def _view(attribution: Attribution, *, clean: bool) -> dict[str, object]:
    shares = attribution.shares(clean=clean)
    most = float(shares.max()) or 1.0
    elsewhere = [
        (label.text or label.type, float(share))
        for label, share in zip(attribution.labels, shares, strict=True)
        if share > 0 and label.span is None and label.box is None
    ]
    return {
        "clean": clean,
        "pieces": _pieces(attribution, shares, most),
        "patches": _patches(attribution, shares, most),
        "elsewhere": elsewhere,
    }


def _pieces(attribution: Attribution, shares: np.ndarray, most: float) -> list[_Piece]:
    text = attribution.document.text
    pieces: list[_Piece] = []
    done = 0
    spans = [(label.span, share) for label, share in zip(attribution.labels, shares, strict=True) if label.span and share > 0]
    for (start, end), share in sorted(spans):
        if start < done:
            continue
        pieces += [_Piece(text[done:start], 0.0, 0.0), _Piece(text[start:end], float(share) / most, float(share))]
        done = end
    return [*pieces, _Piece(text[done:], 0.0, 0.0)] if text and attribution.document.page is None else []


def _patches(attribution: Attribution, shares: np.ndarray, most: float) -> list[_Patch]:
    boxes = [(label.box, float(share)) for label, share in zip(attribution.labels, shares, strict=True) if label.box and share > 0]
    return [_Patch(100 * x, 100 * y, 100 * (right - x), 100 * (low - y), share / most, share) for (x, y, right, low), share in boxes]


def _image(document: Document) -> str | None:
    if document.page is None:
        return None
    content = document.page.bytes()
    kind = (
        "png"
        if content.startswith(b"\x89PNG")
        else "webp"
        if content[8:12] == b"WEBP"
        else "gif"
        if content.startswith(b"GIF8")
        else "jpeg"
    )
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
