"""What is asked of a model. An adapter turns texts and pages into multi-vectors, one batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from lidiag.card import ModelCard
from lidiag.dataset import Document
from lidiag.errors import LidiagError, unknown
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

Parameters = TypeVar("Parameters")
Side = Literal["query", "document"]


@dataclass(frozen=True)
class Label:
    """What one token vector stands for.

    `type` is one of special, augmentation, prompt, padding, word, patch; `text` is the word piece. `box` is the patch's
    (left, top, right, bottom) as fractions of the page. `span` is the piece's (start, end) in the item's text.
    """

    type: Literal["special", "augmentation", "prompt", "padding", "word", "patch"]
    text: str = ""
    box: tuple[float, float, float, float] | None = None
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class LoadOptions:
    """How a model is to be loaded."""

    device: str = "cpu"
    dtype: str = "float32"
    revision: str | None = None
    offline: bool = False
    trust_remote_code: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    reason: str = "asked for"  # why this adapter, for the card


def read_parameters(kind: type[Parameters], given: Mapping[str, str], model: str) -> Parameters:
    """Read `?key=value` of a model's name into `kind`: a frozen dataclass of int, float and str fields, each with a default.

    Raises:
        LidiagError: a key is no field of `kind`, or a value is not of its default's type.
    """
    defaults: dict[str, Any] = {item.name: item.default for item in fields(kind)}  # pyright: ignore[reportArgumentType] - a dataclass
    values: dict[str, Any] = {}
    for key, text in given.items():
        if key not in defaults:
            raise unknown(f"parameter of {model}", key, defaults, "the README's table of adapters for what each parameter does")
        try:
            values[key] = type(defaults[key])(text)
        except ValueError:
            wanted = "a whole number" if isinstance(defaults[key], int) else "a number"
            raise LidiagError(f"{model}?{key}={text}: {text!r} is not {wanted}.", f"Write {key}={defaults[key]}, for example.") from None
    return kind(**values)


def text_of(document: Document, model: str) -> str:
    """Return what a model that reads text sees of a document.

    Raises:
        Skip: the document is a page without text.
    """
    if document.page is not None and not document.text:
        raise Skip(f"{model} reads text only, and document {document.id!r} is a page image without text")
    return document.text


class Adapter(Protocol):
    """A model that the harness can measure."""

    card: ModelCard

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        """Encode one batch of queries; row i belongs to texts[i]. Vectors come back on the CPU."""
        ...

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        """Encode one batch of documents; item i belongs to documents[i]. Vectors come back on the CPU."""
        ...

    def labels(self, side: Side, item: str | Document) -> list[Label]:
        """Say what each vector of one item stands for: exactly one label per vector."""
        ...


@runtime_checkable
class States(Protocol):
    """Optional: frozen token states before the projection, by layer (negative counts from the last)."""

    def query_states(self, texts: Sequence[str], layer: int = -1) -> MultiVectors:
        """Return the states of the tokens that `queries` would keep."""
        ...

    def document_states(self, documents: Sequence[Document], layer: int = -1) -> MultiVectors:
        """Return the states of the tokens that `documents` would keep."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """Optional: differentiable encoding with a copy of the model; the user's checkpoint is never changed."""

    def copy(self) -> nn.Module:
        """Return a trainable copy of the network, without dropout."""
        ...

    def encode(self, copy: nn.Module, side: Side, items: Sequence[str | Document]) -> MultiVectors:
        """Encode one batch with gradients through `copy`; vectors stay on its device."""
        ...


@runtime_checkable
class LibraryScorer(Protocol):
    """Optional: the scorer that the model's own library brings, to be held against ours."""

    def library_scores(self, queries: MultiVectors, documents: MultiVectors) -> Tensor:
        """Return (queries, documents) scores in fp32 on the CPU."""
        ...
