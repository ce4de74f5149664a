"""What all visual late-interaction models have in common: a processor, a forward pass, a mask, and tokens to name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from lidiag.adapter import Label, ModelCard, Side
from lidiag.adapters import _patches
from lidiag.adapters._training import trainable
from lidiag.dataset import Document
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

# A word to see what a processor puts around a text; no model's template contains it.
_PROBE = "lidiag"


class Processor(Protocol):
    """What colpali-engine's and transformers' processors both have."""

    tokenizer: Any
    image_processor: Any
    image_token_id: int
    query_prefix: str
    query_augmentation_token: str

    def process_queries(self, texts: list[str], /) -> Mapping[str, Tensor]:
        """Make a padded batch of queries."""
        ...

    def process_images(self, images: list[Any], /) -> Mapping[str, Tensor]:
        """Make a padded batch of pages."""
        ...


@dataclass(frozen=True)
class Tokens:
    """One item as text, and where each of its tokens stands in it."""

    text: str
    spans: Sequence[tuple[int, int]]

    def pieces(self) -> list[str]:
        """Return the text of every token."""
        return [self.text[start:end] for start, end in self.spans]


class VisualModel:
    """Queries are texts and documents are page images; padding is stripped by the attention mask, on whichever side it is."""

    card: ModelCard

    def __init__(self, model: Any, processor: Processor, device: str) -> None:
        """Take a loaded model in evaluation mode; the card is set by who loads it."""
        self.model = model
        self.processor = processor
        self.device = device
        added = processor.tokenizer.added_tokens_decoder
        self._special = {*processor.tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
        text = self._tokens(_kept(processor.process_queries([_PROBE]))).text
        self.before, found, self.after = text.partition(_PROBE)
        self.prompts = {"query": f"{self.before}{{text}}{self.after}" if found else text, "document": self._page_prompt()}

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        """Encode one batch of queries as the model's processor writes them."""
        return self._encode(self._query_batch(texts))

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        """Encode one batch of pages; a text beside the page is not read.

        Raises:
            Skip: a document has no page: these models were trained on page images alone.
        """
        return self._encode(self._page_batch(documents))

    def labels(self, side: Side, item: str | Document) -> list[Label]:
        """Name every vector of one item; boxes are fractions of the page.

        Raises:
            Skip: the document has no page.
        """
        if isinstance(item, Document) or side == "document":
            return self._page_labels(item if isinstance(item, Document) else Document(id="", text=item))
        return self._query_labels(item)

    def library_scores(self, queries: MultiVectors, documents: MultiVectors) -> Tensor:
        """Score (queries, documents) with the model library's own scorer, fp32 on the CPU."""
        processor: Any = self.processor
        ours = [vector.to(self.device) for vector in queries], [vector.to(self.device) for vector in documents]
        if hasattr(processor, "score_retrieval"):
            return processor.score_retrieval(*ours)
        return processor.score_multi_vector(*ours, device=self.device)

    def copy(self) -> nn.Module:
        """Return a copy of the network, every weight of it trainable, without dropout."""
        return trainable(self.model)

    def encode(self, copy: nn.Module, side: Side, items: Sequence[str | Document]) -> MultiVectors:
        """Encode one batch of queries' texts, or of pages, with gradients through `copy`."""
        texts, pages = [item for item in items if isinstance(item, str)], [item for item in items if isinstance(item, Document)]
        return self._through(copy, self._query_batch(texts) if side == "query" else self._page_batch(pages))

    def _query_batch(self, texts: Sequence[str]) -> dict[str, Tensor]:
        batch = dict(self.processor.process_queries(list(texts)))
        if self.model.config.model_type in {"paligemma", "colpali"}:
            # Without token types transformers 5 masks a padded batch causally and a query alone not at all, so that the
            # vectors depend on the batch. Type 0 says "prefix, read at once": what a query alone gets, and the training.
            batch.setdefault("token_type_ids", torch.zeros_like(batch["input_ids"]))
        return batch

    def _page_batch(self, documents: Sequence[Document]) -> dict[str, Tensor]:
        images = [_image(document, self.card.name) for document in documents]
        return dict(self.processor.process_images(images))

    def _encode(self, batch: Mapping[str, Tensor]) -> MultiVectors:
        with torch.no_grad():
            found = self._through(self.model, batch)
        cut = torch.zeros(len(found), dtype=torch.bool)  # the processors never cut
        return MultiVectors(found.vectors.cpu(), found.offsets, cut=cut)

    def _through(self, network: Any, batch: Mapping[str, Tensor]) -> MultiVectors:
        # With labels the model would compute a training loss.
        inputs = {name: value.to(self.device) for name, value in batch.items() if name != "labels"}
        output = network(**inputs)
        vectors = output if isinstance(output, Tensor) else output.embeddings
        return MultiVectors.unpad(vectors, inputs["attention_mask"])

    def _query_labels(self, text: str) -> list[Label]:
        ids = _kept(self.processor.process_queries([text]))
        tokens = self._tokens(ids)
        first, last = len(self.before), len(tokens.text) - len(self.after)
        exact = tokens.text[first:last] == text
        augmentation = self.processor.tokenizer.convert_tokens_to_ids(self.processor.query_augmentation_token)
        labels: list[Label] = []
        for token, (start, end), piece in zip(ids, tokens.spans, tokens.pieces(), strict=True):
            if token not in self._special and end > first and start < last:
                span = (max(start, first) - first, min(end, last) - first)
                labels.append(Label("word", piece, span=span if exact else None))
            elif token == augmentation and start >= last:
                labels.append(Label("augmentation", piece))
            else:
                labels.append(Label("special" if token in self._special else "prompt", piece))
        return labels

    def _page_labels(self, document: Document) -> list[Label]:
        batch = self._page_batch([document])
        ids = _kept(batch)
        pieces = self._tokens(ids).pieces()
        is_image = [token == self.processor.image_token_id for token in ids]
        boxes = _patches.boxes(_patches.runs(is_image, pieces), self._grid(batch))
        return [
            Label("patch", box=boxes.get(i)) if image else Label("special" if token in self._special else "prompt", piece)
            for i, (token, image, piece) in enumerate(zip(ids, is_image, pieces, strict=True))
        ]

    def _grid(self, batch: Mapping[str, Tensor]) -> tuple[int, int] | None:
        if "image_grid_thw" not in batch:
            return None
        _, rows, columns = batch["image_grid_thw"][0].tolist()
        merged = self.processor.image_processor.merge_size
        return rows // merged, columns // merged

    def _tokens(self, ids: list[int]) -> Tokens:
        """Return the item's text with the place of each token in it, exact where the tokenizer reads back what it wrote."""
        tokenizer = self.processor.tokenizer
        text: str = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        again = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        if again["input_ids"] == ids:
            return Tokens(text, again["offset_mapping"])
        pieces = [tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in ids]
        ends = [0]
        for piece in pieces:
            ends.append(ends[-1] + len(piece))
        return Tokens("".join(pieces), list(pairwise(ends)))

    def _page_prompt(self) -> str:
        batch = self.processor.process_images([Image.new("RGB", (64, 64), "white")])
        image = re.escape(self.processor.tokenizer.convert_ids_to_tokens(self.processor.image_token_id))
        return re.sub(f"{image}.*{image}", "{page}", self._tokens(_kept(batch)).text, flags=re.DOTALL)


def _kept(batch: Mapping[str, Tensor]) -> list[int]:
    """Return the token ids of the first item, without padding."""
    return batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist()


def _image(document: Document, model: str) -> Image.Image:
    if document.page is None:
        raise Skip(f"{model} reads page images, and document {document.id!r} has a text only")
    return document.page.open()
