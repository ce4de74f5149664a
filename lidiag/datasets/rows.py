"""One line of a corpus or of queries: its id, texts and page, each checked as it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from lidiag.dataset import Document, Page, Query
from lidiag.datasets import pdf
from lidiag.datasets.lines import Faults, objects, show
from lidiag.errors import LidiagError


def read_documents(path: Path, faults: Faults) -> dict[str, Document]:
    """Read a corpus, by id: text is `title + " " + text`; a line with an image needs no text."""
    documents: dict[str, Document] = {}
    for row in _rows(path, faults):
        page = row.page()
        title = row.text("title", needed=False)
        text = row.text("text", needed=page is None)
        documents[row.id] = Document(row.id, f"{title} {text}" if title and text else (title or text).strip(), page)
    return documents


def read_queries(path: Path, faults: Faults) -> dict[str, Query]:
    """Read queries, by id."""
    return {row.id: Query(row.id, row.text("text", needed=True)) for row in _rows(path, faults)}


@dataclass(frozen=True)
class _Row:
    path: Path
    number: int
    id: str
    values: Mapping[str, Any]
    faults: Faults
    pages: dict[Path, int]  # of the PDFs that lines before this one name

    def text(self, key: str, *, needed: bool) -> str:
        value = self.values.get(key)
        if value is None and not needed:
            return ""
        if not isinstance(value, str):
            self.fault(f"has as {key} no string but {show(value)}" if key in self.values else f"has no {key}")
            return ""
        return value

    def page(self) -> Page | None:
        metadata = self.values.get("metadata")
        value = self.values.get("image") or (metadata.get("image") if isinstance(metadata, dict) else None)
        if value is None:
            return None
        file, number = pdf.named(value) if isinstance(value, str) else (value, None)
        wrong = _outside(file, self.path.parent)
        if wrong is None and isinstance(file, str) and file.lower().endswith(".pdf"):
            return self._pdf_page(self.path.parent / file, number)
        if wrong is None and number is not None:
            wrong = "which is no PDF and has no pages"
        if wrong is None and isinstance(file, str):
            return Page(self.path.parent / file)
        self.fault(f"has the image {show(value)}, {wrong}")
        return None

    def _pdf_page(self, file: Path, number: int | None) -> Page | None:
        try:
            if file not in self.pages:
                self.pages[file] = pdf.count(file)
        except LidiagError as error:
            self.fault(f"has an image that cannot be used: {error}")
            return None
        pages = self.pages[file]
        if number is None and pages > 1:
            self.fault(f"has the image {show(file.name)}, which has {pages} pages; say which one: {file.name}#page=1")
            return None
        if not 1 <= (1 if number is None else number) <= pages:
            self.fault(f"has a page of {show(file.name)} that is not one of 1 to {pages}")
            return None
        return pdf.page(file, number or 1)

    def fault(self, what: str) -> None:
        self.faults.add(self.path, self.number, what)


def _rows(path: Path, faults: Faults) -> Iterator[_Row]:
    first: dict[str, int] = {}
    pages: dict[Path, int] = {}
    for number, values in objects(path, faults):
        value = values.get("_id")
        # Collections numbered by a program often hold the number itself; a file of columns cannot tell the two apart.
        row_id = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if "_id" not in values:
            faults.add(path, number, f"has no _id; its keys are {show(list(values))}")
        elif not isinstance(row_id, str) or not row_id:
            faults.add(path, number, f"has as _id no usable string but {show(value)}")
        elif first.setdefault(row_id, number) != number:
            faults.add(path, number, f"has the _id {show(row_id)}, as line {first[row_id]} has")
        else:
            yield _Row(path, number, row_id, values, faults, pages)


def _outside(value: object, folder: Path) -> str | None:
    """Say why `value` names no file inside `folder`; None where it does."""
    if not isinstance(value, str) or "\0" in value:
        return "which is no path"
    if PurePath(value).is_absolute() or ".." in PurePath(value).parts:
        return "which is no relative path inside the folder"
    try:
        file = (folder / value).resolve()
        if not file.is_relative_to(folder.resolve()):
            return "which a link leads out of the folder"
        return None if file.is_file() else "and there is no such file"
    except (OSError, RuntimeError) as error:  # a name too long, or links in a circle
        return f"which cannot be found ({error})"
