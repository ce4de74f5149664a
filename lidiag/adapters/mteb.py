"""Any late-interaction model of mteb's registry, by its name and through mteb's own loader, for parity with its figures.

mteb pads what it returns with rows of zeros; they are padding by its own convention and are dropped here. What a vector
stands for mteb does not tell, and that no weight was left at random it cannot prove.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lidiag import checkpoint, loading
from lidiag.adapter import Label, LoadOptions, ModelCard, Side, read_parameters
from lidiag.dataset import Document
from lidiag.errors import LidiagError, unknown
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors

_RUNS_REMOTE_CODE = re.compile(r"trust_remote_code\b[^,)\n]*=\s*True")


@dataclass(frozen=True)
class Settings:
    """What can be set: `mteb:org/name?torch_dtype=float32`; mteb's own choice is often float16."""

    torch_dtype: str = ""


def load(name: str, options: LoadOptions) -> MtebModel:
    """Load a model as mteb does.

    Raises:
        LidiagError: the registry has no late-interaction model of that name or revision, mteb lacks what the model needs,
            it runs remote code and that is not allowed, or its files cannot be had.
    """
    import mteb  # noqa: PLC0415 - seconds to import

    settings = read_parameters(Settings, options.parameters, f"mteb:{name}")
    metas = {meta.name: meta for meta in mteb.get_model_metas() if "late-interaction" in (meta.model_type or [])}
    if name not in metas:
        raise unknown("late-interaction model in mteb's registry", name, [str(known) for known in metas], "mteb's list of models")
    meta = metas[name]
    if options.revision and options.revision != meta.revision:
        raise LidiagError(
            f"mteb {version('mteb')} pins {name} to revision {meta.revision}, not {options.revision}.", "Leave the revision out."
        )
    remote = _runs_remote_code(meta)
    if remote and not options.trust_remote_code:
        raise LidiagError(
            f"mteb loads {name} with code from the checkpoint itself.",
            f"Read that code at revision {meta.revision}, then run again with --trust-remote-code.",
        )
    if "huggingface.co" in str(meta.reference):
        # mteb's loaders retry an unreachable hub for minutes; this look-up says within seconds what is wrong.
        checkpoint.snapshot(name, dataclasses.replace(options, revision=meta.revision))
    chosen: dict[str, Any] = {"torch_dtype": settings.torch_dtype} if settings.torch_dtype else {}
    with _install_line(name), loading.explained(name), loading.missing_weights() as missing:
        model = meta.load_model(device=options.device, **chosen)
    found = tuple(sorted(weight for weight in missing if "pooler." not in weight))  # encoders without a pooler are common
    return MtebModel(model, meta, options, remote_code=remote, randomly_initialised=found or None)


class MtebModel:
    """A model behind mteb's interface; texts and pages go through the same loader batches as in mteb's tasks."""

    def __init__(
        self, model: Any, meta: Any, options: LoadOptions, *, remote_code: bool, randomly_initialised: tuple[str, ...] | None
    ) -> None:
        """Take a model that mteb loaded; one text is encoded to learn its dimension."""
        self.model = model
        kinds: tuple[Literal["text", "image"], ...] = ("text", "image")
        self._encode: Callable[..., Any] = model.encode if hasattr(model, "encode") else model._encode  # noqa: SLF001 - mteb's own search calls it
        self._named = set(inspect.signature(self._encode).parameters)
        self.card = ModelCard(
            name=str(meta.name),
            revision=str(meta.revision or "unknown"),
            adapter="mteb",
            reason=options.reason,
            family=type(model).__name__,
            modalities=tuple(kind for kind in kinds if kind in meta.modalities),
            dim=self.queries(["lidiag"]).dim,
            dtype=_dtype(model),
            unit_rows=False,
            prompts=_prompts(model),
            parameters=options.parameters,
            remote_code=remote_code,
            randomly_initialised=randomly_initialised,
            versions=loading.versions("mteb"),
        )

    def queries(self, texts: Sequence[str]) -> MultiVectors:
        """Encode one batch of queries."""
        return self._vectors({"text": list(texts)}, "query")

    def documents(self, documents: Sequence[Document]) -> MultiVectors:
        """Encode one batch of documents: pages where all of them have one, texts where none has.

        Raises:
            Skip: some have a page and some have not; mteb's batches hold one kind.
        """
        pages = [document.page for document in documents if document.page is not None]
        if pages and len(pages) < len(documents):
            raise Skip(f"{self.card.name} takes batches of pages or of texts from mteb, and this collection mixes them")
        rows = {"image": [page.open() for page in pages]} if pages else {"text": [document.text for document in documents]}
        return self._vectors(rows, "document")

    def labels(self, side: Side, item: str | Document) -> list[Label]:
        """Name every vector of one item: not possible here.

        Raises:
            Skip: always.
        """
        what = item.id if isinstance(item, Document) else item
        raise Skip(f"mteb does not tell what the vectors of {self.card.name} stand for (asked for those of the {side} {what!r})")

    def library_scores(self, queries: MultiVectors, documents: MultiVectors) -> Tensor:
        """Score (queries, documents) as mteb does for this model, fp32 on the CPU."""
        score = self.model.similarity if hasattr(self.model, "similarity") else _max_sim
        return torch.as_tensor(score(list(queries), list(documents))).float().cpu()

    def _vectors(self, rows: dict[str, list[Any]], side: Side) -> MultiVectors:
        count = len(next(iter(rows.values())))
        known = _task(rows) | {"prompt_type": _prompt_type(side), "batch_size": count, "show_progress_bar": False}
        accepts_all = "kwargs" in self._named
        given = {key: value for key, value in known.items() if accepts_all or key in self._named}
        encoded = self._encode(_batches(rows, count), **given)
        items = [torch.as_tensor(item).detach().float().cpu() for item in encoded]
        return MultiVectors.pack([item[item.ne(0).any(1)] for item in items])


