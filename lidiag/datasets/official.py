"""mteb's own count of a ranking that lidiag made: lidiag's scores behind mteb's search protocol, so that nothing is encoded twice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from lidiag.card import ModelCard
from lidiag.dataset import Counted, Query
from lidiag.datasets import columns

_FAMILIES = {"ndcg_at_": "ndcg_cut_", "map_at_": "map_cut_", "recall_at_": "recall_", "precision_at_": "P_", "hit_rate_at_": "success_"}


class Search:
    """A model as mteb's tasks see one that searches by itself; it answers from scores that were made before."""

    def __init__(self, run: Mapping[str, Mapping[str, float]], meta: Any) -> None:
        """Take scores by query id and document id, and mteb's description of the model."""
        self.run = run
        self.mteb_model_meta = meta

    def index(self, corpus: Any, **_: object) -> None:
        """Take note of the corpus.

        Raises:
            ValueError: the run ranks documents that it does not hold.
        """
        known = {str(id_) for id_ in corpus["id"]}
        strangers = {document for row in self.run.values() for document in row} - known
        if strangers:
            raise ValueError(f"the run ranks {len(strangers)} documents that the task's corpus lacks: {sorted(strangers)[:3]}")

    def search(self, queries: Any, *, top_k: int, top_ranked: Mapping[str, Sequence[str]] | None = None, **_: object) -> dict[str, Any]:
        """Return the scores of every query that mteb asks for, by document id.

        Raises:
            ValueError: a query was not ranked, or a ranking is longer than mteb looks at or of other documents than its candidates.
        """
        answer = {str(id_): dict(self.run[str(id_)]) for id_ in queries["id"] if str(id_) in self.run}
        if missing := len(queries) - len(answer):
            raise ValueError(f"{missing} of {len(queries)} queries were not ranked")
        for query, row in answer.items():
            if len(row) > top_k or (top_ranked is not None and not row.keys() <= set(top_ranked.get(query, ()))):
                raise ValueError(f"the ranking of query {query!r} is not one of the {top_k} best of those to be ranked")
        return answer


class Official:
    """One subset and split of one of mteb's tasks, with its data, that counts rankings; a `lidiag.dataset.Benchmark`."""

    def __init__(self, task: Any, subset: str, split: str) -> None:
        """Take a task with its data loaded."""
        self._task, self._subset, self._split = task, subset, split
        data = task.dataset[subset][split]
        judged = {query: row for query, row in data["relevant_docs"].items() if row}
        self.queries: Sequence[Query] = columns.queries(data["queries"], judged, task.metadata.name)
        self.depth = int(max(task.k_values))
        given = data["top_ranked"]
        self.candidates: Mapping[str, Sequence[str]] | None = given and {str(q): [str(d) for d in row] for q, row in given.items()}

    def count(self, run: Mapping[str, Mapping[str, float]], card: ModelCard) -> Counted:
        """Let mteb evaluate the run."""
        kept: dict[str, Mapping[str, float]] = {}
        hook = self._task.task_specific_scores

        def keep(scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
            kept.update(scores)
            return hook(scores, qrels, results, hf_split=hf_split, hf_subset=hf_subset)

        # mteb hands the scores of each query to this method alone, before it averages them.
        self._task.task_specific_scores = keep
        try:
            found = self._task.evaluate(Search(run, meta_of(card)), self._split, subsets_to_run=[self._subset], encode_kwargs={})
        finally:
            self._task.task_specific_scores = hook
        return self._counted(found[self._subset], kept)

    def _counted(self, scores: Mapping[str, Any], kept: Mapping[str, Mapping[str, float]]) -> Counted:
        metadata = self._task.metadata
        by_query = {
            f"{ours}{k}": {query: float(row[f"{theirs}{k}"]) for query, row in kept.items()}
            for ours, theirs in _FAMILIES.items()
            for k in self._task.k_values
        }
        return Counted(
            by=f"mteb {version('mteb')}",
            main=str(metadata.main_score),
            value=float(scores["main_score"]),
            queries=len(kept),
            by_query=by_query,
            record={
                "task_name": metadata.name,
                "dataset": metadata.dataset["path"],
                "dataset_revision": metadata.dataset["revision"],
                "mteb_version": version("mteb"),
                "split": self._split,
                "scores": {name: _plain(value) for name, value in scores.items()}
                | {
                    "hf_subset": self._subset,
                    "languages": list(metadata.hf_subsets_to_langscripts[self._subset]),
                    "mteb_version": version("mteb"),
                },
            },
        )


def meta_of(card: ModelCard) -> Any:
    """Return mteb's description of a model: its own where its registry has this revision, else what the card knows."""
    import mteb  # noqa: PLC0415 - seconds to import
    from mteb.models.model_meta import ModelMeta, ScoringFunction  # noqa: PLC0415

    known = [meta for meta in mteb.get_model_metas() if (meta.name, meta.revision) == (card.name, card.revision)]
    if known:
        return known[0]
    about = {
        "name": card.name,
        "revision": card.revision,
        "modalities": sorted({"text", *card.modalities}),  # of mteb's, queries are part
        "model_type": ["late-interaction"],
        "similarity_fn_name": ScoringFunction.MAX_SIM,
        "embed_dim": card.dim,
        "max_tokens": card.document_length,
    }
    return ModelMeta.create_empty(overwrites=about)


def _plain(value: Any) -> Any:
    """Return a score as JSON has it: what is not a number is null."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (int, float)):
        return None if math.isnan(value) else float(value)
    return value
