"""`builtin:NAME`: collections that are generated on the spot, so that nothing need be downloaded."""

from __future__ import annotations

import dataclasses

from lidiag.dataset import DataOptions, Dataset
from lidiag.datasets.facts import facts
from lidiag.errors import LidiagError, unknown

_MADE = {"facts": facts}


def names() -> list[str]:
    """Return what `builtin:` knows."""
    return list(_MADE)


def load(name: str, options: DataOptions) -> Dataset:
    """Generate a collection; `?seed=N` draws another of the same design.

    Raises:
        LidiagError: the name or a parameter is unknown, or the seed is no whole number from 0 up.
    """
    if name not in _MADE:
        raise unknown("built-in collection", name, names(), "`lidiag list datasets`")
    options.require(f"builtin:{name}", ("seed",))
    dataset = _MADE[name](_seed(options.parameters.get("seed", "0"), name))
    return dataclasses.replace(dataset, revision=dataset.fingerprint[:40])


def _seed(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):  # noqa: PLR2004 - as many digits as a seed of a run may have
        raise LidiagError(
            f"builtin:{name}?seed={text}: {text!r} is not a whole number from 0 to 999,999,999.", "Write seed=1, for example."
        )
    return int(text)