@contextmanager
def _install_line(name: str) -> Generator[None]:
    """Say what to install where mteb misses a library for a model."""
    try:
        yield
    except LidiagError as error:
        cause = error.__cause__
        if not isinstance(cause, ImportError):
            raise
        step = "Install it; `pip install 'lidiag[visual]'` brings colpali-engine."
        if "pylate" in str(cause).lower():
            step = f"PyLate cannot be installed beside lidiag, which reads the same checkpoint without it: sentence-transformers:{name}."
        raise LidiagError(f"mteb cannot load {name}: {str(cause).splitlines()[0]}", step) from cause


def _batches(rows: dict[str, list[Any]], size: int) -> Any:
    """Make one batch in the form that mteb gives its models: a dict of lists, over a dataset with those columns."""
    from datasets import Dataset, Features, Image, Value  # noqa: PLC0415 - seconds to import
    from torch.utils.data import DataLoader  # noqa: PLC0415

    columns = Features({name: Image() if name == "image" else Value("string") for name in rows})
    dataset: Any = Dataset.from_dict(rows, features=columns)

    def gather(batch: list[dict[str, Any]]) -> dict[str, list[Any]]:
        return {name: [row[name] for row in batch] for name in rows}

    return DataLoader(dataset, batch_size=size, collate_fn=gather)


def _task(rows: dict[str, list[Any]]) -> dict[str, Any]:
    """Return a task's description without a name that any model has a prompt for."""
    from mteb.abstasks.task_metadata import TaskMetadata  # noqa: PLC0415 - seconds to import

    pages = "image" in rows
    metadata = TaskMetadata(
        name="lidiag",
        description="A collection measured by lidiag.",
        reference=None,
        dataset={"path": "lidiag/none", "revision": "none"},
        type="DocumentUnderstanding" if pages else "Retrieval",
        category="t2i" if pages else "t2t",
        modalities=["text", "image"] if pages else ["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )
    return {"task_metadata": metadata, "hf_split": "test", "hf_subset": "default"}


def _prompt_type(side: Side) -> Any:
    from mteb.types import PromptType  # noqa: PLC0415 - seconds to import

    return PromptType.query if side == "query" else PromptType.document


def _max_sim(queries: list[Tensor], documents: list[Tensor]) -> Any:
    from mteb.similarity_functions import max_sim  # noqa: PLC0415 - seconds to import

    return max_sim(queries, documents)


def _runs_remote_code(meta: Any) -> bool:
    """Return whether a loader asks for remote code, by its settings or anywhere in its text."""
    classes = [kind for kind in inspect.getmro(meta.loader) if kind.__module__.startswith("mteb")] if inspect.isclass(meta.loader) else []
    written = any(_RUNS_REMOTE_CODE.search(inspect.getsource(kind)) for kind in classes)
    return written or bool(meta.loader_kwargs.get("trust_remote_code"))


def _dtype(model: Any) -> str:
    for part in (getattr(model, name, None) for name in ("mdl", "model")):
        if isinstance(part, nn.Module):
            return str(next(part.parameters()).dtype).removeprefix("torch.")
    return "float32"


def _prompts(model: Any) -> dict[str, str]:
    prompts = dict(getattr(model, "model_prompts", None) or {})
    prefix = getattr(getattr(model, "processor", None), "query_prefix", None)
    return prompts | ({"query_prefix": prefix} if isinstance(prefix, str) else {})
