"""A `MultiVectorEncoder` as an adapter: one batch is one forward pass, and every kept token has its label."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lidiag.adapter import Label, Side, text_of
from lidiag.adapters import _tokens
from lidiag.card import ModelCard
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

# What `model_max_length` says where a tokenizer has no limit is some 1e30.
_NO_LIMIT = 10**9


@dataclass(frozen=True)
class NoParameters:
    """Nothing can be set on these models."""


class MultiVectorModel:
    """Queries and documents as the library's `encode_query` and `encode_document` read them, batch by batch."""

    def __init__(self, model: MultiVectorEncoder, card: Callable[[MultiVectorModel], ModelCard]) -> None:
        """Take a loaded model in evaluation mode; `card` describes the finished adapter."""
        self.model = model
        self._first: Any = model[0]
        document = next((name for name in ("document", "passage", "corpus") if name in model.prompts), model.default_prompt_name)
        query = "query" if "query" in model.prompts else model.default_prompt_name
        self._prompts: dict[Side, str] = {
            "query": model.prompts.get(query or "", "") or "",
            "document": model.prompts.get(document or "", "") or "",
        }
        self.card = card(self)

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        """Encode one batch of queries in one forward pass."""
        return self._encode(texts, "query")

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        """Encode one batch of documents in one forward pass; a model that reads pages reads them, not the text beside.

        Raises:
            Skip: a document is a page and the model reads text only, or the reverse.
        """
        return self._encode([self._content(document) for document in documents], "document")

    def query_states(self, texts: Sequence[str], layer: int = -1) -> MultiVectors:
        """Return the backbone's states of the query tokens that `queries` keeps."""
        return self._states(texts, "query", layer)

    def document_states(self, documents: Sequence[Document], layer: int = -1) -> MultiVectors:
        """Return the backbone's states of the document tokens that `documents` keeps."""
        return self._states([self._content(document) for document in documents], "document", layer)

    def labels(self, side: Side, item: str | Document) -> list[Label]:
        """Say what each vector of one item stands for.

        Raises:
            Skip: the model merges tokens, so that a vector has no one token.
        """
        self._refuse_merging(side)
        content = self._content(item) if isinstance(item, Document) else item
        if not isinstance(content, str):
            return self._page_labels(content, side)
        features = self._features([content], side, offsets=True)
        ids: list[int] = features["input_ids"][0].tolist()
        added = features.get("query_expansion_positions", torch.zeros(1, len(ids), dtype=torch.bool))[0]
        # Positions that the library appends after tokenizing have no offset of their own.
        offsets = [tuple(pair) for pair in features["offset_mapping"][0].tolist()] + [(0, 0)] * len(ids)
        named = _tokens.labels(self._first.tokenizer, ids, offsets[: len(ids)], self._prompts[side], added.tolist())
        return [label for label, kept in zip(named, self._mask(features, side)[0].tolist(), strict=True) if kept]

    def library_scores(self, queries: MultiVectors, documents: MultiVectors) -> Tensor:
        """Score (queries, documents) with the library's own scorer, fp32 on the CPU."""
        return self.model.similarity(list(queries), list(documents)).float().cpu()

    def length(self, side: Side) -> int | None:
        """Return the number of tokens at which a side's texts are cut, special tokens and prompt included."""
        expansion = self._first.query_expansion if side == "query" else None
        if expansion and expansion["strategy"] == "fixed":
            return expansion["length"]
        own = self._first.query_length if side == "query" else self._first.document_length
        limit = own or self._first.max_seq_length
        return limit if limit is not None and limit < _NO_LIMIT else None

    def prompts_in_effect(self) -> dict[str, str]:
        """Return what stands before the text on each side, and how queries are lengthened."""
        expansion = self._first.query_expansion
        if not expansion:
            return {**self._prompts}
        tokenizer = self._first.tokenizer
        token = expansion["token"] or tokenizer.mask_token or tokenizer.eos_token
        reach = "to" if expansion["strategy"] == "fixed" else "to at least"
        seen = "attended to" if expansion["attend"] else "not attended to"
        return {**self._prompts, "query_augmentation": f"{token} {reach} {expansion['length']} tokens, {seen}"}

    def unit_rows(self) -> bool:
        """Say whether the last step that changes a token vector gives it length 1."""
        from sentence_transformers.base.modules import Dense, Normalize  # noqa: PLC0415 - imported by now

        unit = self._first.transformer_task == "retrieval"
        for module in self.model:
            if isinstance(module, Normalize) and module.module_output_name == "token_embeddings":
                unit = True
            elif isinstance(module, Dense) or hasattr(module, "pool_one"):
                unit = bool(getattr(module, "normalize_embeddings", False))
        return unit

    def probe(self) -> Tensor:
        """Return the vectors of one short query, with gradients."""
        features = self._to_device(self._features(["a"], "query"))
        return self.model(features, task="query")["token_embeddings"]

    def _content(self, document: Document) -> Any:
        if "image" in self.card.modalities and document.page is not None:
            return {"image": document.page.open()}
        if "text" not in self.card.modalities:
            raise Skip(f"{self.card.name} reads page images only, and document {document.id!r} has none")
        return text_of(document, self.card.name)

    def _encode(self, items: Sequence[Any], side: Side) -> MultiVectors:
        if not items:
            return MultiVectors(torch.zeros(0, self.card.dim), torch.zeros(1, dtype=torch.int64))
        features = self._features(items, side)
        cut = self._cut(items, features, side)
        with torch.no_grad():
            output = self.model(self._to_device(features), task=side)
        return _packed(output["token_embeddings"], output["attention_mask"], cut)

    def _states(self, items: Sequence[Any], side: Side, layer: int) -> MultiVectors:
        self._refuse_merging(side)
        features = self._features(items, side)
        with torch.no_grad(), _all_layers(self._first.model.config):
            output = self.model(self._to_device(features), task=side)
        layers = output.get("all_layer_embeddings")
        if layers is None:
            raise Skip(f"{self.card.family} does not hand out the states of its layers")
        if not -len(layers) <= layer < len(layers):
            raise LidiagError(
                f"{self.card.name} has layers 0 to {len(layers) - 1}, not {layer}.", "Choose one of them, or -1 for the last."
            )
        return _packed(layers[layer], output["attention_mask"], None)

    def _features(self, items: Sequence[Any], side: Side, *, offsets: bool = False) -> dict[str, Any]:
        # A text that looks like an image's address would be fetched by a model that reads images, were it not said to be text.
        if "image" in self._first.modalities:
            items = [{"text": item} if isinstance(item, str) else item for item in items]
        extra = {"processing_kwargs": {"text": {"return_offsets_mapping": True}}} if offsets else {}
        return dict(self.model.preprocess(items, prompt=self._prompts[side] or None, task=side, **extra))

    def _to_device(self, features: dict[str, Any]) -> dict[str, Any]:
        from sentence_transformers.util import batch_to_device  # noqa: PLC0415 - imported by now

        return batch_to_device(features, self.model.device)

    def _mask(self, features: dict[str, Any], side: Side) -> Tensor:
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask  # noqa: PLC0415 - imported by now

        for module in self.model:
            if isinstance(module, MultiVectorMask):
                features = module(dict(features), task=side)
        return features["attention_mask"].bool()

    def _cut(self, items: Sequence[Any], features: dict[str, Any], side: Side) -> Tensor | None:
        if features.get("modality") != "text" or self._first.tokenizer is None or self._first.transformer_task == "retrieval":
            return None
        read = features["attention_mask"].bool()
        if "query_expansion_positions" in features:
            read = read & ~features["query_expansion_positions"].bool()
        texts = [self._prompts[side] + (item if isinstance(item, str) else item["text"]) for item in items]
        return torch.tensor(_tokens.cut(self._first.tokenizer, texts, read.sum(1).tolist()))

    def _refuse_merging(self, side: Side) -> None:
        modules: list[Any] = list(self.model)
        for module in modules:
            if hasattr(module, "pool_one") and module.applies_to(side) and getattr(module, "pool_factor", 2) > 1:
                raise Skip(f"{self.card.name} merges {side} tokens ({type(module).__name__}), so its vectors stand for no one token")

    def _page_labels(self, content: Any, side: Side) -> list[Label]:
        features = self._features([content], side)
        ids: list[int] = features["input_ids"][0].tolist()
        config, tokenizer = self._first.model.config, self._first.tokenizer
        image = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
        special = set(tokenizer.all_special_ids)
        kept = self._mask(features, side)[0].tolist()
        return [
            Label("patch") if token == image else Label("special" if token in special else "prompt", tokenizer.decode([token]))
            for token, keep in zip(ids, kept, strict=True)
            if keep
        ]


def _packed(vectors: Tensor, mask: Tensor, cut: Tensor | None) -> MultiVectors:
    kept = mask.bool()
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), kept.sum(1).cpu().cumsum(0)))
    return MultiVectors(vectors[kept].float().cpu(), offsets, cut=cut)


@contextmanager
def _all_layers(config: Any) -> Generator[None]:
    before = config.output_hidden_states
    config.output_hidden_states = True
    try:
        yield
    finally:
        config.output_hidden_states = before
