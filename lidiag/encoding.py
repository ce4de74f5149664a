"""A model's vectors of a collection, through the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lidiag.adapter import Adapter
from lidiag.dataset import Document
from lidiag.multivector import MultiVectors
from lidiag.store import Job, Store

# A page counts as much as a long text: it is made of about a thousand patches.
_PAGE_SIZE = 4096


@dataclass(frozen=True)
class Encoder:
    """One model behind the store; items are encoded in batches of `batch_size`."""

    adapter: Adapter
    store: Store
    batch_size: int
    device: str

    def documents(self, documents: Sequence[Document], advance: Callable[[int], None] = lambda _: None) -> MultiVectors:
        """Return the vectors of documents, in their order."""
        sizes = [len(document.text) + (_PAGE_SIZE if document.page else 0) for document in documents]
        digests = [document.digest() for document in documents]
        names = [document.id for document in documents]
        job = Job(
            self.adapter.card, "document", documents, names, digests, sizes, self.adapter.documents, self.batch_size, self.device
        )  # fmt: skip
        return self.store.fetch(job, advance)

    def queries(self, texts: Sequence[str], advance: Callable[[int], None] = lambda _: None) -> MultiVectors:
        """Return the vectors of queries, in their order."""
        digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        sizes = [len(text) for text in texts]
        job = Job(self.adapter.card, "query", texts, texts, digests, sizes, self.adapter.queries, self.batch_size, self.device)
        return self.store.fetch(job, advance)
