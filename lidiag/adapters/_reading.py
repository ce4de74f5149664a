"""How sentence-transformers' models read texts and pages: prompts, lengths, what is cut, and the states of the tokens."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from lidiag.adapter import Side, text_of
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

if TYPE_CHECKING:
    from sentence_transformers.base import BaseModel

# What `model_max_length` says where a tokenizer has no limit is some 1e30.
_NO_LIMIT = 10**9


class Reader:
    """The side of a model before its network; the library's `encode_query` and `encode_document` read likewise."""

    def __init__(self, model: BaseModel) -> None:
        """Find the prompts that are in effect.

        Raises:
            LidiagError: the model does not begin with a Transformer, as one with two towers.
        """
        self.model = model
        self.first: Any = model[0]
        if not hasattr(self.first, "transformer_task"):
            raise LidiagError(
                f"The model begins with a {type(self.first).__name__}, not with a Transformer.",
                "Load it with its own code through python:.",
            )
        query = ("query",)
        document = ("document", "passage", "corpus")
        self.prompts: dict[Side, str] = {"query": self._prompt(query), "document": self._prompt(document)}

    @property
    def plain(self) -> bool:
        """Whether a text is written as prompt + text, and not by a template of the processor's."""
        return "message" not in self.first.modalities and self.first.transformer_task != "retrieval"

    def modalities(self) -> tuple[Literal["text", "image"], ...]:
        """Return what documents may be."""
        # The retrieval heads of transformers write every text as a query.
        if self.first.transformer_task == "retrieval":
            return ("image",)
        return ("text", "image") if self.model.supports("image") else ("text",)

    def content(self, document: Document, name: str) -> Any:
        """Return what is read of a document; of a page with text beside it, the page.

        Raises:
            Skip: it is a page and the model reads text only, or the reverse.
        """
        modalities = self.modalities()
        if "image" in modalities and document.page is not None:
            return {"image": document.page.open()}
        if "text" not in modalities:
            raise Skip(f"{name} reads page images only, and document {document.id!r} has none")
        return text_of(document, name)

    def features(self, items: Sequence[Any], side: Side, *, offsets: bool = False) -> dict[str, Any]:
        """Return the network's inputs for one batch."""
        # A text that looks like an image's address would be fetched by a model that reads images, were it not said to be text.
        if "image" in self.modalities():
            items = [{"text": item} if isinstance(item, str) else item for item in items]
        extra = {"processing_kwargs": {"text": {"return_offsets_mapping": True}}} if offsets else {}
        return dict(self.model.preprocess(items, prompt=self.prompts[side] or None, task=side, **extra))

    def to_device(self, features: dict[str, Any]) -> dict[str, Any]:
        """Move the tensors to where the model is."""
        from sentence_transformers.util import batch_to_device  # noqa: PLC0415 - imported by now

        return batch_to_device(features, self.model.device)

    def run(self, features: dict[str, Any], side: Side, name: str) -> tuple[dict[str, Any], list[Tensor]]:
        """Make one forward pass; return what the modules made, and the states of all layers, (items, tokens, width) each.

        The first are the embeddings, the last the states after the final norm.

        Raises:
            Skip: the network does not hand its states out.
        """
        seen: list[tuple[list[Tensor] | None, Tensor | None]] = []

        def look(_module: Any, _inputs: Any, made: dict[str, Any]) -> None:
            seen.append((made.get("all_layer_embeddings"), made.get("token_embeddings")))

        hook = self.first.register_forward_hook(look)
        try:
            with torch.no_grad(), _all_layers(self.first.model.config):
                output: dict[str, Any] = self.model(self.to_device(features), task=side)
        finally:
            hook.remove()
        layers, last = seen[0]
        if layers is None or last is None:
            raise Skip(f"{name} does not hand out the states of its tokens")
        # The heads of transformers' retrieval models project within the first module.
        return output, list(layers) if self.first.transformer_task == "retrieval" else [*layers[:-1], last]

    def cut(self, items: Sequence[Any], features: dict[str, Any], side: Side) -> Tensor | None:
        """Say which items have more tokens than were read; None where pages or a chat template leave it open."""
        tokenizer = self.first.tokenizer
        if not self.plain or features.get("modality") != "text":
            return None
        read = features["attention_mask"].bool()
        if "query_expansion_positions" in features:
            read = read & ~features["query_expansion_positions"].bool()
        texts = [self.prompts[side] + item for item in items]
        whole = tokenizer(texts, truncation=False, padding=False, verbose=False, return_attention_mask=False)["input_ids"]
        return torch.tensor([len(ids) for ids in whole]) > read.sum(1).cpu()

    def length(self, side: Side) -> int | None:
        """Return the number of tokens at which a side's texts are cut, special tokens and prompt included."""
        expansion = self.first.query_expansion if side == "query" else None
        if expansion and expansion["strategy"] == "fixed":
            return expansion["length"]
        own = self.first.query_length if side == "query" else self.first.document_length
        limit = own or self.first.max_seq_length
        return limit if limit is not None and limit < _NO_LIMIT else None

    def special_ids(self) -> set[int]:
        """Return the ids of tokens that stand for no text and no image: an unknown word and a patch stand for something."""
        tokenizer = self.first.tokenizer
        return set(tokenizer.all_special_ids) - {tokenizer.unk_token_id, self.image_id()}

    def image_id(self) -> int | None:
        """Return the id that stands for every patch of a page, where pages are read."""
        config = self.first.model.config
        places = (self.first.processor, config, getattr(config, "vlm_config", None))
        names = ("image_token_id", "image_token_index")
        return next((getattr(place, name) for place in places for name in names if isinstance(getattr(place, name, None), int)), None)

    def _prompt(self, names: Sequence[str]) -> str:
        prompts = self.model.prompts
        name = next((name for name in names if name in prompts), self.model.default_prompt_name)
        return (prompts.get(name) if name else "") or ""


def apart(items: Sequence[Any], encode: Callable[[Sequence[Any]], MultiVectors]) -> MultiVectors:
    """Encode texts and pages of one batch by themselves: no network reads them side by side."""
    texts = [i for i, item in enumerate(items) if isinstance(item, str)]
    pages = [i for i, item in enumerate(items) if not isinstance(item, str)]
    if not texts or not pages:
        return encode(items)
    found = MultiVectors.concat([encode([items[i] for i in group]) for group in (texts, pages)])
    return found.select(torch.tensor(texts + pages).argsort())


def chosen(layers: Sequence[Tensor], layer: int, name: str) -> Tensor:
    """Return one layer; negative numbers count from the last.

    Raises:
        LidiagError: there is no such layer.
    """
    if not -len(layers) <= layer < len(layers):
        raise LidiagError(f"{name} has layers 0 to {len(layers) - 1}, not {layer}.", "Choose one of them, or -1 for the last.")
    return layers[layer]


def packed(vectors: Tensor, mask: Tensor, cut: Tensor | None = None) -> MultiVectors:
    """Pack the rows of (items, tokens, dim) that `mask` (items, tokens) keeps, as fp32 on the CPU."""
    kept = MultiVectors.unpad(vectors, mask)
    return MultiVectors(kept.vectors.cpu(), kept.offsets, cut=cut)


@contextmanager
def _all_layers(config: Any) -> Generator[None]:
    """Make the network hand out the states of all its layers; of a visual one the text's config decides."""
    configs = [config, config.get_text_config()]
    before = [one.output_hidden_states for one in configs]
    try:
        for one in configs:
            one.output_hidden_states = True
        yield
    finally:
        for one, flag in zip(configs, before, strict=True):
            one.output_hidden_states = flag
