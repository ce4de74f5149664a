"""`ir-datasets:ID`: a collection of the library ir_datasets, by its id there: `ir-datasets:beir/scifact/test`. Of the extra of that name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

from lidiag.dataset import DataOptions, Dataset, Document, Query
from lidiag.errors import LidiagError, unknown


def load(name: str, options: DataOptions) -> Dataset:
    """Load a collection, which the library downloads where it is not there yet; queries without judgement are left out.

    Raises:
        LidiagError: the library is not installed or knows no such id, the collection lacks documents, queries or judgements, or it
            cannot be had.
    """
    options.require(f"ir-datasets:{name}", ())
    library = _library()
    try:
        source = library.load(name)
    except KeyError:
        raise unknown("collection of ir_datasets", name, _known(library), "ir-datasets.com") from None
    for what in ("docs", "queries", "qrels"):
        if not getattr(source, f"has_{what}")():
            near = [other for other in _known(library) if other.startswith(f"{name}/")]
            step = f"Name a part that has: {', '.join(near[:5])}." if near else "Choose another."
            raise LidiagError(f"ir-datasets:{name} has no {what}.", step)
    if options.offline and not any(path.is_file() for path in (Path(library.util.home_path()) / name.split("/", maxsplit=1)[0]).rglob("*")):
        raise LidiagError(f"ir-datasets:{name} is not downloaded yet, and this run is offline.", "Run it once without --offline.")
    try:
        return _read(name, source)
    except (OSError, RuntimeError, ValueError) as error:
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise LidiagError(f"ir-datasets:{name} cannot be had: {cause}.", "See ir-datasets.com for where its data comes from.") from error


def _read(name: str, source: Any) -> Dataset:
    relevance: dict[str, dict[str, int]] = {}
    for row in source.qrels_iter():
        relevance.setdefault(str(row.query_id), {})[str(row.doc_id)] = int(row.relevance)
    documents = [Document(str(row.doc_id), row.default_text()) for row in source.docs_iter()]
    queries = [Query(str(row.query_id), row.default_text()) for row in source.queries_iter() if str(row.query_id) in relevance]
    ids = {document.id for document in documents}
    held = {query.id: {d: grade for d, grade in relevance[query.id].items() if d in ids} for query in queries}
    lost = sum(map(len, relevance.values())) - sum(map(len, held.values()))
    notes = (f"{lost:,} judgements name a document or a query that the collection lacks and were left out",) if lost else ()
    made = Dataset(f"ir-datasets:{name}", queries, documents, held, notes=notes)
    return dataclasses.replace(made, revision=made.fingerprint[:40])


def _known(library: Any) -> list[str]:
    return sorted(library.registry)


def _library() -> ModuleType:
    try:
        import ir_datasets  # noqa: PLC0415 # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise LidiagError(
            "Collections of ir_datasets need that library, which is not installed.", "Install it: pip install 'lidiag[ir-datasets]'."
        ) from error
    return ir_datasets
