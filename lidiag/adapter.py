"""What is asked of a model. An adapter turns texts and pages into multi-vectors, one batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from torch import nn

from lidiag.card import ModelCard as ModelCard
from lidiag.dataset import Document
from lidiag.multivector import MultiVectors

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
        """Return a trainable copy of the network."""
        ...

    def encode(self, copy: nn.Module, side: Side, items: Sequence[str | Document]) -> Iterator[MultiVectors]:
        """Encode with gradients through `copy`."""
        ...
