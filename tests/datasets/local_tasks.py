"""Collections as mteb's own tasks, and vectors as a model that mteb scores by itself."""

from __future__ import annotations

from typing import Any

import datasets
import torch
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.abs_encoder import AbsEncoder
from mteb.similarity_functions import max_sim
from mteb.types import PromptType

from lidiag.dataset import Dataset
from lidiag.datasets.official import meta_of
from lidiag.multivector import MultiVectors


def task_of(dataset: Dataset, name: str = "LidiagLocal") -> Any:
    """Return a task of mteb over the collection's texts, pages, or both, its data loaded."""
    pages = "image" in dataset.modalities
    category = "t2t" if not pages else "t2it" if "text" in dataset.modalities else "t2i"
    metadata = TaskMetadata(
        name=name,
        description="A local collection.",
        reference=None,
        dataset={"path": "lidiag/none", "revision": "none"},
        type="DocumentUnderstanding" if pages else "Retrieval",
        category=category,
        modalities=["text", "image"] if pages else ["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )
    task = type(name, (AbsTaskRetrieval,), {"metadata": metadata})()
    columns: dict[str, list[Any]] = {"id": [document.id for document in dataset.documents]}
    if category != "t2i":
        columns["text"] = [document.text for document in dataset.documents]
    if pages:
        columns["image"] = [document.page.open() for document in dataset.documents if document.page]
    features = datasets.Features({key: datasets.Image() if key == "image" else datasets.Value("string") for key in columns})
    task.dataset = {"default": {"test": {
        "corpus": datasets.Dataset.from_dict(columns, features=features),
        "queries": datasets.Dataset.from_list([{"id": query.id, "text": query.text} for query in dataset.queries]),
        "relevant_docs": {query: dict(row) for query, row in dataset.relevance.items()},
        "top_ranked": None,
    }}}  # fmt: skip
    task.data_loaded = True
    return task


class Encoded(AbsEncoder):
    """Hands out vectors made before, in the order in which mteb asks for them, and lets mteb score them."""

    def __init__(self, queries: MultiVectors, documents: MultiVectors, card: Any) -> None:
        self.mteb_model_meta = meta_of(card)
        self.sides = {PromptType.query: queries, PromptType.document: documents}

    def encode(self, inputs: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, prompt_type: Any = None, **_: Any) -> Any:
        return list(self.sides[prompt_type])


class EncodedUnpadded(Encoded):
    """The same, with mteb's scorer given documents of one length at a time: then it has nothing to pad."""

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        scores = torch.empty(len(embeddings1), len(embeddings2))
        lengths = torch.tensor([len(item) for item in embeddings2])
        for length in lengths.unique():
            chosen = (lengths == length).nonzero().flatten()
            scores[:, chosen] = max_sim(list(embeddings1), torch.stack([embeddings2[i] for i in chosen]))
        return scores


def kept_by_query(task: Any) -> dict[str, dict[str, float]]:
    """Return a dict that fills with each query's scores when mteb next evaluates the task."""
    kept: dict[str, dict[str, float]] = {}
    task.task_specific_scores = lambda scores, *_, **__: kept.update(scores) or {}
    return kept
