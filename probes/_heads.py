"""Projection heads: the variants of Simple Projection Variants (arXiv 2510.12327), by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from lidiag.errors import LidiagError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "sigmoid": torch.sigmoid,
}
_GATES = tuple(ACTIVATIONS)
_FORM = re.compile(r"\s*(linear|ffn|glu)\s*(?:\(([^()]*)\))?\s*")


@dataclass(frozen=True)
class Head:
    """`linear`: x W. `ffn(depth,rho,activation)`: depth layers of width rho * d between. `glu(rho,gate)`: ((x Wv) * gate(x Wg)) W.

    With `residual` each layer but the last is x + alpha * g(x), alpha learned and at first 1; before the first, x is brought to
    the width by a trained layer that begins as the identity.
    """

    kind: str
    depth: int = 1
    rho: int = 1
    activation: str = "identity"
    residual: bool = False

    def __str__(self) -> str:
        """Print as `parse` reads it."""
        if self.kind == "linear":
            return "linear"
        inside = [str(self.depth)] * (self.kind == "ffn") + [str(self.rho), self.activation] + ["residual"] * self.residual
        return f"{self.kind}({','.join(inside)})"

    @property
    def is_linear(self) -> bool:
        """Whether it can compute nothing that one matrix cannot."""
        return self.kind == "linear" or (self.kind == "ffn" and self.activation == "identity")

    def make(self, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        """Draw the head: (tokens, inputs) to (tokens, outputs), no biases."""
        if self.kind == "linear":
            return _linear(inputs, outputs, generator)
        return _Stack(self, inputs, outputs, generator)


def parse(text: str) -> Head:
    """Read a head's name.

    Raises:
        LidiagError: it names none.
    """
    match = _FORM.fullmatch(text.lower())
    wrong = LidiagError(
        f"There is no projection head named {text!r}.",
        f"Known: linear, ffn(DEPTH,RHO,ACTIVATION[,residual]), glu(RHO,GATE[,residual]); of {', '.join(ACTIVATIONS)}.",
    )
    if not match:
        raise wrong
    parts = [part.strip() for part in (match[2] or "").split(",") if part.strip()]
    residual = bool(parts) and parts[-1] == "residual"
    match match[1], parts[: len(parts) - residual]:
        case "linear", [] if not residual:
            return Head("linear")
        case "ffn", [depth, rho, activation] if depth in "234" and rho.isdigit() and int(rho) and activation in ACTIVATIONS:
            return Head("ffn", int(depth), int(rho), activation, residual)
        case "glu", [rho, gate] if rho.isdigit() and int(rho) and gate in _GATES:
            return Head("glu", 2, int(rho), gate, residual)
        case _:
            raise wrong


def collapsed(network: nn.Module, inputs: int) -> Tensor:
    """Return the one matrix (inputs, outputs) that a head without bias and non-linearity is."""
    return network(torch.eye(inputs)).detach()


def from_matrix(matrix: Tensor) -> nn.Module:
    """Return the linear head of a matrix (inputs, outputs)."""
    head = nn.Linear(*matrix.shape, bias=False)
    head.weight.data.copy_(matrix.T)
    return head


class _Stack(nn.Module):
    def __init__(self, head: Head, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        width, layers = head.rho * inputs, head.depth - 1
        self._activation = ACTIVATIONS[head.activation]
        widths = [inputs, *[width] * layers]
        self.layers = nn.ModuleList(_linear(a, b, generator) for a, b in pairwise(widths))
        self.gates = nn.ModuleList(_linear(inputs, width, generator) for _ in range(head.kind == "glu"))
        self.last = _linear(width, outputs, generator)
        self.upcast: nn.Linear | None = None
        if head.residual:
            self.upcast = nn.Linear(inputs, width, bias=False)
            nn.init.eye_(self.upcast.weight)
            self.alpha = nn.Parameter(torch.ones(layers))

    def forward(self, x: Tensor) -> Tensor:
        carried = x if self.upcast is None else self.upcast(x)
        for number, layer in enumerate(self.layers):
            source = x if number == 0 else carried
            made = layer(source) * self._activation(self.gates[0](source)) if len(self.gates) else self._activation(layer(source))
            carried = made if self.upcast is None else carried + self.alpha[number] * made
        return self.last(carried)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    bound = inputs**-0.5  # as torch does itself, from our generator
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    return layer
