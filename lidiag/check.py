"""Is this model loaded as its authors meant it? The load check by itself, on a sample, before anything is refused or stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from lidiag import battery
from lidiag.adapter import Adapter
from lidiag.bench import Bench
from lidiag.dataset import Dataset, Document
from lidiag.multivector import MultiVectors
from lidiag.probe import Probe
from lidiag.report import Result
from lidiag.watch import Watch

Item = TypeVar("Item")

_QUERIES = 32
_DOCUMENTS = 64


def check(  # noqa: PLR0913 - what a run would be told
    adapter: Adapter, dataset: Dataset, probe: Probe, *, batch_size: int, seed: int, watch: Watch
) -> Result:
    """Run one probe on a seeded sample of a collection, encoded as the adapter gives it.

    A run refuses vectors that cannot be right at the door; here they come through, so that the probe can say what is wrong.
    """
    rng = np.random.default_rng([seed, 3])
    judged = [query for query in dataset.queries if any(grade > 0 for grade in dataset.relevance.get(query.id, {}).values())]
    queries = [judged[i] for i in np.sort(rng.permutation(len(judged))[:_QUERIES])]
    wanted = {d for query in queries for d in dataset.relevance[query.id]}
    order = sorted(rng.permutation(len(dataset.documents)), key=lambda i: dataset.documents[i].id not in wanted)
    documents = [dataset.documents[i] for i in sorted(order[:_DOCUMENTS])]
    kept = {document.id for document in documents}
    relevance = {query.id: {d: g for d, g in dataset.relevance[query.id].items() if d in kept} for query in queries}
    sample = Dataset(dataset.name, queries, documents, relevance, dataset.revision, dataset.language)

    def encode_documents(items: Sequence[Document]) -> MultiVectors:
        return MultiVectors.concat([adapter.documents(items[i : i + batch_size]) for i in range(0, len(items), batch_size)])

    def encode_queries(texts: Sequence[str]) -> MultiVectors:
        return MultiVectors.concat([adapter.queries(texts[i : i + batch_size]) for i in range(0, len(texts), batch_size)])

    bench = Bench(
        dataset=sample,
        adapter=adapter,
        query_ids=[query.id for query in queries],
        queries=encode_queries([query.text for query in queries]),
        documents=encode_documents(documents),
        encode_documents=encode_documents,
        encode_queries=encode_queries,
        seed=seed,
    )
    (outcome,) = battery.measure([probe], bench, watch)
    return outcome.result(dataset.name)
