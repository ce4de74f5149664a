"""What is wrong with a folder in the BEIR layout, and what the probes will see of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lidiag.dataset import DataOptions, Document
from lidiag.datasets import beir
from lidiag.datasets.lines import Fault, Faults, show
from lidiag.errors import LidiagError

# Chinese and Japanese write no spaces: there a character counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


@dataclass(frozen=True)
class Spread:
    """How counts are spread: their mean and quantiles."""

    mean: float
    least: float
    quarter: float
    median: float
    three_quarters: float
    most: float

    @classmethod
    def of(cls, counts: Collection[float]) -> Spread | None:
        """Return the spread of `counts`; None of nothing."""
        if not counts:
            return None
        values = np.array(list(counts))
        return cls(float(values.mean()), *np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist())


@dataclass(frozen=True)
class Texts:
    """The documents or the queries of a folder.

    `pages` have an image; `empty` have neither image nor text; `duplicates` hold what an earlier one holds; `words`, runs of
    letters and digits, are counted per text.
    """

    count: int
    pages: int
    empty: int
    duplicates: int
    words: Spread | None


@dataclass(frozen=True)
class Judged:
    """The judgements of a folder.

    `relevant_length_ratio` is the mean length in words of a query's relevant documents over that of all others, averaged
    over queries: far from 1, length alone tells relevance. None where no query has both.
    """

    count: int
    queries: int
    queries_without_positive: int
    positives_per_query: Spread | None
    relevant_length_ratio: float | None


@dataclass(frozen=True)
class DataCheck:
    """The first thousand faults of `fault_count`, in the order found, and statistics of what could be read."""

    folder: str
    faults: tuple[Fault, ...]
    fault_count: int
    notes: tuple[str, ...]
    documents: Texts
    queries: Texts
    judged: Judged
    megapixels: Spread | None = None  # of the pages: what the number of patches follows in many models


def check(folder: Path, options: DataOptions | None = None) -> DataCheck:
    """Read a folder as `beir.load` does and decode its pages; report every fault instead of refusing the first.

    Raises:
        LidiagError: there is no such folder, or it cannot be told which of its files to read.
    """
    root = beir.existing(str(folder))
    faults = Faults()
    documents = beir.read_corpus(root, faults)
    questions = beir.read_questions(root, options or DataOptions(), faults)
    source = beir.source(root)
    beir.hold_together(questions, documents, source, faults)
    pixels = _pixels(documents.values(), source, faults)
    words = {document.id: len(_WORD.findall(document.text)) for document in documents.values()}
    positives = {query: {d for d, grade in row.items() if grade > 0} for query, row in questions.relevance.items()}
    asked = [Document(query.id, query.text) for query in questions.queries.values()]
    return DataCheck(
        folder=str(folder),
        faults=tuple(faults.kept),
        fault_count=faults.count,
        notes=questions.notes,
        documents=_texts(list(documents.values()), list(words.values())),
        queries=_texts(asked, [len(_WORD.findall(document.text)) for document in asked]),
        judged=Judged(
            count=sum(map(len, questions.relevance.values())),
            queries=len(positives),
            queries_without_positive=sum(not found for found in positives.values()),
            positives_per_query=Spread.of([len(found) for found in positives.values()]),
            relevant_length_ratio=_length_ratio(words, positives.values()),
        ),
        megapixels=Spread.of([count / 1e6 for count in pixels]),
    )


def text(found: DataCheck) -> str:
    """Return the check as lines of text: the faults, then what is there."""
    lines = [f"{fault}" for fault in found.faults]
    if found.fault_count > len(found.faults):
        lines.append(f"... and {found.fault_count - len(found.faults):,} more faults")
    lines.append(f"{found.folder}: {found.fault_count:,} faults" if found.fault_count else f"{found.folder}: no fault")
    lines += [f"note: {note}" for note in found.notes]
    for name, side in (("documents", found.documents), ("queries", found.queries)):
        pages = f", {side.pages:,} with a page image" if side.pages else ""
        lines.append(f"{name}: {side.count:,} ({side.empty:,} empty, {side.duplicates:,} duplicates{pages})")
        if side.words:
            lines.append(f"  words: {_spread(side.words)}")
        if name == "documents" and found.megapixels:
            lines.append(f"  megapixels of a page: {_spread(found.megapixels)}")
    judged = found.judged
    lines.append(
        f"judgements: {judged.count:,} of {judged.queries:,} queries, {judged.queries_without_positive:,} of them without a positive one"
    )
    if judged.positives_per_query:
        lines.append(f"  relevant documents per query: {_spread(judged.positives_per_query)}")
    if judged.relevant_length_ratio is not None:
        lines.append(
            f"  relevant documents have {judged.relevant_length_ratio:.2f} times the words of the others: far from 1, length alone tells relevance"
        )
    return "\n".join(lines)


def _spread(spread: Spread) -> str:
    least, quarter, median, three_quarters, most = map(
        _number, (spread.least, spread.quarter, spread.median, spread.three_quarters, spread.most)
    )
    return f"mean {_number(spread.mean)}; from {least} over {quarter}, {median} (median) and {three_quarters} to {most}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def _texts(documents: Sequence[Document], words: Sequence[int]) -> Texts:
    contents = {(document.text, document.page and (document.page.identity or document.page.source)) for document in documents}
    return Texts(
        count=len(documents),
        pages=sum(document.page is not None for document in documents),
        empty=sum(not document.text.strip() and document.page is None for document in documents),
        duplicates=len(documents) - len(contents),
        words=Spread.of(words),
    )


def _length_ratio(words: Mapping[str, int], positives: Iterable[set[str]]) -> float | None:
    total = sum(words.values())
    ratios: list[float] = []
    for found in positives:
        known = [words[document] for document in found if document in words]
        others = len(words) - len(known)
        rest = total - sum(known)
        if known and others and rest:
            ratios.append((sum(known) / len(known)) / (rest / others))
    return float(np.mean(ratios)) if ratios else None


def _pixels(documents: Iterable[Document], source: str, faults: Faults) -> list[int]:
    """Decode every page, one after another, and return their numbers of pixels."""
    counts: list[int] = []
    for document in documents:
        if document.page is not None:
            try:
                image = document.page.open()
                counts.append(image.width * image.height)
            except LidiagError as error:
                faults.add(source, 0, f"has the document {show(document.id)} with an image that fails: {error.what}")
    return counts
