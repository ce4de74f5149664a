"""What can be trained: a head on frozen vectors, or a copy of the network itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from lidiag.adapter import Side, Trainable
from lidiag.bench import Bench
from lidiag.multivector import MultiVectors

_ITEMS = 64  # documents that a head maps at a time where no gradient is wanted


class Learner(Protocol):
    """A trainable encoder of a bench's queries and documents; the model itself is never changed."""

    def start(self, generator: torch.Generator) -> nn.Module:
        """Return what is trained as it is before training."""
        ...

    def queries(self, network: nn.Module, chosen: Sequence[int]) -> MultiVectors:
        """Encode the queries at `chosen`, with gradients where they are enabled."""
        ...

    def documents(self, network: nn.Module, chosen: Sequence[int]) -> MultiVectors:
        """Encode the documents at `chosen`, likewise."""
        ...


@dataclass(frozen=True, eq=False)
class HeadLearner:
    """A head that maps frozen vectors or states, one by one; `make` draws it, and `unit` says that results have length 1."""

    of_queries: MultiVectors
    of_documents: MultiVectors
    make: Callable[[torch.Generator], nn.Module]
    unit: bool = True

    def start(self, generator: torch.Generator) -> nn.Module:
        """Return the head as it is before training."""
        return self.make(generator)

    def queries(self, network: nn.Module, chosen: Sequence[int]) -> MultiVectors:
        """Map the queries' vectors."""
        return self._mapped(network, self.of_queries, chosen)

    def documents(self, network: nn.Module, chosen: Sequence[int]) -> MultiVectors:
        """Map the documents' vectors."""
        return self._mapped(network, self.of_documents, chosen)

    def _mapped(self, network: nn.Module, items: MultiVectors, chosen: Sequence[int]) -> MultiVectors:
        taken = items.select(list(chosen))
        rows = [network(taken.vectors[start:end].float()) for start, end in _ranges(taken)]
        vectors = torch.cat(rows)
        return MultiVectors(nn.functional.normalize(vectors, dim=1) if self.unit else vectors, taken.offsets)


def identity_head(dim: int) -> Callable[[torch.Generator], nn.Module]:
    """Return a maker of the linear head that changes nothing before it is trained."""

    def make(_: torch.Generator) -> nn.Module:
        head = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(head.weight)
        return head

    return make


@dataclass(frozen=True, eq=False)
class NetworkLearner:
    """A copy of the whole network; with a `rank`, only low-rank additions to its linear layers are trained (LoRA, arXiv 2106.09685)."""

    bench: Bench
    adapter: Trainable
    batch: int
    rank: int = 0

    def start(self, generator: torch.Generator) -> nn.Module:
        """Return a fresh copy."""
        copy = self.adapter.copy()
        return with_low_rank(copy, self.rank, generator) if self.rank else copy

    def queries(self, network: nn.Module, chosen: Sequence[int]) -> MultiVectors:
        """Encode queries with the copy."""
        return self._encoded(network, "query", [self.bench.query_texts[i] for i in chosen])

    def documents(self, network: nn.Module, chosen: Sequence[int]) -> MultiVectors:
        """Encode documents with the copy."""
        return self._encoded(network, "document", [self.bench.dataset.documents[i] for i in chosen])

    def _encoded(self, network: nn.Module, side: Side, items: Sequence[object]) -> MultiVectors:
        if torch.is_grad_enabled():
            return self.adapter.encode(network, side, items)  # pyright: ignore[reportArgumentType] - texts of queries, or documents
        parts = [self.adapter.encode(network, side, items[i : i + self.batch]) for i in range(0, len(items), self.batch)]  # pyright: ignore[reportArgumentType]
        return MultiVectors.concat(parts)


def with_low_rank(network: nn.Module, rank: int, generator: torch.Generator) -> nn.Module:
    """Freeze a network and put low-rank additions, zero at first, beside its linear layers.

    Raises:
        Skip: peft is not installed, or there is no linear layer.
    """
    from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415 - optional, and seconds to import

    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    for parameter in network.parameters():
        parameter.requires_grad = False
    changed = inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names), network)
    for name, parameter in changed.named_parameters():
        parameter.requires_grad = "lora_" in name
        if "lora_A" in name:  # peft draws these from torch's global generator
            bound = parameter.shape[-1] ** -0.5
            parameter.data.copy_(_uniform(parameter.shape, bound, generator))
    return changed


def _uniform(shape: torch.Size, bound: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


def _ranges(items: MultiVectors) -> list[tuple[int, int]]:
    if torch.is_grad_enabled():
        return [(0, len(items.vectors))]
    ends = [*items.offsets[:-1:_ITEMS].tolist(), len(items.vectors)]
    return list(pairwise(ends))
