"""The model library's own scorer, held against exact MaxSim."""

from __future__ import annotations

import torch
from torch import Tensor

from lidiag.adapter import LibraryScorer
from lidiag.bench import Bench
from lidiag.findings import Findings
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.similarity import Needs

_ALLOWED = 1e-3  # of a score, per query vector


def exact_scores(bench: Bench, queries: MultiVectors, documents: MultiVectors) -> Tensor:
    """Return (queries, documents) MaxSim scores in fp32."""
    return torch.cat([block.scores(MaxSim()) for block in bench.compare(queries, documents, Needs((MaxSim(),)))])


def check_scorer(found: Findings, bench: Bench, queries: MultiVectors, documents: MultiVectors) -> None:
    """Score with both, and name zero-padding: an artefact of the library, not a fault of the model."""
    scorer = bench.adapter
    if not isinstance(scorer, LibraryScorer):
        found.unmade("scorer_difference", {}, f"{bench.adapter.card.adapter} has no scorer of its own")
        return
    exact = exact_scores(bench, queries, documents)
    vectors = queries.lengths.unsqueeze(1)
    together = float(((scorer.library_scores(queries, documents) - exact).abs() / vectors).max())
    found.number(
        "scorer_difference", {}, together, n=exact.numel(), unit_of_n="scores", no_interval="a maximum", unit="per query vector", better="lower"
    )  # fmt: skip
    lifted = _lift(scorer, queries.dim)
    if lifted > _ALLOWED:
        case = f"for the query [v] the document [-v] scores {lifted - 1:.2g} instead of -1 once a longer one stands beside it"
        text = f"The model library's own scorer pads documents with zeros: {case}. lidiag's scores are exact."
        found.warn("zero_padding", text, lifted=lifted)
    singly = torch.cat([scorer.library_scores(queries, documents.select([i])) for i in range(len(documents))], 1)
    off = float(((singly - exact).abs() / vectors).max())
    if off > _ALLOWED:
        found.warn(
            "scorer", f"One document at a time, the model library's own scorer is off from exact MaxSim by {off:.2g} per query vector."
        )


def _lift(scorer: LibraryScorer, dim: int) -> float:
    """Return what padding adds to the score of [-v] beside [-v, -v] for the query [v], |v| = 1: 0 where nothing is padded."""
    direction = torch.zeros(1, dim)
    direction[0, 0] = 1.0
    opposed = MultiVectors.pack([-direction, torch.cat((-direction, -direction))])
    short, long = scorer.library_scores(MultiVectors.pack([direction]), opposed)[0].tolist()
    return short - long
