"""Idle talk: sentences of 14 words, and short ones of 7, about nothing that anybody asks."""

from __future__ import annotations

import random

from lidiag.datasets.draws import shuffled
from lidiag.datasets.words import DID, DID_BRIEFLY, SOMEBODY, SOMEHOW


def talk(count: int, rng: random.Random) -> list[str]:
    """Return `count` sentences of 14 words, no phrase twice; at most 24."""
    parts = zip(shuffled(rng, SOMEBODY), shuffled(rng, DID), shuffled(rng, SOMEHOW), strict=False)
    return [f"{who} {did} {how}." for who, did, how in parts][:count]


def brief(count: int, rng: random.Random) -> list[str]:
    """Return `count` sentences of 7 words, no phrase twice; at most 20."""
    parts = zip(shuffled(rng, SOMEBODY), shuffled(rng, DID_BRIEFLY), strict=False)
    return [f"{who} {did}." for who, did in parts][:count]
