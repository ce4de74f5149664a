"""A folder's page images and PDFs as documents, where no corpus.jsonl says which there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lidiag.dataset import Document, Page
from lidiag.datasets import pdf
from lidiag.datasets.lines import Faults
from lidiag.errors import LidiagError

_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})


def files(folder: Path) -> list[Path]:
    """Return the images and PDFs in a folder and in those below it, in the order of their paths; hidden ones are left out."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in _IMAGES | {".pdf"} and path.is_file()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read(folder: Path, found: list[Path], faults: Faults) -> dict[str, Document]:
    """Return one document per image, and one per page of a PDF with its text layer beside it.

    Its id is the file's path in the folder, `scans/a.png`, and for a PDF with the page's number from 1: `report.pdf#page=3`.
    """
    return {document.id: document for path in found for document in _documents(folder, path, faults)}


def _documents(folder: Path, path: Path, faults: Faults) -> Iterator[Document]:
    name = path.relative_to(folder).as_posix()
    if not path.resolve().is_relative_to(folder.resolve()):
        faults.add(name, 0, "is a link out of the folder")
    elif path.suffix.lower() != ".pdf":
        yield Document(name, page=Page(path))
    else:
        try:
            for number, (text, page) in enumerate(pdf.pages(path), 1):
                yield Document(f"{name}#page={number}", text, page)
        except LidiagError as error:
            faults.add(name, 0, f"cannot be used: {error}")
