"""Hand-made benches, and a driver that runs one probe as a run does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lidiag import catalog
from lidiag.adapter import Label
from lidiag.bench import Bench
from lidiag.card import ModelCard
from lidiag.dataset import Dataset, Document, Query
from lidiag.findings import Findings
from lidiag.multivector import MultiVectors
from lidiag.probe import Probe
from lidiag.similarity import similarity_pass


class ToyAdapter:
    """Encodes a text by the function it is given: text -> (tokens, dim)."""

    def __init__(self, encode: Callable[[str], Tensor], **card: Any) -> None:
        self.encode = encode
        known = {"name": "toy/toy", "revision": "0" * 40, "adapter": "toy", "reason": "made by hand", "family": "Toy"}
        self.card = ModelCard.model_validate(known | {"modalities": ("text",), "dim": len(encode("a")[0]), "dtype": "float32"} | card)

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        return MultiVectors.pack([self.encode(text) for text in texts])

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        return self.queries([document.text for document in documents])

    def labels(self, side: str, item: str | Document) -> list[Label]:
        text = item if isinstance(item, str) else item.text
        words = text.split()
        return [Label("word", words[i] if i < len(words) else "") for i in range(len(self.encode(text)))]


def toy_bench(  # noqa: PLR0913 - a bench has these parts
    queries: Sequence[Tensor],
    documents: Sequence[Tensor],
    relevance: Mapping[int, Mapping[int, int]],
    *,
    texts: Sequence[str] | None = None,
    query_texts: Sequence[str] | None = None,
    adapter: Any = None,
    **more: Any,
) -> Bench:
    """Make a bench from vectors (tokens, dim) and relevance[query position][document position] = grade.

    Queries are named q0, q1 ..., documents d0, d1 ...; as in a run, a query without tokens or a positive judgement does
    not count. `groups` and `facets` go to the dataset; `adapter` encodes further texts; the rest (seed, tiling) to the bench.
    """
    facts = {name: more.pop(name) for name in ("groups", "facets") if name in more}
    dataset = Dataset(
        name="toy",
        queries=[Query(f"q{i}", query_texts[i] if query_texts else f"query {i}") for i in range(len(queries))],
        documents=[Document(f"d{i}", texts[i] if texts else f"document {i}") for i in range(len(documents))],
        relevance={f"q{q}": {f"d{d}": grade for d, grade in judged.items()} for q, judged in relevance.items()},
        **facts,
    )
    adapter = adapter or ToyAdapter(lambda text: queries[0].new_zeros(max(1, len(text.split())), queries[0].shape[1]))
    counted = [q for q in range(len(queries)) if len(queries[q]) and any(grade > 0 for grade in relevance.get(q, {}).values())]
    return Bench(
        dataset=dataset,
        adapter=adapter,
        query_ids=[f"q{q}" for q in counted],
        queries=MultiVectors.pack([queries[q] for q in counted]),
        documents=MultiVectors.pack(list(documents)),
        encode_documents=adapter.documents,
        encode_queries=adapter.queries,
        **more,
    )


def measure(probe: Probe | str, bench: Bench, **parameters: Any) -> Findings:
    """Run one probe, an object or a name with parameters; every `yield` of needs gets one similarity pass."""
    if isinstance(probe, str):
        probe = catalog.probe(probe, parameters)
    measuring = probe.measure(bench)
    try:
        needs = next(measuring)
        while True:
            for block in similarity_pass(bench.queries, bench.documents, needs, device=bench.device, tiling=bench.tiling):
                following = measuring.send(block)
                assert following == needs, "a probe may not change its needs before it was sent None"
            needs = measuring.send(None)
    except StopIteration as end:
        return end.value


def unit(*rows: Sequence[float]) -> Tensor:
    """Return rows of length 1."""
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)


def gaussian(generator: torch.Generator, tokens: int, dim: int) -> Tensor:
    """Return isotropic unit rows."""
    return torch.nn.functional.normalize(torch.randn(tokens, dim, generator=generator), dim=1)
