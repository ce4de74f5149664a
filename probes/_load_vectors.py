"""What weights and single vectors show: random ones, values that are not finite, padding rows, lengths, one vector for all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from lidiag.bench import Bench
from lidiag.findings import Findings

from ._load_items import Encoded, Items

# As the store judges them: bfloat16 has 8 bits of mantissa.
_OFF_UNIT = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 2e-2}


def check_weights(found: Findings, bench: Bench) -> None:
    """Count the weights that no file held."""
    card = bench.adapter.card
    if card.randomly_initialised is None:
        found.unmade(
            "randomly_initialised", {}, f"{card.adapter} does not tell which weights came from a file: a random head is not ruled out"
        )
        return
    count = len(card.randomly_initialised)
    found.number("randomly_initialised", {}, count, n=1, unit_of_n="models", no_interval="a count", better="lower")
    if count:
        named = ", ".join(card.randomly_initialised[:4])
        found.fault("random_weights", f"{count} weights are in no file of the checkpoint and were made up at random: {named}.")


def check_rows(found: Findings, bench: Bench, encoded: Encoded) -> bool:
    """Measure vectors one by one; return whether they can be compared at all."""
    items, at = encoded.items, {"side": encoded.items.side}
    everything = [*encoded.alone, *encoded.together]
    rows = torch.cat(everything)
    owners = [name for name, vectors in zip([*items.names, *items.names], everything, strict=True) for _ in range(len(vectors))]
    lengths = rows.norm(dim=1)
    broken, zero = ~rows.isfinite().all(1), lengths == 0
    for name, wrong in (("non_finite_rows", broken), ("zero_rows", zero)):
        found.number(name, at, int(wrong.sum()), n=len(rows), unit_of_n="vectors", no_interval="a count", better="lower")
    if bool(broken.any()):
        where = f"{int(broken.sum())} of {len(rows)} {items.side} vectors, first in {owners[int(broken.nonzero()[0])]!r}"
        found.fault("non_finite", f"A value that is not finite stands in {where}.")
        return False
    if bool(zero.any()):
        where = f"{int(zero.sum())} of {len(rows)} {items.side} vectors, first in {owners[int(zero.nonzero()[0])]!r}"
        found.fault("zero_rows", f"Length 0 have {where}: padding rows that were left in, which beat every negative similarity.")
    _check_unit(found, bench, items, lengths[~zero])
    return True


def check_dims(found: Findings, bench: Bench, sides: Sequence[Encoded]) -> bool:
    """Return whether both sides have the dimension that the model says."""
    queries, documents = (side.alone[0].shape[1] for side in sides)
    if queries == documents == bench.adapter.card.dim:
        return True
    found.fault("dims", f"Queries have {queries} dimensions, documents {documents}, and the model says {bench.adapter.card.dim}.")
    return False


def check_distinct(found: Findings, encoded: Encoded) -> None:
    """Measure whether different items get different vectors at all."""
    items, alone = encoded.items, encoded.alone
    at = {"side": items.side}
    pairs = [(a, b) for a, b in combinations(range(len(items)), 2) if items.digests[a] != items.digests[b]]
    if not pairs:
        found.unmade("distinct_share", at, "there are no two different items")
        return
    means = torch.stack([vectors.mean(0) for vectors in alone])
    least = 1e-6 * float(torch.cat(list(alone)).norm(dim=1).median())
    share = sum(float((means[a] - means[b]).norm()) > least for a, b in pairs) / len(pairs)
    found.number("distinct_share", at, share, n=len(pairs), unit_of_n="pairs", no_interval="pairs share items", better="higher")
    if share < 0.5:  # noqa: PLR2004 - a few texts may mean the same to a model that drops stop words
        found.fault("distinct", f"Only {share:.0%} of the pairs of different {items.plural} have different vectors.")


def _check_unit(found: Findings, bench: Bench, items: Items, lengths: Tensor) -> None:
    card = bench.adapter.card
    off = float((lengths - 1).abs().max()) if len(lengths) else 0.0
    better = "lower" if card.unit_rows else "neither"
    found.number(
        "unit_row_deviation", {"side": items.side}, off, n=len(lengths), unit_of_n="vectors", no_interval="a maximum", better=better
    )
    if card.unit_rows and off > _OFF_UNIT.get(card.dtype, 1e-3):
        found.fault("unit_rows", f"The model promises {items.side} vectors of length 1, and one is off by {off:.3g}.")
