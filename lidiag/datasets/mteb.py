"""`mteb:TASK`: any of mteb's retrieval tasks over texts or pages, at the revision that mteb pins.

A collection's name stands for its tasks, and a task of several subsets or splits for each of them; `members` lists what a
name stands for: `mteb:Vidore2ESGReportsRetrieval?subset=english`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lidiag.dataset import DataOptions, Dataset
from lidiag.datasets import columns, mirror, official
from lidiag.errors import LidiagError, unknown

COLLECTIONS = {"nanobeir": "NanoBEIR", "vidore-v1": "ViDoRe(v1)", "vidore-v2": "ViDoRe(v2)", "vidore-v3": "ViDoRe(v3)"}
_CATEGORIES = {"t2t": frozenset({"text"}), "t2i": frozenset({"image"}), "t2it": frozenset({"text", "image"})}


def names() -> list[str]:
    """Return the collections of tasks; `TASK` stands for any of mteb's retrieval tasks."""
    return [*COLLECTIONS, "TASK"]


@dataclass(frozen=True)
class Part:
    """One subset and split of one task, as mteb pins it."""

    name: str
    hub: str  # org/name of the data
    revision: str
    main_score: str
    languages: tuple[str, ...]


def parts(name: str, options: DataOptions) -> list[Part]:
    """Return what a name stands for, each of one subset and one split; `?subset=` and `?split=` keep those alone.

    Needs no data and asks no hub.

    Raises:
        LidiagError: there is no such task or collection, or none of its tasks has that subset, split or revision.
    """
    import mteb  # noqa: PLC0415 - seconds to import

    tasks = list(mteb.get_benchmark(COLLECTIONS[name]).tasks) if name in COLLECTIONS else _tasks(name)
    return [
        Part(
            name=f"mteb:{_named(task, *part)}",
            hub=task.metadata.dataset["path"],
            revision=task.metadata.dataset["revision"],
            main_score=task.metadata.main_score,
            languages=tuple(task.metadata.hf_subsets_to_langscripts[part[0]]),
        )
        for task, part in _parts(tasks, name, options)
    ]


def members(name: str, options: DataOptions) -> list[str]:
    """Return the names of what a name stands for; see `parts`."""
    return [part.name for part in parts(name, options)]


def load(name: str, options: DataOptions) -> Dataset:
    """Load one subset and split of one task as a collection.

    Texts are those that mteb gives a model. Queries without judgement are left out. `notes` says where mteb would count
    otherwise.

    Raises:
        LidiagError: as `task`, or the task's queries are no texts or its documents neither texts nor pages.
    """
    task_, subset, split = task(name, options)
    full = f"mteb:{_named(task_, subset, split)}"
    data = task_.dataset[subset][split]
    documents = columns.documents(data["corpus"], _CATEGORIES[task_.metadata.category], full)
    queries = columns.queries(data["queries"], data["relevant_docs"], full)
    judged = {query.id: data["relevant_docs"][query.id] for query in queries}
    relevance = {query: {str(d): int(grade) for d, grade in row.items() if str(d) in documents} for query, row in judged.items()}
    lost = sum(map(len, judged.values())) - sum(map(len, relevance.values()))
    return Dataset(
        name=full,
        queries=queries,
        documents=list(documents.values()),
        relevance=relevance,
        revision=task_.metadata.dataset["revision"],
        language=" ".join(task_.metadata.hf_subsets_to_langscripts[subset]),
        notes=_notes(task_, data, documents, lost, options),
        benchmark=official.Official(task_, subset, split),
    )


def task(name: str, options: DataOptions) -> tuple[Any, str, str]:
    """Return one of mteb's tasks with its data loaded, and the subset and split that were chosen.

    With `options.data_dir` the data is read from a mirror: a folder that holds the hub's `org/name` as folders. What lies
    there is taken for the pinned revision.

    Raises:
        LidiagError: there is no such task, subset or split, more than one is meant, the task is not one of retrieving texts
            or pages by a text, or its data cannot be had.
    """
    found_parts = _parts(_tasks(name), name, options)
    if len(found_parts) > 1:
        some = ", ".join(f"mteb:{_named(one, *part)}" for one, part in found_parts[:3])
        more = ", ..." if len(found_parts) > 3 else ""  # noqa: PLR2004 - three are enough
        raise LidiagError(f"mteb:{name} has {len(found_parts)} parts: {some}{more}.", "Name one of them.")
    [(found, (subset, split))] = found_parts
    found.hf_subsets = [subset]
    _fetch(found.filter_eval_splits([split]), options)
    return found, subset, split


