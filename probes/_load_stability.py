"""How much an item's vectors, and scores, change with what is encoded beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lidiag.bench import Bench
from lidiag.findings import Findings
from lidiag.multivector import MultiVectors

from ._load_items import Encoded, Items
from ._load_scorer import exact_scores

# What a vector may move, in units of its length: some ten times the noise of healthy models of 2 to 12 layers on a CPU,
# 2e-6, 9e-3 and 3e-2; in fp32 a GPU's convolutions round as TF32.
ALLOWED = {"float32": 1e-3, "float16": 3e-2, "bfloat16": 2e-1}
_CAUSES = {
    "repeat": "Encoding the same batch twice",
    "batch": "Encoding in a batch instead of alone",
    "order": "Reversing the order of the items",
    "padding": "A longer neighbour in the batch",
}
_SHORTEST = 4
_TOP = 10


@dataclass(frozen=True)
class Change:
    """The largest change of one vector, in units of a vector's median length, and the item that has it.

    `resized` names the items that got another number of vectors; their change has no size.
    """

    largest: float
    item: str
    resized: tuple[str, ...] = ()


def changes(encoded: Encoded, size: int) -> dict[str, Change]:
    """Encode items again and return the change by cause.

    repeat: the same batches of `size` twice. batch: in batches against alone. order: the batches in reverse. padding:
    beside the longest item against beside a copy of itself, for the shortest few.
    """
    items, alone, together = encoded.items, encoded.alone, encoded.together
    forth = range(len(items))
    scale = float(torch.cat(list(alone)).norm(dim=1).median()) or 1.0
    return {
        "repeat": _change(together, items.batches(forth, size), items.names, scale),
        "batch": _change(alone, together, items.names, scale),
        "order": _change(together, items.batches(forth[::-1], size), items.names, scale),
        "padding": _padding(items, alone, scale),
    }


def check_changes(found: Findings, bench: Bench, encoded: Encoded, size: int) -> None:
    """Measure each cause, and call a fault what the dtype does not explain."""
    dtype, items = bench.adapter.card.dtype, encoded.items
    allowed = ALLOWED.get(dtype, ALLOWED["float32"])
    for cause, change in changes(encoded, size).items():
        name, at = f"{cause}_difference", {"side": items.side}
        found.number(
            name, at, change.largest, n=len(items), unit_of_n=items.plural, no_interval="a maximum", unit="of a vector's length", better="lower"
        )  # fmt: skip
        if change.resized:
            some = f"{len(change.resized)} {items.plural}, {change.resized[0]!r} for one"
            found.fault(name, f"{_CAUSES[cause]} changes the number of vectors of {some}.")
        elif change.largest > allowed:
            moved = f"a vector of the {items.side} {change.item!r} by {change.largest:.2g} of its length"
            found.fault(name, f"{_CAUSES[cause]} moves {moved}; {dtype} explains {allowed:g}.")


def check_scores(found: Findings, bench: Bench, queries: Encoded, documents: Encoded) -> None:
    """Measure whether the noise of batches can change a rank."""
    alone = exact_scores(bench, MultiVectors.pack(queries.alone), MultiVectors.pack(documents.alone))
    together = exact_scores(bench, MultiVectors.pack(queries.together), MultiVectors.pack(documents.together))
    everything = exact_scores(bench, bench.queries.select(queries.items.positions), bench.documents)
    top = everything.topk(min(_TOP, everything.shape[1]), 1).values
    gaps = (top[:, :-1] - top[:, 1:]).flatten()
    gap = float(gaps[gaps.isfinite()].median()) if bool(gaps.isfinite().any()) else 0.0
    if not gap > 0:
        found.unmade("score_change", {}, f"documents in the top {_TOP} have equal scores")
        return
    change = float((alone - together).abs().max()) / gap
    found.number(
        "score_change", {}, change, n=len(alone), unit_of_n="queries", no_interval="a maximum", unit=f"gaps in the top {_TOP}", better="lower"
    )  # fmt: skip
    if change > 1:
        what = f"up to {change:.2g} times the median gap between neighbours in the top {_TOP}"
        found.warn("score_change", f"Encoded in batches instead of alone, scores change by {what}: ranks there can depend on the batch.")


def _padding(items: Items, alone: Sequence[Tensor], scale: float) -> Change:
    by_length = sorted(range(len(items)), key=lambda i: len(alone[i]))
    longest, shortest = by_length[-1], by_length[:_SHORTEST]
    beside_itself = [items.batch([i, i])[0] for i in shortest]
    beside_longest = [items.batch([i, longest])[0] for i in shortest]
    return _change(beside_itself, beside_longest, [items.names[i] for i in shortest], scale)


def _change(before: Sequence[Tensor], after: Sequence[Tensor], names: Sequence[str], scale: float) -> Change:
    resized = tuple(name for name, a, b in zip(names, before, after, strict=True) if a.shape != b.shape)
    moved = [
        (float((a - b).norm(dim=1).max()) / scale, name)
        for name, a, b in zip(names, before, after, strict=True)
        if a.shape == b.shape and len(a)
    ]
    largest, item = max(moved, default=(0.0, ""))
    return Change(largest, item, resized)
