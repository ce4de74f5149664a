"""How unequally does the score's gradient fall on a document's vectors?"""

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
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Paper
from lidiag.pooling import Hybrid, MaxSim, Pooling, Single, parse
from lidiag.probe import Measuring

from ._gradients import document_gradients, on_tangent
from ._threads import in_threads

# Written before the figures: how much more than by chance the gradient is concentrated, of all that it could be.
NEGLIGIBLE, STRONG = 0.05, 0.25

_QUERIES_AT_A_TIME = 16
_PAIR = "each query with its highest-graded document (the first in judgement order)"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GradientGini:
    """From the vectors alone: the gradients of all poolings have a closed form, so every adapter can be measured.

    `draws` is the number of draws of uniformly random winners behind `gini_null`.
    """

    poolings: tuple[str, ...] = ("maxsim", "topk(4)", "softmax(0.1)", "softmax(1)")
    draws: int = 20

    name: ClassVar[str] = "gradient-gini"
    version: ClassVar[int] = 1
    question: ClassVar[str] = "Does the gradient of a score reach a document's vectors, or only a few of them?"
    source: ClassVar[Paper | None] = Paper(title="Spike Hijacking in Late-Interaction Retrieval", arxiv="2604.05253")
    primary: ClassVar[str] = "gini_excess"
    formulas: ClassVar[dict[str, str]] = {
        "gini": f"Gini coefficient of g_j = |d S(q, d) / d d_j| over the document's M vectors, before the tangent projection; pairs: {_PAIR}; ours",
        "gini_paper": "1 - 2 / (M sum g) * sum_j sum_{m <= j} g_(m), g ascending: gini - 1/M (arXiv 2604.05253)",
        "gini_tangent": "gini of |g - (g.d) d|, which is what moves a vector that keeps its length; ours",
        "zero_gradient_share": "share of the document's vectors with g_j = 0; ours",
        "n_eff": "effective number of vectors, (sum g)^2 / sum g^2; ours",
        "n_eff_share": "n_eff / min(T, M), T the query's tokens; ours",
        "winners": "MaxSim: number of document vectors that are the best match of a query token / min(T, M); ours",
        "gini_null": "MaxSim: gini_paper where every query token's best match is drawn uniformly, mean of `draws` draws; ours",
        "gini_excess": "MaxSim: (gini_paper - gini_null) / (1 - 1/M - gini_null). T winners among M force a Gini of about 1 - T/M: only this compares models "
        "or lengths; ours",
    }

    def __post_init__(self) -> None:
        """Refuse what has no token similarities, and no draw."""
        for text in self.poolings:
            _pooling(text)
        if not self.poolings or self.draws < 1:
            raise LidiagError(f"{self.name}: poolings = {list(self.poolings)}, draws = {self.draws}.", "Give at least one of each.")

    def measure(self, bench: Bench) -> Measuring:
        """Look at one pair per query; no pass over the collection is needed."""
        found = bench.findings()
        poolings = tuple(dict.fromkeys(_pooling(text) for text in self.poolings))
        pairs = [max(judged, key=judged.__getitem__) for judged in bench.grades]

        def look(query: int) -> dict[tuple[Pooling, str], float]:
            tokens, vectors = bench.queries[query].double(), bench.documents[pairs[query]].double()
            values: dict[tuple[Pooling, str], float] = {}
            for pooling in poolings if len(vectors) else ():
                measured = _concentration(pooling, tokens, vectors)
                if isinstance(pooling, MaxSim):
                    rng = bench.rng(f"winners of {bench.query_ids[query]}")
                    measured |= _against_chance(measured["gini_paper"], tokens, len(vectors), self.draws, rng)
                values |= {(pooling, name): value for name, value in measured.items()}
            return values

        columns: dict[tuple[Pooling, str], Array] = {}
        for query, values in enumerate(in_threads(look, range(len(bench)), _QUERIES_AT_A_TIME)):
            for at, value in values.items():
                columns.setdefault(at, np.full(len(bench), np.nan))[query] = value
        for (pooling, name), values in columns.items():
            _add(found, name, {"pooling": repr(pooling)}, values)
        _say_left_out(found, bench, pairs)
        for pooling in poolings:
            _say_concentration(found, bench, pairs, pooling)
        return found
        yield from ()


