"""A trainable copy of a network, so that a fine-tune changes neither the model in memory nor the checkpoint on disk."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def trainable(network: Network) -> Network:
    """Return a copy with every floating weight trainable; in evaluation mode, so that no dropout makes two runs differ."""
    copy = deepcopy(network).eval()
    for parameter in copy.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return copy
