"""What survives when vectors are stored in fewer bytes?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError, unknown
from lidiag.findings import Findings
from lidiag.measurement import Coordinate, Measurement, Paper, Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.probe import Measuring
from lidiag.similarity import Needs

from ._quality import CUTOFF, Judgements, Order
from ._schemes import Stored, schemes

# Written before the figures: a fiftieth of nDCG@10 is what one pays without asking, a tenth is felt.
NEGLIGIBLE, STRONG = 0.02, 0.1

_PERSISTENCE = 0.9

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Compression:
    """Every scheme rescores the `depth` best documents of each query; the query keeps its precision.

    `schemes` empty means all: fp16, bf16, int8 (a scale per dimension from the documents), binary (signs), half the dimensions by
    truncation, principal axes or a random rotation, and clusters of a document's vectors, two, three or four to one.
    """

    schemes: tuple[str, ...] = ()
    depth: int = 200

    name: ClassVar[str] = "compression"
    version: ClassVar[int] = 2
    question: ClassVar[str] = "What survives when vectors are stored in fewer bytes?"
    source: ClassVar[Paper | None] = None
    primary: ClassVar[str] = "ndcg_retained"
    formulas: ClassVar[dict[str, str]] = {
        "ndcg_retained": "nDCG@10 of the query's best documents rescored from what is stored, over the same from the vectors as they are; ours",
        "overlap@10": "share of the first ten that are the same; ours",
        "rbo": "rank-biased overlap of the two rankings of those documents, persistence 0.9, extrapolated (Webber, Moffat and Zobel 2010)",
        "bytes_per_vector": "bytes of a stored document vector, fp32 where nothing else is said; ours",
        "bytes_per_document": "bytes of an average document's vectors; ours",
        "stored_share": "bytes stored over those of fp32; ours",
        "mean_vector_square": "|mean of the documents' unit vectors|^2: 0 where directions are used evenly, 1 where all are one; ours",
        "effective_rank": "exp(H(p)), p_i = eigenvalue i of the documents' covariance / their sum (Roy and Vetterli 2007)",
    }

    def __post_init__(self) -> None:
        """Refuse a depth without ten documents."""
        if self.depth < CUTOFF:
            raise LidiagError(f"{self.name}: depth = {self.depth} is less than the {CUTOFF} that are judged.", f"Give {CUTOFF} or more.")

    def measure(self, bench: Bench) -> Measuring:
        """Rank once, then rescore every query's best documents by every scheme."""
        found = bench.findings()
        known = schemes(bench.documents.dim)
        for name in self.schemes:
            if name not in known:
                raise unknown("compression", name, known, "`lidiag describe probe compression`")
        ids = [document.id for document in bench.dataset.documents]
        best: list[NDArray[np.int64]] = []
        while block := (yield Needs((MaxSim(),))):
            scores = block.scores(MaxSim()).cpu()
            best += [row[np.isfinite(values[row])] for row, values in zip(_first(scores, ids, self.depth), scores.numpy(), strict=True)]
        judge = _Judge(bench, best)
        reference = judge.rescored(Stored(bench.queries, bench.documents, 4.0 * bench.documents.dim))
        _add_geometry(found, bench.documents)
        if not reference.ndcg.any():
            raise Skip("no query has a relevant document among its first ten: there is nothing to keep")
        kept: dict[str, tuple[stats.Verdict, float, float]] = {}
        for name in self.schemes or tuple(known):
            stored = known[name](bench.queries, bench.documents, bench.torch_rng(f"compression {name}"))
            kept[name] = _report(found, name, stored, judge, reference)
        _say_choice(found, kept)
        return found


def _first(scores: Tensor, ids: Sequence[str], depth: int) -> NDArray[np.int64]:
    """Return the positions of the best documents, equal scores by falling id."""
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    place = np.empty_like(by_id)
    place[by_id] = np.arange(len(ids))
    order = np.lexsort((-np.broadcast_to(place, scores.shape), -scores.numpy()), axis=1)
    return order[:, :depth]


