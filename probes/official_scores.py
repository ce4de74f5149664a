"""What the benchmark's own code counts of the model's rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lidiag.bench import Bench
from lidiag.dataset import Benchmark, Counted
from lidiag.findings import Findings
from lidiag.measurement import Paper, Skip
from lidiag.pooling import MaxSim
from lidiag.probe import Measuring
from lidiag.similarity import Needs

from ._order import WholeOrder

_KEPT = tuple(f"{family}_at_{k}" for family in ("ndcg", "recall", "map") for k in (1, 5, 10, 100))


@dataclass(frozen=True)
class OfficialScores:
    """Hands the rankings by MaxSim to the code of the benchmark that the collection belongs to, and reports what it counts."""

    name: ClassVar[str] = "official-scores"
    version: ClassVar[int] = 1
    question: ClassVar[str] = "What does the benchmark's own code count?"
    source: ClassVar[Paper | None] = None
    primary: ClassVar[str] = "main_score"
    formulas: ClassVar[dict[str, str]] = {
        "main_score": "the metric that the benchmark ranks models by, per query by its own code, averaged over the queries measured here; "
        "equal scores are ranked by falling document id (trec_eval, mteb)",
        "score": "other metrics under the benchmark's own names, counted likewise",
    }

    def measure(self, bench: Bench) -> Measuring:
        """Collect the rankings, and have them counted.

        Raises:
            Skip: no benchmark counts this collection.
        """
        benchmark = bench.dataset.benchmark
        if benchmark is None:
            raise Skip(f"{bench.dataset.name} is no whole task of a benchmark that counts by its own code; retrieval has its figures")
        ranker = _Ranker(bench, benchmark)
        needs = Needs((MaxSim(),))
        while block := (yield needs):
            ranker.take([bench.query_ids[q] for q in block.queries], block.scores(MaxSim()))
        others = [query for query in benchmark.queries if query.id not in ranker.run]
        if others:
            vectors = bench.encode_queries([query.text for query in others])
            for block in bench.compare(vectors, bench.documents, needs):
                ranker.take([others[q].id for q in block.queries], block.scores(MaxSim()))
        return _said(bench, benchmark.count(ranker.run, bench.adapter.card), len(others))


class _Ranker:
    """Keeps of every query the documents that the benchmark looks at; a document without a vector has no score and is not among them."""

    def __init__(self, bench: Bench, benchmark: Benchmark) -> None:
        self.run: dict[str, dict[str, float]] = {}
        self._ids = [document.id for document in bench.dataset.documents]
        self._place = {id_: i for i, id_ in enumerate(self._ids)}
        self._order = WholeOrder(self._ids)
        self._benchmark = benchmark

    def take(self, queries: list[str], scores: Tensor) -> None:
        """Take (queries, documents) scores."""
        values, order = self._order.rank(scores)
        for query, row, positions, all_scores in zip(queries, values, order, scores, strict=True):
            best, places = row[: self._benchmark.depth], positions[: self._benchmark.depth]
            if self._benchmark.candidates is not None:
                places = positions.new_tensor([self._place[d] for d in self._benchmark.candidates.get(query, ()) if d in self._place])
                best = all_scores[places]
            found = zip(places.tolist(), best.tolist(), strict=True)
            self.run[query] = {self._ids[place]: score for place, score in found if score > -float("inf")}


def _said(bench: Bench, counted: Counted, others: int) -> Findings:
    found = bench.findings()
    main = counted.by_query.get(counted.main)
    if main is None:
        why = f"{counted.by} counts {counted.main} over all queries at once"
        found.number("main_score", {}, counted.value, n=counted.queries, unit_of_n="queries", no_interval=why, better="higher")
    else:
        found.mean("main_score", {}, [main[q] for q in bench.query_ids], better="higher", share=True)
    for metric in _KEPT:
        found.mean("score", {"metric": metric}, [counted.by_query[metric][q] for q in bench.query_ids], better="higher", share=True)
    more = f"; {others:,} of them, without a relevant document or a token vector, are no part of the means here" if others else ""
    found.say(
        "verdict",
        f"{counted.by} counts {counted.main} = {counted.value:.5f} over {counted.queries:,} queries{more}.",
        verdict="counted",
        record=dict(counted.record),
    )
    return found
