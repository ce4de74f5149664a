"""A `MultiVectorEncoder` as an adapter: one batch is one forward pass, and every kept token has its label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lidiag.adapter import Label, Side
from lidiag.adapters import _naming
from lidiag.adapters._reading import Reader, apart, chosen, packed
from lidiag.adapters._training import trainable
from lidiag.card import ModelCard
from lidiag.dataset import Document
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder


class MultiVectorModel:
    """Queries and documents as the library encodes them, batch by batch."""

    def __init__(self, model: MultiVectorEncoder, card: Callable[[MultiVectorModel], ModelCard]) -> None:
        """Take a loaded model in evaluation mode; `card` describes the finished adapter."""
        self.model = model
        self.reader = Reader(model)
        self.card = card(self)

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        """Encode one batch of queries in one forward pass."""
        return self._encode(texts, "query")

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        """Encode one batch of documents in one forward pass; a model that reads pages reads them, not the text beside.

        Raises:
            Skip: a document is a page and the model reads text only, or the reverse.
        """
        return apart(self._contents(documents), lambda items: self._encode(items, "document"))

    def query_states(self, texts: Sequence[str], layer: int = -1) -> MultiVectors:
        """Return the backbone's states of the query tokens that `queries` keeps."""
        return self._states(texts, "query", layer)

    def document_states(self, documents: Sequence[Document], layer: int = -1) -> MultiVectors:
        """Return the backbone's states of the document tokens that `documents` keeps."""
        return apart(self._contents(documents), lambda items: self._states(items, "document", layer))

    def labels(self, side: Side, item: str | Document) -> list[Label]:
        """Say what each vector of one item stands for.

        Raises:
            Skip: the model merges tokens, so that a vector has no one token.
        """
        self._refuse_merging(side)
        content = self._contents([item])[0] if isinstance(item, Document) else item
        return _naming.labels(self.reader, content, side, lambda features: self._mask(features, side))

    def library_scores(self, queries: MultiVectors, documents: MultiVectors) -> Tensor:
        """Score (queries, documents) with the library's own scorer, fp32 on the CPU."""
        return self.model.similarity(list(queries), list(documents)).float().cpu()

    def copy(self) -> nn.Module:
        """Return a copy of the whole model, every weight of it trainable, without dropout."""
        return trainable(self.model)

    def encode(self, copy: nn.Module, side: Side, items: Sequence[str | Document]) -> MultiVectors:
        """Encode one batch, of texts or of pages, with gradients through `copy`."""
        contents = [self.reader.content(item, self.card.name) if isinstance(item, Document) else item for item in items]
        output = copy(self.reader.to_device(self.reader.features(contents, side)), task=side)
        return MultiVectors.unpad(output["token_embeddings"], output["attention_mask"])

    def unit_rows(self) -> bool:
        """Say whether the last step that changes a token vector gives it length 1."""
        from sentence_transformers.base.modules import Dense, Normalize  # noqa: PLC0415 - imported by now

        unit = self.reader.first.transformer_task == "retrieval"
        for module in self.model:
            if isinstance(module, Normalize) and module.module_output_name == "token_embeddings":
                unit = True
            elif isinstance(module, Dense) or hasattr(module, "pool_one"):
                unit = bool(getattr(module, "normalize_embeddings", False))
        return unit

    def probe(self) -> Tensor:
        """Return the vectors of one short query, with gradients."""
        features = self.reader.to_device(self.reader.features(["a"], "query"))
        return self.model(features, task="query")["token_embeddings"]

    def _contents(self, documents: Sequence[Document]) -> list[Any]:
        return [self.reader.content(document, self.card.name) for document in documents]

    def _encode(self, items: Sequence[Any], side: Side) -> MultiVectors:
        if not items:
            return MultiVectors(torch.zeros(0, self.card.dim), torch.zeros(1, dtype=torch.int64))
        features = self.reader.features(items, side)
        cut = self.reader.cut(items, features, side)
        with torch.no_grad():
            output = self.model(self.reader.to_device(features), task=side)
        return packed(output["token_embeddings"], output["attention_mask"], cut)

    def _states(self, items: Sequence[Any], side: Side, layer: int) -> MultiVectors:
        self._refuse_merging(side)
        output, layers = self.reader.run(self.reader.features(items, side), side, self.card.name)
        return packed(chosen(layers, layer, self.card.name), output["attention_mask"])

    def _mask(self, features: dict[str, Any], side: Side) -> Tensor:
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask  # noqa: PLC0415 - imported by now

        for module in self.model:
            if isinstance(module, MultiVectorMask):
                features = module(dict(features), task=side)
        return features["attention_mask"].bool()

    def _refuse_merging(self, side: Side) -> None:
        modules: list[Any] = list(self.model)
        for module in modules:
            if hasattr(module, "pool_one") and module.applies_to(side) and getattr(module, "pool_factor", 2) > 1:
                raise Skip(f"{self.card.name} merges {side} tokens ({type(module).__name__}), so its vectors stand for no one token")
