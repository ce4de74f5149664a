"""Judgements from files of columns: BEIR's three with or without a header, or TREC's four."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from lidiag.datasets.lines import Faults, lines, refuse_twins, show
from lidiag.errors import LidiagError, unknown

_GRADE = re.compile(r"[+-]?[0-9]{1,9}")
_QUERY_HEADS = {"query-id", "queryid", "qid", "query"}
_GRADE_HEADS = {"score", "relevance", "rel", "grade", "label"}
_BEIR, _TREC = 3, 4


class Judgement(NamedTuple):
    """One judged pair, and the line it stands on."""

    query: str
    document: str
    grade: int
    line: int


@dataclass(frozen=True)
class Judgements:
    """The judged pairs of one file."""

    path: Path
    rows: Sequence[Judgement]

    @cached_property
    def relevance(self) -> dict[str, dict[str, int]]:
        """Grades, by query id and document id."""
        relevance: dict[str, dict[str, int]] = {}
        for row in self.rows:
            relevance.setdefault(row.query, {})[row.document] = row.grade
        return relevance

    def require(self, column: Literal["query", "document"], known: Mapping[str, object], where: str, faults: Faults) -> None:
        """Note it where judged ids are not among the `known` ones, those of `where`."""
        ids = {getattr(row, column): row.line for row in reversed(self.rows)}
        strangers = sorted((line, name) for name, line in ids.items() if name not in known)
        if strangers:
            names = ", ".join(show(name) for _, name in strangers[:3]) + (", ..." if len(strangers) > 3 else "")  # noqa: PLR2004 - three are enough
            what = f"names a {column} that {where} does not hold; {len(strangers):,} of {len(ids):,} {column} ids are unknown: {names}"
            faults.add(self.path, strangers[0][0], what)

    def require_positive(self, faults: Faults) -> None:
        """Note it where nothing is relevant."""
        if not any(row.grade > 0 for row in self.rows):
            what = f"has no score above 0 in its {len(self.rows):,} judgements, so nothing is relevant"
            faults.add(self.path, 0, what)


def files(folder: Path) -> dict[str, Path]:
    """Return a folder's files of judgements by their names: `qrels.tsv`, `qrels.*.tsv`, `qrels/<split>.tsv`, each also `.gz`.

    Raises:
        LidiagError: one of them stands beside its own `.gz`.
    """
    patterns = ("qrels*.tsv", "qrels*.tsv.gz", "qrels/*.tsv", "qrels/*.tsv.gz")
    found = {path.relative_to(folder).as_posix(): path for pattern in patterns for path in sorted(folder.glob(pattern))}
    refuse_twins(folder, found)
    return found


def choose(folder: Path, found: Sequence[str], split: str | None, file: str | None) -> str:
    """Return the name of the file to use: `file`, or that of `split`; else `qrels.tsv`, the split `test`, or the only one.

    Raises:
        LidiagError: the one asked for is not there, or there is no way to tell which.
    """
    splits = {name.removeprefix("qrels/").removesuffix(".gz").removesuffix(".tsv"): name for name in found if name.startswith("qrels/")}
    if file is not None and split is not None:
        raise LidiagError(f"Both split={split} and qrels={file} are asked for.", "Give one of them.")
    if file is not None and file not in found:
        raise unknown(f"file of judgements in {folder}", file, found, "the folder itself")
    if split is not None and split not in splits:
        raise unknown(f"split in {folder / 'qrels'}", split, splits, "the folder itself")
    if file is not None:
        return file
    if split is not None:
        return splits[split]
    usual = ("qrels.tsv", "qrels.tsv.gz", "qrels/test.tsv", "qrels/test.tsv.gz")
    if best := [name for name in usual if name in found] or (found if len(found) == 1 else []):
        return best[0]
    how = f"?split={next(iter(splits))}" if splits else f"?qrels={found[0]}"
    raise LidiagError(
        f"{folder} has several files of judgements, and none is qrels.tsv or qrels/test.tsv: {', '.join(found)}.",
        f"Say which, for example {folder}{how}.",
    )


def read(path: Path, faults: Faults) -> Judgements:
    """Read judgements; a pair judged twice is a fault where the grades differ."""
    judged: dict[tuple[str, str], Judgement] = {}
    for row in _rows(path, faults):
        first = judged.setdefault(row[:2], row)
        if first.grade != row.grade:
            pair = f"query {show(row.query)} and document {show(row.document)}"
            faults.add(path, row.line, f"grades {pair} {row.grade}, and line {first.line} grades them {first.grade}")
    return Judgements(path, list(judged.values()))


def _rows(path: Path, faults: Faults) -> Iterator[Judgement]:
    separator: str | None = None
    width = 0
    for number, text in lines(path, faults):
        first = not width
        if first:
            separator = "\t" if "\t" in text else None
        fields = [field.strip() for field in text.split(separator)]
        if first:
            width = _TREC if len(fields) == _TREC else _BEIR
            if _is_header(fields):
                continue
        query, document, grade = fields[0], fields[-2] if len(fields) > 1 else "", fields[-1]
        if len(fields) != width:
            faults.add(path, number, f"has {len(fields)} columns, not {width} parted by {'tabs' if separator else 'spaces'}")
        elif not _GRADE.fullmatch(grade):
            faults.add(path, number, f"has the score {show(grade)}, not a whole number")
        elif not query or not document:
            faults.add(path, number, f"has no {'document' if query else 'query'} id")
        else:
            yield Judgement(query, document, int(grade), number)


def _is_header(fields: Sequence[str]) -> bool:
    first, last = fields[0].lower().replace("_", "-"), fields[-1].lower()
    return first in _QUERY_HEADS and last in _GRADE_HEADS
