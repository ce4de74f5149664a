"""Early answers: how much of the collections can be encoded in the time there is. Method: ours."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from lidiag.adapter import Adapter
from lidiag.collections import DOCUMENTS_PER_QUERY
from lidiag.dataset import Dataset
from lidiag.errors import LidiagError

Item = TypeVar("Item")

_SHARE = 1 / 3  # of the time, for encoding the collections: probes encode texts of their own, and measure
_LIMITS = [step * 10**power for power in range(1, 8) for step in (1, 2, 5)]
_UNITS = {"s": 1, "m": 60, "h": 3600}


def parse(text: str) -> float:
    """Read `90s`, `10m` or `2h` as seconds.

    Raises:
        LidiagError: it is not of that form, or no time at all.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", text.strip())
    if not found or not float(found[1]):
        raise LidiagError(f"--budget {text!r} is no time.", "Write 90s, 10m or 2h.")
    return float(found[1]) * _UNITS[found[2]]


def limit_for(adapter: Adapter, datasets: Sequence[Dataset], seconds: float, batch_size: int) -> int | None:
    """Return the number of queries that fits, of 10, 20, 50, 100 and so on; None where all do.

    Two batches of the first readable collection are encoded, and the second is timed. Of few steps, so that a second try on the same
    machine finds the same.
    """
    readable = [dataset for dataset in datasets if dataset.modalities & set(adapter.card.modalities) and dataset.queries]
    if not readable:
        return None
    pilot = readable[0]
    step = max(1, len(pilot.documents) // (2 * batch_size))  # across the collection, which may be sorted by length
    documents = pilot.documents[::step][: 2 * batch_size]
    texts = [query.text for query in pilot.queries[: 2 * batch_size]]
    per_document = _second_half(documents, adapter.documents)
    per_query = _second_half(texts, adapter.queries)

    def cost(limit: float) -> float:
        sizes = [(min(len(d.documents), DOCUMENTS_PER_QUERY * limit), min(len(d.queries), limit)) for d in readable]
        return sum(d * per_document + q * per_query for d, q in sizes)

    if cost(float("inf")) <= _SHARE * seconds:
        return None
    return max((limit for limit in _LIMITS if cost(limit) <= _SHARE * seconds), default=_LIMITS[0])


def _second_half(items: Sequence[Item], encode: Callable[[Sequence[Item]], object]) -> float:
    """Return the seconds per item of the second half: the first call of a model takes longer."""
    half = (len(items) + 1) // 2
    first, second = items[:half], items[half:] or items
    encode(first)
    began = time.perf_counter()
    encode(second)
    return (time.perf_counter() - began) / len(second)
