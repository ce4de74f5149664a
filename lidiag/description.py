"""A probe in words: its question, the definition of each of its numbers, its parameters. And what a collection's name stands for."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

if TYPE_CHECKING:
    from lidiag.dataset import Dataset
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


def of_parts(parts: Sequence[Any]) -> list[dict[str, Any]]:
    """Return a benchmark's parts as rows: each a dataclass with name, hub, revision, main score and languages."""
    return [dataclasses.asdict(part) for part in parts]


def of_dataset(dataset: Dataset) -> list[dict[str, Any]]:
    """Return what a loaded collection holds, as one row."""
    row = {"name": dataset.name, "queries": len(dataset.queries), "documents": len(dataset.documents)}
    kinds = " and ".join(sorted(dataset.modalities))
    return [row | {"modality": kinds, "language": dataset.language, "revision": dataset.revision, "fingerprint": dataset.fingerprint}]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a table, one row alone as lines."""
    if len(rows) == 1:
        return "\n".join(f"{key + ':':14}{_plain(value)}" for key, value in rows[0].items())
    body = [[_plain(value) for value in row.values()] for row in rows]
    return tabulate(body, headers=[key.replace("_", " ") for key in rows[0]], tablefmt="simple", disable_numparse=True)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
