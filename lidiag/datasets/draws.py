"""Draws that come out alike in every version of Python: all rest on `Random.random()`, whose sequence Python promises to keep."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def shuffled(rng: random.Random, items: Sequence[_Item]) -> list[_Item]:
    """Return the items in a random order."""
    return [item for _, item in sorted(((rng.random(), item) for item in items), key=lambda pair: pair[0])]


def between(rng: random.Random, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))
