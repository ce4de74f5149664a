"""The collections of a run: which they are, loaded and limited, and what is said of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lidiag import catalog
from lidiag.adapter import Adapter
from lidiag.bench import Bench
from lidiag.choice import choose
from lidiag.dataset import DataOptions, Dataset
from lidiag.errors import LidiagError
from lidiag.report import DataUsed
from lidiag.request import Request
from lidiag.suite import Suite
from lidiag.watch import Watch

DOCUMENTS_PER_QUERY = 10
"""How many documents a limited collection has, at most, beside those that are judged."""


@dataclass(frozen=True)
class Unusable(Dataset):
    """A collection that could not be had: gated, missing or faulty. It holds nothing, and breaks where it is to be encoded."""

    cause: LidiagError = field(kw_only=True)


def load(suites: Sequence[Suite], adapter: Adapter, request: Request, watch: Watch) -> list[Dataset]:
    """Load what is to be measured; a collection that cannot be had is left out of nothing but its own step.

    Raises:
        LidiagError: a name is unknown, not one of them can be had, or two have the same name.
    """
    choice = choose(request.data, suites, adapter.card)
    names = list(dict.fromkeys(member for name in choice.names for member in catalog.members(name)))
    if choice.why:
        watch.remark(choice.why[0].upper() + choice.why[1:])
    found: list[Dataset] = []
    for name in names:
        if len(names) > 1:
            watch.remark(f"Loading {name}")
        try:
            found.append(limited(_dataset(name, request), request))
        except LidiagError as error:
            found.append(Unusable(name, (), (), {}, cause=error))
    causes = [dataset.cause for dataset in found if isinstance(dataset, Unusable)]
    if len(causes) == len(found) and choice.why:
        builtin = "builtin:pages" if "image" in adapter.card.modalities else "builtin:facts"
        raise LidiagError(
            f"No collection of {', '.join(choice.names)} can be had ({choice.why}). The first: {causes[0].what}",
            f"Name your own with --data FOLDER, a mirror of the hub with --data-dir FOLDER, or what needs no download: --data {builtin}.",
        ) from causes[0]
    if len(causes) == len(found):
        raise causes[0]
    _refuse_equal_names([dataset.name for dataset in found])
    return found


def _refuse_equal_names(names: Sequence[str]) -> None:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise LidiagError(
            f"Two of the collections are named {twice!r}, and a report tells them apart by their names.",
            "Rename one folder, or run them one by one.",
        )


def _dataset(name: str, request: Request) -> Dataset:
    dataset = catalog.dataset(name, DataOptions(offline=request.offline, data_dir=request.data_dir))
    if request.queries is None:
        return dataset
    from lidiag.datasets import beir  # noqa: PLC0415 - needed for --queries alone

    return beir.queries_from(dataset, request.queries)


def limited(dataset: Dataset, request: Request) -> Dataset:
    """Keep the first `limit` queries with a relevant document, what they judge, and a seeded draw of other documents."""
    if request.limit is None:
        return dataset
    positive = {q for q, judged in dataset.relevance.items() if any(grade > 0 for grade in judged.values())}
    queries = [query for query in dataset.queries if query.id in positive][: request.limit]
    relevance = {query.id: dataset.relevance[query.id] for query in queries}
    judged = {document for row in relevance.values() for document in row}
    others = [i for i, document in enumerate(dataset.documents) if document.id not in judged]
    room = max(0, DOCUMENTS_PER_QUERY * request.limit - len(judged))
    drawn = np.random.default_rng([request.seed, 1]).permutation(len(others))[:room]
    kept = {others[i] for i in drawn} | {i for i, document in enumerate(dataset.documents) if document.id in judged}
    documents = [document for i, document in enumerate(dataset.documents) if i in kept]
    note = f"limited to {len(queries)} queries and {len(documents)} of {len(dataset.documents)} documents"
    notes = (*dataset.notes, note)
    return dataclasses.replace(dataset, queries=queries, documents=documents, relevance=relevance, notes=notes, benchmark=None)


def used(dataset: Dataset, bench: Bench | None) -> DataUsed:
    """Say what of a collection counted; nothing did where it was skipped."""
    judged = [q for q in dataset.queries if any(grade > 0 for grade in dataset.relevance.get(q.id, {}).values())]
    counted = len(bench) if bench else 0
    left_out = {"no positive judgement": len(dataset.queries) - len(judged)}
    left_out |= {"no token vector": len(judged) - counted} if bench else {"skipped": len(judged)}
    return DataUsed(
        name=dataset.name,
        revision=dataset.revision,
        fingerprint=dataset.fingerprint,
        documents=len(dataset.documents),
        queries=counted,
        left_out=left_out,
        empty_documents=int((bench.lengths == 0).sum()) if bench else 0,
        document_vectors=len(bench.documents.vectors) if bench else 0,
        query_vectors=len(bench.queries.vectors) if bench else 0,
        notes=dataset.notes,
    )


def unused(dataset: Dataset, cause: LidiagError) -> DataUsed:
    """Say of a collection that it broke before anything was measured on it."""
    return DataUsed(
        name=dataset.name,
        revision=dataset.revision,
        fingerprint="",
        documents=len(dataset.documents),
        queries=0,
        left_out={"broken": len(dataset.queries)},
        empty_documents=0,
        document_vectors=0,
        query_vectors=0,
        notes=(f"broken: {cause.what}",),
    )
