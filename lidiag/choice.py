"""Which collections a run measures where its command names none: by what the suites say, else by what the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lidiag.card import ModelCard
from lidiag.suite import Suite

TEXT, PAGES = "mteb:nanobeir", "mteb:vidore-v1"


@dataclass(frozen=True)
class Choice:
    """Names of collections, and why these; no reason where the command named them."""

    names: tuple[str, ...]
    why: str = ""


def choose(asked: Sequence[str], suites: Sequence[Suite], card: ModelCard) -> Choice:
    """Return the collections to measure: those asked for, else the suites' own, else by the model.

    A model that is built in gets built-in collections, which need no download; another one that reads pages gets ViDoRe,
    and one that reads text NanoBEIR.
    """
    if asked:
        return Choice(tuple(dict.fromkeys(asked)))
    own = tuple(dict.fromkeys(name for suite in suites for name in suite.data))
    if own:
        return Choice(own)
    if card.adapter == "builtin":
        return Choice(("builtin:facts",))
    reads = "page images" if "image" in card.modalities else "text"
    name = PAGES if "image" in card.modalities else TEXT
    return Choice((name,), f"no --data is given and {card.name} reads {reads}, so it is measured on {name}")