def _tasks(name: str) -> list[Any]:
    """Return a task by its name, or the tasks that it is made of; retrieval of texts or pages by texts only."""
    import mteb  # noqa: PLC0415 - seconds to import
    from mteb.abstasks import AbsTaskRetrieval  # noqa: PLC0415

    try:
        found = mteb.get_task(name)
    except KeyError:
        known = [t.metadata.name for t in mteb.get_tasks(exclude_superseded=False, exclude_private=False)]
        raise unknown("task of mteb", name, known, "mteb's list of tasks") from None
    tasks: list[Any] = list(getattr(found.metadata, "tasks", None) or [found])
    for one in tasks:
        if not isinstance(one, AbsTaskRetrieval) or one.metadata.category not in _CATEGORIES:
            kind = f"{one.metadata.type} ({one.metadata.category})"
            raise LidiagError(f"mteb's {one.metadata.name} is a task of {kind}.", "Choose one that retrieves texts or pages by a text.")
    return tasks


def _parts(tasks: list[Any], name: str, options: DataOptions) -> list[tuple[Any, tuple[str, str]]]:
    options.require(f"mteb:{name}", ("subset", "split"), revision=True)
    subset, split = options.parameters.get("subset"), options.split or options.parameters.get("split")
    pinned = {one.metadata.dataset["revision"] for one in tasks}
    if options.revision is not None and pinned != {options.revision}:
        raise LidiagError(f"mteb pins {name} to revision {', '.join(sorted(pinned))}, not {options.revision}.", "Leave the revision out.")
    every = [(one, (s, p)) for one in tasks for s in one.metadata.hf_subsets for p in one.metadata.eval_splits]
    found = [(one, (s, p)) for one, (s, p) in every if subset in {None, s} and split in {None, p}]
    if not found:
        has = ", ".join(sorted({f"subset={s}&split={p}" for _, (s, p) in every})[:8])
        raise LidiagError(f"mteb:{name} has no part of subset {subset} and split {split}; it has {has}.", "Name one that it has.")
    return found


def _named(task_: Any, subset: str, split: str) -> str:
    """Return the name that stands for one part alone."""
    several = (("subset", subset, task_.metadata.hf_subsets), ("split", split, task_.metadata.eval_splits))
    tail = "&".join(f"{key}={value}" for key, value, every in several if len(every) > 1)
    return task_.metadata.name + (f"?{tail}" if tail else "")


def _fetch(task_: Any, options: DataOptions) -> None:
    """Let mteb load the data, from the mirror, the cache or the hub."""
    metadata = task_.metadata
    pinned = metadata.dataset
    with mirror.reaching(pinned["path"], pinned["revision"], options, metadata.name) as place:
        task_.metadata = metadata.model_copy(update={"dataset": pinned | {"path": place}})
        try:
            task_.load_data()
            task_.convert_v1_dataset_format_to_v2(num_proc=None)
        finally:
            task_.metadata = metadata
    if options.data_dir is None:
        for data in (data for splits in task_.dataset.values() for data in splits.values()):
            mirror.require_revision(data["corpus"], pinned["revision"], pinned["path"])
            mirror.require_revision(data["queries"], pinned["revision"], pinned["path"])


def _notes(task_: Any, data: Mapping[str, Any], documents: Mapping[str, object], lost: int, options: DataOptions) -> tuple[str, ...]:
    notes: list[str] = []
    if options.data_dir is not None:
        notes.append("read from a mirror and taken for the pinned revision")
    if lost:
        notes.append(f"{lost:,} judgements name documents that the corpus lacks and were left out; mteb counts them as never found")
    if task_.ignore_identical_ids and any(str(query) in documents for query in data["relevant_docs"]):
        notes.append("mteb leaves a document out that has the query's own id; here it is ranked")
    if data["top_ranked"] is not None:
        notes.append("mteb reranks given candidates; here all documents are ranked")
    return tuple(notes)
