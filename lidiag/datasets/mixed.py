"""`mixed:FOLDER,FOLDER`: several BEIR folders as one collection, to see which of them a model prefers - languages, mostly.

Documents and queries are named by their folder: `en/p000`. A query's relevant documents are relevant in every folder that has
documents of the same names: in parallel collections, translations of one another. Facets say which folder (`part`) an item is
from, and which original (`original`) a document is a version of.
"""

from __future__ import annotations

import hashlib

from lidiag.dataset import DataOptions, Dataset, Document, Query
from lidiag.datasets import beir
from lidiag.errors import LidiagError

_LEAST = 2


def load(name: str, options: DataOptions) -> Dataset:
    """Read the folders and put them side by side.

    Raises:
        LidiagError: there are fewer than two, two have one name, or one cannot be read.
    """
    folders = [part for part in name.split(",") if part]
    sets = {beir.existing(folder).resolve().name: beir.load(folder, options) for folder in folders}
    if len(folders) < _LEAST or len(sets) < len(folders):
        raise LidiagError(
            f"mixed:{name} names {len(folders)} folders, called {', '.join(sets) or 'nothing'}.",
            "Name two or more, of different names: mixed:data/en,data/de.",
        )
    originals = {part: {document.id for document in one.documents} for part, one in sets.items()}
    return Dataset(
        name=f"mixed:{'+'.join(sets)}",
        queries=[Query(f"{part}/{query.id}", query.text) for part, one in sets.items() for query in one.queries],
        documents=[
            Document(f"{part}/{document.id}", document.text, document.page) for part, one in sets.items() for document in one.documents
        ],
        relevance={
            f"{part}/{query}": {
                f"{other}/{document}": grade for other in sets for document, grade in judged.items() if document in originals[other]
            }
            for part, one in sets.items()
            for query, judged in one.relevance.items()
        },
        revision=hashlib.sha256(" ".join(one.revision for one in sets.values()).encode()).hexdigest()[:40],
        groups={f"{part}/{query.id}": query.id for part, one in sets.items() for query in one.queries},
        facets={
            f"{part}/{item.id}": {"part": part, "original": item.id}
            for part, one in sets.items()
            for item in (*one.queries, *one.documents)
        },
        notes=tuple(dict.fromkeys(note for one in sets.values() for note in one.notes)),
    )


def names() -> list[str]:
    """Return nothing: folders are the user's own."""
    return []
