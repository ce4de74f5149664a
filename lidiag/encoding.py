"""A model's vectors of a collection, through the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lidiag.adapter import Adapter, Side, States
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.store import Encode, Job, Store

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
        return self.store.fetch(self.document_job(documents), advance)

    def document_job(self, documents: Sequence[Document]) -> Job[Document]:
        """Return the set of these documents, for the store."""
        sizes = [len(document.text) + (_PAGE_SIZE if document.page else 0) for document in documents]
        digests = [document.digest() for document in documents]
        names = [document.id for document in documents]
        return Job(self.adapter.card, "document", documents, names, digests, sizes, self.adapter.documents, self.batch_size, self.device)

    def states(self, side: Side, items: Sequence[str] | Sequence[Document], layer: int) -> MultiVectors:
        """Return the frozen states of a layer behind the vectors of queries (texts) or documents, in their order.

        Raises:
            Skip: the model hands out none, or has no such layer.
        """
        adapter = self.adapter
        if not isinstance(adapter, States):
            raise Skip(f"{adapter.card.name} hands out no states of its tokens")
        encode: Encode[Any] = partial(adapter.query_states if side == "query" else adapter.document_states, layer=layer)
        digests = [item.digest() if isinstance(item, Document) else hashlib.sha256(item.encode()).hexdigest() for item in items]
        names = [item.id if isinstance(item, Document) else item for item in items]
        sizes = [len(item.text) + (_PAGE_SIZE if item.page else 0) if isinstance(item, Document) else len(item) for item in items]
        try:
            card = adapter.card.model_copy(update={"dim": encode(items[:1]).dim, "unit_rows": False})
        except LidiagError as error:  # only here: that the disk is full, say, is no property of the model
            raise Skip(str(error)) from error
        return self.store.fetch(
            Job(card, f"{side} states of layer {layer}", items, names, digests, sizes, encode, self.batch_size, self.device)
        )

    def queries(self, texts: Sequence[str], advance: Callable[[int], None] = lambda _: None) -> MultiVectors:
        """Return the vectors of queries, in their order."""
        return self.store.fetch(self.query_job(texts), advance)

    def query_job(self, texts: Sequence[str]) -> Job[str]:
        """Return the set of these queries, for the store."""
        digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        sizes = [len(text) for text in texts]
        return Job(self.adapter.card, "query", texts, texts, digests, sizes, self.adapter.queries, self.batch_size, self.device)
