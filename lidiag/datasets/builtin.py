"""`builtin:NAME`: collections that are generated on the spot, so that nothing need be downloaded."""

from __future__ import annotations

from lidiag.dataset import DataOptions, Dataset
from lidiag.datasets.facts import facts
from lidiag.datasets.pages import pages
from lidiag.errors import LidiagError, unknown


def names() -> list[str]:
    """Return what `builtin:` knows."""
    return ["facts", "pages"]


def load(name: str, options: DataOptions) -> Dataset:
    """Generate a collection; `?seed=N` draws another of the same design, and `pages?text=1` adds the pages' words.

    Raises:
        LidiagError: the name or a parameter is unknown, or a parameter's value is not one it takes.
    """
    if name == "facts":
        options.require("builtin:facts", ("seed",))
        return facts(_number(options, name, "seed", 999_999_999))
    if name == "pages":
        options.require("builtin:pages", ("seed", "text"))
        return pages(_number(options, name, "seed", 999_999_999), text=_number(options, name, "text", 1) == 1)
    raise unknown("built-in collection", name, names(), "`lidiag list datasets`")


def _number(options: DataOptions, name: str, key: str, most: int) -> int:
    value = options.parameters.get(key, "0")
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(most)) and int(value) <= most):
        raise LidiagError(
            f"builtin:{name}?{key}={value}: {value!r} is not a whole number from 0 to {most:,}.", f"Write {key}=1, for example."
        )
    return int(value)