@dataclass(frozen=True, eq=False)
class _Ranked:
    """What a scheme makes of every query's candidates: nDCG@10, and the candidates in their new order."""

    ndcg: Array
    order: Sequence[NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class _Judge:
    """Rescores each query's candidates."""

    bench: Bench
    best: Sequence[NDArray[np.int64]]

    def rescored(self, stored: Stored) -> _Ranked:
        bench, ids = self.bench, [document.id for document in self.bench.dataset.documents]
        ndcg, orders = np.empty(len(bench)), list[NDArray[np.int64]]()
        for query, candidates in enumerate(self.best):
            rows = sorted(candidates.tolist())
            scores = _maxsim(stored.queries[query], stored.documents.select(rows))
            order = Order([ids[row] for row in rows])
            judged = Judgements.of(bench, query)
            ndcg[query] = float(judged.ndcg(torch.tensor(rows)[order.first(scores)])) if rows else 0.0
            orders.append(np.array(rows)[_first(scores.unsqueeze(0), [ids[row] for row in rows], len(rows))[0]])
        return _Ranked(ndcg, orders)


def _maxsim(query: Tensor, documents: MultiVectors) -> Tensor:
    """Return MaxSim of a query with each document, (documents,)."""
    similarities = query.float() @ documents.vectors.float().T
    owner = torch.repeat_interleave(torch.arange(len(documents)), documents.lengths)
    best = similarities.new_full((len(query), len(documents)), -torch.inf)
    return best.scatter_reduce_(1, owner.expand(len(query), -1), similarities, "amax").sum(0)


def rank_biased_overlap(a: Sequence[int], b: Sequence[int], persistence: float = _PERSISTENCE) -> float:
    """Return RBO_ext of two rankings of the same documents (Webber, Moffat and Zobel 2010, equation 32): 1 where they agree."""
    depth = min(len(a), len(b))
    if not depth:
        return 1.0
    shared, agreement = set[int](), 0.0
    seen_a, seen_b = set[int](), set[int]()
    total = 0.0
    for rank in range(1, depth + 1):
        seen_a.add(a[rank - 1])
        seen_b.add(b[rank - 1])
        shared |= {item for item in (a[rank - 1], b[rank - 1]) if item in seen_a and item in seen_b}
        agreement = len(shared) / rank
        total += agreement * persistence ** (rank - 1)
    return (1 - persistence) * total + agreement * persistence**depth


def _report(found: Findings, name: str, stored: Stored, judge: _Judge, reference: _Ranked) -> tuple[stats.Verdict, float, float]:
    at: dict[str, Coordinate] = {"scheme": name}
    ranked = judge.rescored(stored)
    retained = found.ratio("ndcg_retained", at, ranked.ndcg, reference.ndcg, better="higher")
    pairs = list(zip(ranked.order, reference.order, strict=True))
    overlap = [len(set(a[:CUTOFF].tolist()) & set(b[:CUTOFF].tolist())) / max(1, min(CUTOFF, len(b))) for a, b in pairs]
    found.mean("overlap@10", at, overlap, better="higher", share=True)
    found.mean("rbo", at, [rank_biased_overlap(a.tolist(), b.tolist()) for a, b in pairs], better="higher", share=True)
    documents = judge.bench.documents
    filled = max(1, int((documents.lengths > 0).sum()))
    per_document = stored.bytes_per_vector * len(stored.documents.vectors) / filled
    share = per_document * filled / (4.0 * documents.dim * max(1, len(documents.vectors)))
    for measure, value, unit in (
        ("bytes_per_vector", stored.bytes_per_vector, "bytes"),
        ("bytes_per_document", per_document, "bytes"),
        ("stored_share", share, ""),
    ):
        found.number(measure, at, value, n=filled, unit_of_n="documents", unit=unit, no_interval="it is counted")
    # Equal rankings of all queries show no spread, and there is nothing that another query could change.
    same = bool((ranked.ndcg == reference.ndcg).all())
    low, high = (1.0, 1.0) if same else (retained.low, retained.high)
    word = stats.verdict(None if high is None else 1 - high, None if low is None else 1 - low, NEGLIGIBLE, STRONG)
    sense = {"strong": "costs much", "shown": "costs", "none": "costs nothing that counts", "cannot tell": "may cost"}[word]
    text = f"{name} {sense}: {retained.value:.3f}{_reach(retained)} of nDCG@10 is kept in {share:.1%} of the bytes."
    found.say("scheme", text, word=word, scheme=name)
    return word, retained.value, per_document


def _say_choice(found: Findings, kept: dict[str, tuple[stats.Verdict, float, float]]) -> None:
    """Say the smallest scheme that costs nothing, and list all by size."""
    by_size = sorted(kept, key=lambda name: kept[name][2])
    free = [name for name in by_size if kept[name][0] == "none"]
    said = f"The smallest scheme that costs nothing that counts is {free[0]}" if free else "No scheme is shown to cost nothing that counts"
    listed = ", ".join(f"{name} {kept[name][2]:,.0f} bytes keep {kept[name][1]:.3f}" for name in by_size)
    found.say("choice", f"{said}. Per document: {listed}.", verdict="none" if free else "cannot tell", smallest=free[0] if free else None)


def _add_geometry(found: Findings, documents: MultiVectors) -> None:
    vectors = torch.nn.functional.normalize(documents.vectors.float(), dim=1).double()
    mean = vectors.mean(0)
    values = torch.linalg.eigvalsh((vectors.T @ vectors) / len(vectors) - mean.outer(mean)).clamp(min=0)
    p = values / values.sum().clamp(min=1e-12)
    there = p[p > 0]
    n, why = len(vectors), "it is that of all document vectors"
    found.number("mean_vector_square", {}, float(mean @ mean), n=n, unit_of_n="vectors", no_interval=why)
    found.number("effective_rank", {}, float(torch.exp(-(there * there.log()).sum())), n=n, unit_of_n="vectors", no_interval=why)


def _reach(m: Measurement) -> str:
    return "" if m.low is None or m.high is None else f" ({m.low:.3f} to {m.high:.3f})"
