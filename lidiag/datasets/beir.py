"""A local folder in the BEIR layout: `corpus.jsonl`, `queries.jsonl`, and `qrels.tsv` or `qrels/<split>.tsv`; each may be `.gz`.

A line of the corpus is `{"_id", "title", "text"}`; the document's text is `title + " " + text`. `title` may be missing. A
line may name a page image, `image` or `metadata.image`, relative to the folder; then `text` may be missing, too. The image
may be a page of a PDF: `report.pdf#page=3`. A line of the queries is `{"_id", "text"}`.

Without `corpus.jsonl` the folder's images and the pages of its PDFs are the documents, named by their paths: `scans/a.png`,
`report.pdf#page=3`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lidiag.dataset import DataOptions, Dataset, Document, Query
from lidiag.datasets import page_files, qrels
from lidiag.datasets.lines import Faults, refuse_twins
from lidiag.datasets.qrels import Judgements
from lidiag.datasets.rows import read_documents, read_queries
from lidiag.errors import LidiagError
from lidiag.files import expanded, sha256

_SHOWN = 8


def names() -> list[str]:
    """Return nothing: folders are the user's own."""
    return []


def load(name: str, options: DataOptions) -> Dataset:
    """Read a folder; `?split=dev` takes `qrels/dev.tsv`, `?qrels=FILE` another file of judgements.

    Queries that the chosen judgements do not name belong to other splits: they are left out, and `notes` counts them.

    Raises:
        LidiagError: a file is missing or not valid, with file and line of the first faults.
    """
    folder = existing(name)
    faults = Faults()
    documents = read_corpus(folder, faults)
    questions = read_questions(folder, options, faults)
    hold_together(questions, documents, source(folder), faults)
    faults.refuse(name, f"Mend it; `lidiag data check {name}` lists every fault.")
    return Dataset(
        name=_named(folder, options),
        queries=questions.asked,
        documents=list(documents.values()),
        relevance=questions.relevance,
        revision=_revision([*(_files(folder, "corpus.jsonl") or page_files.files(folder)), *questions.files]),
        notes=questions.notes,
    )


def queries_from(dataset: Dataset, folder: Path, options: DataOptions | None = None) -> Dataset:
    """Return `dataset` with the questions and judgements of another folder: its documents stay.

    Raises:
        LidiagError: a file is missing or not valid, or a judgement names a document that `dataset` does not hold.
    """
    options = options or DataOptions()
    existing(str(folder))
    faults = Faults()
    questions = read_questions(folder, options, faults)
    hold_together(questions, {document.id: document for document in dataset.documents}, dataset.name, faults)
    faults.refuse(folder, f"Mend it, or name a folder of questions about the documents of {dataset.name}.")
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name}?queries={_named(folder, options)}",
        queries=questions.asked,
        relevance=questions.relevance,
        revision=hashlib.sha256(f"{dataset.revision} {_revision(questions.files)}".encode()).hexdigest()[:40],
        groups={},
        notes=(*dataset.notes, *questions.notes),
        benchmark=None,
    )


def existing(name: str) -> Path:
    """Return the folder of that name.

    Raises:
        LidiagError: there is none.
    """
    folder = expanded(name)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise LidiagError(f"{name} {what}.", "Name the folder that holds corpus.jsonl, queries.jsonl and qrels.tsv.")
    return folder


def read_corpus(folder: Path, faults: Faults) -> dict[str, Document]:
    """Read `corpus.jsonl`, or the pages of a folder without it, by id.

    Raises:
        LidiagError: it stands beside its own `.gz`.
    """
    before = faults.count
    lines = _files(folder, "corpus.jsonl")
    if not lines and (found := page_files.files(folder)):
        return page_files.read(folder, found, faults)
    documents = {id_: document for path in _files(folder, "corpus.jsonl", faults) for id_, document in read_documents(path, faults).items()}
    if not documents and faults.count == before:
        faults.add("corpus.jsonl", 0, "holds no document")
    return documents


def source(folder: Path) -> str:
    """Return what holds the documents, for messages."""
    return "corpus.jsonl" if _files(folder, "corpus.jsonl") or not page_files.files(folder) else "the folder"


@dataclass(frozen=True)
class Questions:
    """What `queries.jsonl` and the chosen file of judgements say."""

    queries: Mapping[str, Query]
    judgements: Judgements | None
    files: tuple[Path, ...]
    others: tuple[str, ...]  # files of judgements that were not chosen

    @property
    def relevance(self) -> dict[str, dict[str, int]]:
        """Grades, by query id and document id."""
        return self.judgements.relevance if self.judgements else {}

    @property
    def asked(self) -> list[Query]:
        """The queries with a judgement, in their file's order."""
        return [query for query in self.queries.values() if query.id in self.relevance]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the report must know about the choice."""
        chosen = self.files[-1].name
        notes: list[str] = []
        if self.others:
            notes.append(f"judgements are those of {chosen}; not used: {', '.join(self.others)}")
        if unjudged := len(self.queries) - len(self.asked):
            notes.append(f"{unjudged:,} of {len(self.queries):,} queries are not judged in {chosen} and were left out")
        return tuple(notes)


def read_questions(folder: Path, options: DataOptions, faults: Faults) -> Questions:
    """Read `queries.jsonl` and the judgements that the options choose.

    Raises:
        LidiagError: it cannot be told which file to read.
    """
    options.require(f"the folder {folder}", ("split", "qrels"))
    queries_files = _files(folder, "queries.jsonl", faults)
    queries = {id_: query for path in queries_files for id_, query in read_queries(path, faults).items()}
    found = qrels.files(folder)
    if not found:
        faults.add("qrels.tsv", 0, f"is missing, and so is qrels/*.tsv; the folder holds {_listing(folder)}")
        return Questions(queries, None, tuple(queries_files), ())
    split = options.split or options.parameters.get("split")
    chosen = qrels.choose(folder, list(found), split, options.parameters.get("qrels"))
    judgements = qrels.read(found[chosen], faults)
    return Questions(queries, judgements, (*queries_files, found[chosen]), tuple(name for name in found if name != chosen))


def hold_together(questions: Questions, documents: Mapping[str, Document], where: str, faults: Faults) -> None:
    """Hold the judgements against queries and documents, those of `where`; not where a fault has left out lines of any."""
    if faults.count or questions.judgements is None:
        return
    questions.judgements.require("query", questions.queries, "queries.jsonl", faults)
    questions.judgements.require("document", documents, where, faults)
    questions.judgements.require_positive(faults)


def _files(folder: Path, name: str, faults: Faults | None = None) -> list[Path]:
    """Return `name` or `name.gz`; none is a fault."""
    there = [folder / found for found in (name, f"{name}.gz") if (folder / found).is_file()]
    refuse_twins(folder, [path.name for path in there])
    if not there and faults is not None:
        faults.add(name, 0, f"is missing; the folder holds {_listing(folder)}")
    return there


def _listing(folder: Path) -> str:
    try:
        holds = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return f"what cannot be listed ({error.strerror})"
    return (", ".join(holds[:_SHOWN]) or "nothing") + (", ..." if len(holds) > _SHOWN else "")


def _named(folder: Path, options: DataOptions) -> str:
    """Return `folder?key=value`: what tells this reading of the folder from others."""
    chosen = ({"split": options.split} if options.split else {}) | dict(options.parameters)
    tail = "&".join(f"{key}={value}" for key, value in sorted(chosen.items()))
    return folder.resolve().name + (f"?{tail}" if tail else "")


def _revision(files: Sequence[Path]) -> str:
    """Return the first 40 hex digits of a SHA-256 over files."""
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()[:40]
