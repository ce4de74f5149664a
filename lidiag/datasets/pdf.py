"""PDFs as pages: text layers at once, images one by one when they are asked for. With pypdfium2, of the extra `pdf`."""

from __future__ import annotations

import io
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from lidiag.dataset import Page
from lidiag.errors import LidiagError
from lidiag.files import sha256

# An A4 page is then 1,240 x 1,754, as in ViDoRe; a larger one is drawn no larger, or a batch of pages would not fit into memory.
_DOTS, _LONGEST = 150, 1754
_PAGE = "#page="  # as in a link to a page of a PDF (RFC 8118), counted from 1
_LOCK = threading.RLock()  # pdfium is not safe to use from two threads


def named(path: str) -> tuple[str, int | None]:
    """Take `report.pdf#page=3` apart; the number is None where none is given, and 0 where it is no number from 1."""
    file, mark, number = path.partition(_PAGE)
    if not mark:
        return path, None
    return file, int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0  # noqa: PLR2004 - no PDF has more pages


def count(path: Path) -> int:
    """Return the number of pages.

    Raises:
        LidiagError: pypdfium2 is not installed, or the file is no PDF that can be read.
    """
    with _opened(path) as document:
        return len(document)


def pages(path: Path) -> list[tuple[str, Page]]:
    """Return the text layer and the image of every page, in order; the images are not drawn yet.

    Raises:
        LidiagError: as `count`.
    """
    with _opened(path) as document:
        texts = [_text(document, i) for i in range(len(document))]
    return [(text, page(path, number)) for number, text in enumerate(texts, 1)]


def page(path: Path, number: int) -> Page:
    """Return the image of page `number`, from 1; it is not drawn yet.

    Raises:
        LidiagError: pypdfium2 is not installed.
    """
    _library()
    identity = f"{_content(path, path.stat().st_mtime_ns)} {number} at {_DOTS} {_LONGEST} by pypdfium2 {version('pypdfium2')}"
    return Page(partial(_draw, path, number - 1), identity)


@lru_cache(maxsize=1024)
def _content(path: Path, _changed: int) -> str:
    return sha256(path)


def _draw(path: Path, index: int) -> bytes:
    with _opened(path) as document:
        sheet = document[index]
        scale = min(_DOTS / 72, _LONGEST / max(*sheet.get_size(), 1))
        image = sheet.render(scale=scale).to_pil().convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _text(document: Any, index: int) -> str:
    text = document[index].get_textpage().get_text_bounded()
    return text.replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8").strip()


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    library = _library()
    with _LOCK:
        try:
            document = library.PdfDocument(path)
            try:
                yield document
            finally:
                document.close()
        except (library.PdfiumError, OSError, ValueError) as error:
            raise LidiagError(f"{path} cannot be read as a PDF: {error}", "Mend it, or take its password off.") from error


def _library() -> ModuleType:
    try:
        import pypdfium2  # noqa: PLC0415 # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise LidiagError("Reading PDFs needs pypdfium2, which is not installed.", "Install it: pip install 'lidiag[pdf]'.") from error
    return pypdfium2
