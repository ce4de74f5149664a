"""A probe in words: its question, the definition of each of its numbers, its parameters."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Iterator

from lidiag.probe import Probe


def describe(kind: type[Probe]) -> str:
    """Return the description of a probe's class."""
    return "\n".join(_lines(kind))


def _lines(kind: type[Probe]) -> Iterator[str]:
    yield f"{kind.name} (version {kind.version})"
    yield kind.question
    yield ""
    yield from inspect.cleandoc(kind.__doc__ or "").splitlines()
    yield ""
    yield f"Source: {kind.source or 'ours'}"
    yield ""
    yield "Measurements"
    for name, formula in kind.formulas.items():
        yield f"  {name}" + ("  (primary)" if name == kind.primary else "")
        yield from textwrap.wrap(formula, 78, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    yield ""
    yield "Parameters"
    for field in dataclasses.fields(kind):  # pyright: ignore[reportArgumentType] - a probe is a dataclass
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        yield f"  {field.name} = {default}"
