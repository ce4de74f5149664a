"""Do longer documents score higher because they are longer?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Paper, Skip
from lidiag.pooling import Scoring, parse
from lidiag.probe import Measuring
from lidiag.similarity import Needs

from ._length_verdict import say_verdicts
from ._lengths import Array, Lengths, prefixes
from ._own_queries import OwnQueries
from ._references import Effects, Shuffled, foreign_effects, foreign_questions, stacked
from ._texts import FOREIGN_QUESTIONS


@dataclass(frozen=True)
class LengthBias:
    """Sets the correlation of score and length against what it would be without a bias.

    `longest_prefix` is the longest of the three prefixes, if a fifth of the documents reach it; else its half, its quarter and
    so on. `foreign` questions are asked of all documents; the reference made of shuffled vectors is
    drawn `shuffles` times, each time of `shuffled_documents`, at most, that `shuffled_queries` of the collection's queries meet.
    """

    poolings: tuple[str, ...] = ("maxsim", "topk(4)", "softmax(0.1)", "softmax(1)")
    longest_prefix: int = 128
    foreign: int = 64
    shuffled_queries: int = 24
    shuffled_documents: int = 250
    shuffles: int = 8

    name: ClassVar[str] = "length-bias"
    version: ClassVar[int] = 2
    question: ClassVar[str] = "Do longer documents score higher because they are longer?"
    source: ClassVar[Paper | None] = Paper(
        title="Working Notes on Late Interaction Dynamics", arxiv="2603.26259", section="the question; all measures are ours"
    )
    primary: ClassVar[str] = "rho_foreign"
    formulas: ClassVar[dict[str, str]] = {
        "score_length_correlation": "Spearman correlation, over the documents that are not relevant, of the score S(q, d) and the length M(d) in token "
        "vectors; mean over queries. Means nothing without the references; ours",
        "retrieved_length_ratio": "mean M(d) of the ten best documents that are not relevant / mean M(d) of all that are not; mean over queries; ours",
        "relevant_length_ratio": "mean M(d) of the relevant documents / mean M(d) of all that are not; mean over queries, the same for every pooling; ours",
        "length_lift": "P(retrieved in the first ten | length decile) / P(relevant | decile) = (retrieved + 0.5) / (relevant + 0.5), counted over all "
        "queries; decile 1 holds the shortest documents, equal lengths share one (after Singhal et al., SIGIR 1996; the smoothing is ours)",
        "rho_foreign": "Spearman correlation of score and length over all documents, for questions about something else; mean over questions; ours",
        "rho_topic": "Spearman correlation of the score of a document's first p / 2 vectors and its full length, over the documents that are not "
        "relevant and have p / 2 vectors: what length has to do with the topic; ours",
        "rho_exchangeable": "score_length_correlation after all vectors of some documents are shuffled over them: what more draws for a maximum alone "
        "give; mean over drawn queries and several shuffles; ours",
        "rho_excess": "rho_foreign minus the same correlation on shuffled vectors, paired by question, mean over questions and several shuffles; ours",
        "slope_between": "least-squares slope of S(q, d) / T on log2 M(d) over the documents that are not relevant and have p / 4 vectors; "
        "T query tokens; ours",
        "slope_between_sd": "slope_between * T / sd of S(q, d) over the documents that are not relevant; ours",
        "slope_within": "(S(q, first p vectors of d) - S(q, first p / 4)) / 2 / T, the slope per doubling over p / 4, p / 2 and p; mean over the documents "
        "that are not relevant and have p vectors; ours",
        "slope_within_sd": "slope_within * T / sd of S(q, d) over the documents that are not relevant; ours",
        "slope_exchangeable": "slope_within on shuffled vectors; mean over drawn queries and several shuffles; ours",
        "slope_excess": "(slope_within - slope_exchangeable) * T / sd of S(q, d), for the same queries; ours",
        "length_limit_share": "documents cut at the model's maximum length / documents, the same for every pooling; ours",
        "controlled_effect": "slope of S(q, d) / T per doubling of the number of words, over four documents with one statement and 1, 2, 4 and 8 times its "
        "words; mean over the statements that do not answer the query and over where the padding stands; facts are clusters; ours",
        "controlled_effect_sd": "controlled_effect * T / sd of S(q, d) over the documents that are not relevant; ours",
        "controlled_effect_relevant": "the same as controlled_effect for the statement that answers the query; ours",
        "controlled_effect_before": "controlled_effect with the padding before the statement; ours",
        "controlled_effect_after": "controlled_effect with the padding after the statement; ours",
        "controlled_effect_around": "controlled_effect with the padding on both sides; ours",
    }

    def __post_init__(self) -> None:
        """Refuse poolings that do not exist, and draws that measure nothing."""
        for pooling in self.poolings:
            parse(pooling)
        drawn = {
            "foreign": self.foreign,
            "shuffled_queries": self.shuffled_queries,
            "shuffled_documents": self.shuffled_documents,
            "shuffles": self.shuffles,
        }
        if few := [name for name, number in drawn.items() if number < 2]:  # noqa: PLR2004 - a spread takes two
            raise LidiagError(f"length-bias: {', '.join(few)} is too small for an interval.", "Choose 2 or more.")
        if self.foreign > len(FOREIGN_QUESTIONS):
            raise LidiagError(f"length-bias: foreign = {self.foreign}, but there are {len(FOREIGN_QUESTIONS)} questions.", "Choose fewer.")
        if self.longest_prefix < 1 or self.longest_prefix.bit_count() != 1:
            raise LidiagError(f"length-bias: longest_prefix = {self.longest_prefix} is no power of 2.", "Choose 128, for example.")

    def measure(self, bench: Bench) -> Measuring:
        """Fold the pass, then make two small ones for the references."""
        filled = bench.lengths[bench.lengths > 0]
        if len(np.unique(filled)) < 2:  # noqa: PLR2004 - one length is no range
            raise Skip(f"all documents have the same number of token vectors ({filled[0] if len(filled) else 0})")
        scorings = tuple(dict.fromkeys(parse(pooling) for pooling in self.poolings))
        lengths = Lengths(bench.lengths, prefixes(filled, self.longest_prefix))
        own = OwnQueries(bench, scorings, lengths)
        needs = Needs(scorings, prefixes=lengths.prefixes)
        while block := (yield needs):
            own.fold(block)
        found = bench.findings()
        own.report(found, self.formulas)
        self._refer(bench, found, own)
        _report_cut(bench, found, scorings)
        say_verdicts(found, scorings)
        return found

    def _refer(self, bench: Bench, found: Findings, own: OwnQueries) -> None:
        drawn = np.sort(bench.rng("queries for shuffled documents").permutation(len(bench))[: self.shuffled_queries])
        queries = bench.queries.select(torch.from_numpy(drawn))
        shuffles = list(Shuffled.drawn(bench, self.shuffles, self.shuffled_documents))
        again = [shuffled.effects(bench, queries, own.scorings, own.lengths.prefixes) for shuffled in shuffles]
        _report_shuffled(found, own, drawn, stacked(again))
        try:
            questions = foreign_questions(bench, self.foreign)
        except Skip as skip:
            for scoring in own.scorings:
                found.unmade("rho_foreign", {"pooling": repr(scoring)}, f"{skip}. Without it there is no verdict.")
            return
        asked = [shuffled.effects(bench, questions, own.scorings, ()) for shuffled in shuffles]
        _report_foreign(found, foreign_effects(bench, questions, own.scorings), stacked(asked))


def _report_shuffled(found: Findings, own: OwnQueries, drawn: NDArray[np.int64], shuffled: Effects) -> None:
    """Add the references on shuffled vectors (draws, queries); `drawn` are the queries they were measured for."""
    for (name, scoring), values in shuffled.items():
        named = {"rho": "rho_exchangeable", "slope_within": "slope_exchangeable"}.get(name)
        if named is None or not _known(values).any():
            continue
        spread = np.full((len(values), len(found.queries)), np.nan)
        spread[:, drawn] = values
        found.crossed(named, {"pooling": repr(scoring)}, spread)
        if name == "slope_within" and ("slope_within", scoring) in own.values:
            excess = (own.values["slope_within", scoring] - spread) * own.values["per_sd", scoring]
            if _known(excess).any():
                found.crossed("slope_excess", {"pooling": repr(scoring)}, excess)


def _known(values: Array) -> NDArray[np.bool_]:
    """Say which queries have a value in every draw."""
    return np.asarray(np.isfinite(values.sum(0)))


def _report_foreign(found: Findings, foreign: Effects, shuffled: Effects) -> None:
    for (name, scoring), values in foreign.items():
        if name != "rho":
            continue
        _add_over_questions(found, "rho_foreign", scoring, values[None])
        if ("rho", scoring) in shuffled:
            _add_over_questions(found, "rho_excess", scoring, values - shuffled["rho", scoring])


def _add_over_questions(found: Findings, name: str, scoring: Scoring, values: Array) -> None:
    """Add the mean of (draws, questions), both of which could have been others."""
    kept = values[:, _known(values)]
    if kept.size:
        estimate = stats.mean_interval(kept[0]) if len(kept) == 1 else stats.crossed_interval(kept)
        found.number(
            name, {"pooling": repr(scoring)}, estimate.value, low=estimate.low, high=estimate.high, n=kept.shape[1],
            unit_of_n="foreign questions", no_interval=estimate.no_interval,
        )  # fmt: skip


def _report_cut(bench: Bench, found: Findings, scorings: tuple[Scoring, ...]) -> None:
    cut, limit = bench.documents.cut, bench.adapter.card.document_length
    if cut is None:
        if limit is None:
            for scoring in scorings:
                found.unmade(
                    "length_limit_share", {"pooling": repr(scoring)}, "the model does not say which documents it cuts, nor at what length."
                )
            return
        cut = torch.from_numpy(bench.lengths >= limit)
        found.say(
            "length_limit_share", f"The model does not say which documents it cut: those of {limit} vectors are taken to be.", limit=limit
        )
    documents, share = len(bench.documents), float(cut.double().mean())
    low, high = stats.clopper_pearson(int(cut.sum()), documents)
    for scoring in scorings:
        found.number("length_limit_share", {"pooling": repr(scoring)}, share, low=low, high=high, n=documents, unit_of_n="documents")
