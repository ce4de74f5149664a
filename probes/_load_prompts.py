"""What is put around a text, what became of it, and what was cut off."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from lidiag.bench import Bench
from lidiag.dataset import Document
from lidiag.findings import Findings
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

from ._load_items import Encoded, Items

_REPEATED = re.compile(r"(<[^<>]+>|\[[^\[\]]+\])\1{2,}")


def check_prompts(found: Findings, bench: Bench, sides: Sequence[Encoded]) -> None:
    """Show the prompts in effect, and hold what the model says of them against what it encodes."""
    prompts = bench.adapter.card.prompts
    shown = "; ".join(f"{side}: {_shortened(prompt)!r}" for side, prompt in prompts.items() if prompt) or "none on either side"
    told = "".join(_told(found, bench, side.items, side.alone[0]) for side in sides)
    found.say("prompts", f"Prompts in effect - {shown}.{told}", prompts=prompts)
    if "text" not in bench.adapter.card.modalities:
        return
    texts = list(sides[0].items.contents)
    as_documents = bench.adapter.documents([Document(f"q{i}", text) for i, text in enumerate(texts)])
    if not _same(bench.adapter.queries(texts), as_documents):
        return
    if prompts.get("query", "") == prompts.get("document", ""):
        lost = "if the model was trained with one, it has been lost"
        found.say(
            "symmetric", f"A text gets the same vectors as query and as document: no query prefix or augmentation is in effect ({lost})."
        )
    else:
        found.fault("prompts", "A text gets the same vectors as query and as document, though the model says that their prompts differ.")


def check_cuts(found: Findings, bench: Bench) -> None:
    """Count the items of the whole collection that were cut at the model's maximum length."""
    card = bench.adapter.card
    sides = (("query", "queries", bench.queries, card.query_length), ("document", "documents", bench.documents, card.document_length))
    for side, plural, vectors, limit in sides:
        if vectors.cut is None:
            found.unmade("cut_share", {"side": side}, "the model does not say what it cut")
            continue
        count = int(vectors.cut.sum())
        found.number(
            "cut_share", {"side": side}, count / len(vectors), n=len(vectors), unit_of_n=plural, no_interval="counted over the whole collection"
        )  # fmt: skip
        if count:
            where = f" at {limit} tokens" if limit else ""
            found.warn("cut", f"{count:,} of {len(vectors):,} {plural} are cut{where}; the model never sees the rest.")


def _told(found: Findings, bench: Bench, items: Items, vectors: Tensor) -> str:
    """Say by type what the vectors of the first item stand for, as far as the adapter knows."""
    try:
        labels = bench.adapter.labels(items.side, items.contents[0])
    except Skip:
        return ""
    if len(labels) != len(vectors):
        counts = f"{len(vectors)} vectors for {len(labels)} tokens, prompt and augmentation included"
        found.fault("labels", f"The {items.side} {items.names[0]!r} has {counts}: what is encoded is not what the model says.")
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(label.type for label in labels).items())
    return f" The {items.side} {items.names[0]!r} is {kinds}."


def _shortened(prompt: str) -> str:
    """Write a token that is repeated as `<token> x 10`."""
    return _REPEATED.sub(lambda run: f"{run[1]} x {len(run[0]) // len(run[1])}", prompt)


def _same(a: MultiVectors, b: MultiVectors) -> bool:
    return torch.equal(a.lengths, b.lengths) and a.dim == b.dim and torch.allclose(a.vectors, b.vectors, atol=1e-6)