def _pooling(text: str) -> Pooling:
    pooling = parse(text)
    if isinstance(pooling, (Single, Hybrid)):
        raise LidiagError(f"gradient-gini: {text} pools no token similarities.", "Leave it out.")
    return pooling


def _concentration(pooling: Pooling, tokens: Tensor, vectors: Tensor) -> dict[str, float]:
    """Return a pair's measures, from (t, dim) and (m, dim) vectors in float64."""
    gradients = document_gradients(pooling, tokens, vectors)
    norms, tangent = gradients.norm(dim=1).numpy(), on_tangent(gradients, vectors).norm(dim=1).numpy()
    most = min(len(tokens), len(vectors))
    n_eff = float(stats.n_eff(norms))
    values = {
        "gini": float(stats.gini(norms)),
        "gini_paper": float(stats.gini_paper(norms)),
        "gini_tangent": float(stats.gini(tangent)),
        "zero_gradient_share": float((norms == 0).mean()),
        "n_eff": n_eff,
        "n_eff_share": n_eff / most,
    }
    if isinstance(pooling, MaxSim):
        values["winners"] = len((tokens @ vectors.T).argmax(1).unique()) / most
    return values


def _against_chance(gini_paper: float, tokens: Tensor, m: int, draws: int, rng: np.random.Generator) -> dict[str, float]:
    """Return gini_null and gini_excess of a pair; NaN for a document of one vector, where there is no choice."""
    if m == 1:
        return {"gini_null": float("nan"), "gini_excess": float("nan")}
    winners = torch.from_numpy(rng.integers(m, size=(draws, len(tokens), 1))).expand(-1, -1, tokens.shape[1])
    gradients = tokens.new_zeros(draws, m, tokens.shape[1]).scatter_add_(1, winners, tokens.expand(draws, -1, -1))
    null = float(stats.gini_paper(gradients.norm(dim=2).numpy()).mean())
    return {"gini_null": null, "gini_excess": (gini_paper - null) / (1 - 1 / m - null)}


def _add(found: Findings, name: str, at: dict[str, str], values: Array) -> None:
    if np.isnan(values).all():
        found.unmade(name, at, "no query's document has two vectors or more.")
    else:
        found.mean(name, at, values, share=name == "zero_gradient_share")


def _say_left_out(found: Findings, bench: Bench, pairs: Sequence[int]) -> None:
    empty = sum(not bench.lengths[document] for document in pairs)
    if empty:
        found.say("pairs", f"{empty} of {len(pairs)} queries are left out: their highest-graded document has no vectors.", left_out=empty)


def _say_concentration(found: Findings, bench: Bench, pairs: Sequence[int], pooling: Pooling) -> None:
    at = {"pooling": repr(pooling)}
    values = {m.name: m for m in found.measurements if m.at == at}
    if "gini_paper" not in values:
        return
    text = (
        f"{pooling!r}: gradient Gini {values['gini_paper'].value:.3f} (the paper's formula), {values['zero_gradient_share'].value:.0%} of the "
        f"document's vectors get none, and as many act as {values['n_eff'].value:.1f} equal ones would."
    )
    excess = values.get("gini_excess")
    if excess is None:
        found.say("concentration", text, pooling=repr(pooling))
        return
    ratio = bench.queries.lengths.numpy() / np.maximum(bench.lengths[list(pairs)], 1)
    gini = next(held.values for held in found.per_query if held.name == "gini_paper" and held.at == at)
    there = np.isfinite(gini)
    correlation = float(np.corrcoef(ratio[there], gini[there])[0, 1]) if there.sum() > 1 else None
    word = stats.verdict(excess.low, excess.high, NEGLIGIBLE, STRONG)
    reach = "" if excess.low is None or excess.high is None else f" ({excess.low:.3f} to {excess.high:.3f})"
    text += (
        f" Random winners would give {values['gini_null'].value:.3f}, as there are few query tokens for many vectors; of what is left, the model's own "
        f"concentration takes {excess.value:.3f}{reach}: {word} (negligible up to {NEGLIGIBLE}, strong above {STRONG})."
    )
    found.say("concentration", text, pooling=repr(pooling), verdict=word, correlation_with_tokens_over_vectors=correlation)
