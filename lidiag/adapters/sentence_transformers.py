"""`sentence-transformers:NAME`: what `MultiVectorEncoder` reads - its own format, PyLate's, Stanford's, ColPali's kin.

That library makes a projection at random for a folder that has none, with a log line only. Such folders are refused here
before anything is loaded.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lidiag import checkpoint, loading
from lidiag.adapter import LoadOptions, read_parameters
from lidiag.adapters import _naming
from lidiag.adapters._multi_vector import MultiVectorModel
from lidiag.card import ModelCard
from lidiag.checkpoint import Checkpoint
from lidiag.errors import LidiagError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

_SETTINGS = "config_sentence_transformers.json"
_KINDS = ("MultiVectorEncoder", "ColBERT")
_STANFORD = "HF_ColBERT"
# Its image inputs fail in sentence-transformers 6.2, and its queries lose their augmentation tokens.
_UNREADABLE = "ColModernVBertForRetrieval"


@dataclass(frozen=True)
class _NoParameters:
    """Nothing can be set on these models."""


def claims(folder: Path) -> str | None:
    """Say what in a folder's files makes it a multi-vector model of sentence-transformers', PyLate's or Stanford's."""
    kind = checkpoint.config(folder, _SETTINGS).get("model_type")
    if kind in _KINDS:
        return f"{_SETTINGS} says {kind}"
    types = [module["type"] for module in checkpoint.modules(folder)]
    told = next((name for name in types if name.startswith("pylate.") or name.endswith(".MultiVectorMask")), None)
    if told:
        return f"modules.json lists {told}"
    return f"config.json says {_STANFORD}" if _STANFORD in checkpoint.architectures(folder) else None


def load(name: str, options: LoadOptions) -> MultiVectorModel:
    """Load a folder, or a model on the hub by `org/name`.

    Raises:
        LidiagError: it is not there, a weight would be random, or the library cannot read it.
    """
    read_parameters(_NoParameters, options.parameters, f"sentence-transformers:{name}")
    found = checkpoint.find(name, options)
    _refuse_random_heads(found)
    _refuse_foreign_modules(found, options)
    dtype = loading.dtype(options)
    from sentence_transformers import MultiVectorEncoder  # noqa: PLC0415 - seconds to import

    with loading.explained(found.name), loading.missing_weights() as missing:
        model = MultiVectorEncoder(
            str(found.folder),
            device=options.device,
            trust_remote_code=options.trust_remote_code,
            local_files_only=True,
            model_kwargs={"dtype": dtype, "use_safetensors": True},
        )
    _refuse_added_heads(found, model)
    return MultiVectorModel(model.eval(), lambda adapter: _card(adapter, found, options, missing))


def _card(adapter: MultiVectorModel, found: Checkpoint, options: LoadOptions, missing: set[str]) -> ModelCard:
    model = adapter.model
    backbone = model.transformers_model
    assert backbone is not None  # noqa: S101 - every layout that is let through has a Transformer first
    return ModelCard(
        name=found.name,
        revision=found.revision,
        adapter="sentence_transformers",
        reason=options.reason,
        family=f"MultiVectorEncoder({type(backbone).__name__})",
        modalities=adapter.reader.modalities(),
        dim=model.get_embedding_dimension() or 0,
        dtype=options.dtype,
        attention=loading.attention(backbone.config),
        similarity=model.similarity_fn_name,
        query_length=adapter.reader.length("query"),
        document_length=adapter.reader.length("document"),
        unit_rows=adapter.unit_rows(),
        prompts=_naming.prompts(adapter.reader),
        parameters=dict(options.parameters),
        remote_code=options.trust_remote_code,
        randomly_initialised=loading.that_matter(missing, backbone, adapter.probe),
        versions=loading.versions("sentence-transformers", "tokenizers"),
    )


def _refuse_random_heads(found: Checkpoint) -> None:
    folder, named = found.folder, checkpoint.architectures(found.folder)
    for part in checkpoint.weight_folders(folder):
        if (part / "adapter_config.json").exists():
            raise LidiagError(
                f"{found.name} is an adapter (adapter_config.json): sentence-transformers would read its base with a random projection.",
                f"Name it colpali:{found.asked} if it is of that family, or merge the adapter into its base and save that.",
            )
    if checkpoint.modules(folder):
        _refuse_single_vectors(found)
    elif _STANFORD in named:
        _refuse_partial_stanford(found)
    elif any(name.endswith("ForRetrieval") for name in named):
        if _UNREADABLE in named:
            raise LidiagError(f"sentence-transformers does not read the pages of a {_UNREADABLE}.", f"Name it transformers:{found.asked}.")
    elif said := claims(folder):
        raise LidiagError(
            f"{found.name} is not complete: {said}, but there is no modules.json, so its projection would be random.",
            "Download or save the whole folder again.",
        )
    else:
        raise LidiagError(
            f"{found.name} is a bare {' or '.join(named) or 'folder'} without modules.json: sentence-transformers would add a random projection to it.",
            f"Name it colpali:{found.asked} if it is of that family; a single-vector model is read by smart:{found.asked}.",
        )


def _refuse_single_vectors(found: Checkpoint) -> None:
    kind = checkpoint.config(found.folder, _SETTINGS).get("model_type", "SentenceTransformer")
    types = [module["type"] for module in checkpoint.modules(found.folder)]
    # A PyLate folder of before `model_type` is converted, and keeps its projection.
    if kind in _KINDS or (claims(found.folder) and any(name.endswith(".Dense") for name in types)):
        return
    raise LidiagError(
        f"{found.name} is a {kind}, not a multi-vector model: sentence-transformers would add a random projection to it.",
        f"Name it smart:{found.asked} to read its token states as multi-vectors.",
    )


def _refuse_partial_stanford(found: Checkpoint) -> None:
    if not (found.folder / "artifact.metadata").exists():
        raise LidiagError(
            f"{found.name} says {_STANFORD} but has no artifact.metadata: its markers and lengths would be guessed.",
            "Download the whole folder again.",
        )
    checkpoint.read_json(found.folder / "artifact.metadata")
    if "linear.weight" not in checkpoint.tensor_names(found.folder.glob("model.safetensors")):
        raise LidiagError(
            f"{found.name} says {_STANFORD} but its model.safetensors holds no linear.weight, the projection.",
            "Download the whole folder again.",
        )


def _refuse_foreign_modules(found: Checkpoint, options: LoadOptions) -> None:
    """Refuse what the library would import from elsewhere, or read only in part with a warning."""
    from sentence_transformers.base.modules import Dense  # noqa: PLC0415 - seconds to import

    known = set(inspect.signature(Dense).parameters)
    for module in checkpoint.modules(found.folder):
        kind = module["type"]
        if not kind.startswith("sentence_transformers.") and kind != "pylate.models.Dense.Dense" and not options.trust_remote_code:
            raise LidiagError(
                f"{found.name} needs the code of {kind}, which is not part of sentence-transformers.",
                "Read it, then allow it with --trust-remote-code at a pinned commit.",
            )
        if not kind.endswith(".Dense"):
            continue
        settings = checkpoint.config(found.folder / module["path"])
        activation = str(settings.get("activation_function", "torch.nn.modules.linear.Identity"))
        strange = sorted(key for key in settings.keys() - known if settings[key])
        if strange or not (activation.startswith("torch.") or options.trust_remote_code):
            raise LidiagError(
                f"sentence-transformers would ignore {', '.join(strange) or activation} of {found.name}'s {module['path']}/config.json.",
                "Update sentence-transformers, or load the model with its own library through python:.",
            )


def _refuse_added_heads(found: Checkpoint, model: MultiVectorEncoder) -> None:
    from sentence_transformers.base.modules import Dense  # noqa: PLC0415 - imported by now

    listed = sum(module["type"].endswith(".Dense") for module in checkpoint.modules(found.folder))
    saved = listed or int(_STANFORD in checkpoint.architectures(found.folder))
    made = sum(isinstance(module, Dense) for module in model)
    if made != saved:
        raise LidiagError(
            f"{found.name} has {saved} projections in its files, and sentence-transformers made {made}: one is random.",
            "Report the folder's layout to lidiag.",
        )
