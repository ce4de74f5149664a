"""Is the encoder causal? Told by whether text changes the vectors that stand before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lidiag.bench import Bench
from lidiag.findings import Findings
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

if TYPE_CHECKING:
    from ._text_growth import Pairs

_TIMES_NOISE = 10
_FLOOR = 1e-6  # fp32 rounding of a vector of length 1
_TOO_NOISY = 0.01  # a bidirectional encoder may change its vectors by little more
_SAMPLE = 8


def say_attention(bench: Bench, drawn: Sequence[int], pairs: Sequence[Pairs], found: Findings) -> None:
    """Add the largest change of a vector before the appended text, the noise it is set against, and what follows.

    `drawn` are the positions of documents; a few of them are encoded again for the noise.
    """
    change = max(_largest_change(kept) for kept in pairs)
    some = _few(bench, drawn)
    noise = _noise(bench, some)
    compared = sum(len(kept.words) for kept in pairs)
    found.number("prefix_change", {}, change, n=compared, unit_of_n="pairs of texts", no_interval="a maximum")
    found.number("batch_noise", {}, noise, n=len(some), unit_of_n="documents", no_interval="a maximum")
    bound = max(_TIMES_NOISE * noise, _FLOOR)
    inferred = "bidirectional" if change > bound else "causal" if bound <= _TOO_NOISY else "cannot tell"
    text = (
        f"The encoder is found to be {inferred}: text put behind a document changes a vector of its own words by up to {change:.2g} of a "
        f"vector's length, and {_TIMES_NOISE} times the batch noise is {bound:.2g}."
    )
    if inferred == "cannot tell":
        text = f"Whether the encoder is causal cannot be told: the change, {change:.2g}, is within {_TIMES_NOISE} times a batch noise of {noise:.2g}."
    stated = bench.adapter.card.attention
    known = {"inferred": inferred, "stated": stated, "prefix_change": change, "bound": bound, "pairs": compared}
    if {inferred, stated} == {"causal", "bidirectional"}:
        found.warn("attention", f"{text} Its configuration says {stated}.", **known)
    else:
        found.say("attention", text, **known)


def _few(bench: Bench, drawn: Sequence[int]) -> list[int]:
    """Return a few positions, from the shortest document to the longest: a batch of them is padded."""
    by_length = sorted(drawn, key=lambda i: int(bench.lengths[i]))
    return [by_length[i] for i in sorted({round(place) for place in np.linspace(0, len(by_length) - 1, _SAMPLE)})]


def _largest_change(pairs: Pairs) -> float:
    before = [vectors[:n] for vectors, n in zip(pairs.alone, pairs.words, strict=True)]
    after = [vectors[:n] for vectors, n in zip(pairs.part, pairs.words, strict=True)]
    return _change(before, after, pairs.alone)


def _noise(bench: Bench, drawn: Sequence[int]) -> float:
    """Return how much vectors change with what is encoded beside a document: nothing, a few others, or what the run had."""
    documents = [bench.dataset.documents[i] for i in drawn]
    stored = bench.documents.select(drawn)
    alone = MultiVectors.concat([bench.adapter.documents([document]) for document in documents])
    together = bench.adapter.documents(documents)
    if not torch.equal(alone.lengths, together.lengths) or not torch.equal(alone.lengths, stored.lengths):
        raise Skip("the number of a document's vectors changes with what is encoded beside it")
    return max(_change(list(alone), list(together), stored), _change(list(alone), list(stored), stored))


def _change(before: Sequence[Tensor], after: Sequence[Tensor], usual: MultiVectors) -> float:
    """Return the largest change of a vector as a share of the usual vector's length."""
    moved = (torch.cat(list(before)).float() - torch.cat(list(after)).float()).norm(dim=1)
    return float(moved.max()) / (float(usual.vectors.float().norm(dim=1).median()) or 1.0)
