"""The models of colpali-engine: ColPali, ColQwen, ColIdefics3 (ColSmol), ColModernVBERT; full checkpoints and LoRA adapters.

Pages and queries go through the family's own processor and forward pass (ColPali, arXiv 2407.01449).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from lidiag import checkpoint
from lidiag.adapter import LoadOptions, ModelCard, read_parameters
from lidiag.adapters import _loading
from lidiag.adapters._visual import VisualModel
from lidiag.errors import LidiagError

# Model -> its processor.
_FAMILIES = {
    "ColPali": "ColPaliProcessor",
    "ColQwen2": "ColQwen2Processor",
    "ColQwen2_5": "ColQwen2_5_Processor",
    "ColQwen3": "ColQwen3Processor",
    "ColQwen3_5": "ColQwen3_5Processor",
    "ColIdefics3": "ColIdefics3Processor",
    "ColModernVBert": "ColModernVBertProcessor",
}
_HEAD = "custom_text_proj"


@dataclass(frozen=True)
class Settings:
    """What can be set: `colpali:org/name?query_prefix=Query:%20`."""

    query_prefix: str = ""  # where it is given; else the processor's own


def claims(folder: Path) -> str | None:
    """Say what in the files makes this a model of colpali-engine; None where nothing does."""
    if (folder / "modules.json").exists():
        return None
    if not (folder / "adapter_config.json").exists():
        named = _named(folder)
        return f"config.json names {named}" if named else None
    if base := _loading.base_here(folder):
        named = _named(base)
        return f"it is an adapter (adapter_config.json) on a base whose config.json names {named}" if named else None
    if _loading.trains(folder, _HEAD):
        return f"adapter_config.json trains {_HEAD}, the projection of colpali-engine's models"
    kind = _by_processor(folder)
    if kind and not _loading.trains(folder, "embedding_proj_layer"):  # transformers' own models share three processors' names
        return f"it is an adapter (adapter_config.json) whose processor is {_FAMILIES[kind]}"
    return None


def load(name: str, options: LoadOptions) -> VisualModel:
    """Load a checkpoint of colpali-engine.

    Raises:
        LidiagError: colpali-engine is not installed, the files name none of its models, or they cannot be loaded.
    """
    settings = read_parameters(Settings, options.parameters, f"colpali:{name}")
    engine = _engine(name)
    source = _loading.locate(name, options)
    family = _family(source)
    if not hasattr(engine, family):
        raise LidiagError(
            f"{name} is a {family}, which colpali-engine {version('colpali-engine')} does not have.", "Upgrade colpali-engine."
        )
    processor = _loading.processor(getattr(engine, _FAMILIES[family]), source)
    if "query_prefix" in options.parameters:
        processor.query_prefix = settings.query_prefix
    network, missing = _loading.weights(getattr(engine, family), source, options)
    model = VisualModel(network, processor, options.device)
    model.card = ModelCard(
        name=source.own.name,
        revision=source.own.revision,
        adapter="colpali",
        reason=options.reason,
        family=family,
        modalities=("image",),
        dim=network.dim,
        dtype=options.dtype,
        attention=_loading.attention(network.config),
        prompts=model.prompts,
        parameters=options.parameters,
        randomly_initialised=missing,
        versions=source.versions("colpali-engine", "torchvision"),
    )
    return model


def _engine(name: str) -> ModuleType:
    try:
        from colpali_engine import models  # noqa: PLC0415 - seconds to import, and optional
    except (ImportError, RuntimeError) as error:  # a torchvision of another build than torch raises RuntimeError
        raise LidiagError(
            f"{name} is read with colpali-engine, which cannot be imported: {error}.",
            "Install it with `pip install 'lidiag[visual]'`; torchvision must be of the same build as torch.",
        ) from error
    return models


def _family(source: _loading.Source) -> str:
    named = checkpoint.architectures(source.whole.folder)
    family = _named(source.whole.folder)
    if family is None and source.base is not None and not any(name.endswith("ForRetrieval") for name in named):
        # The base is a vision-language model without a head; the adapter's own processor says for which family.
        family = _by_processor(source.own.folder)
    if family is None:
        said = ", ".join(named) or "no architecture"
        raise LidiagError(
            f"The config.json of {source.whole.name} names {said}; colpali: reads {', '.join(_FAMILIES)}.",
            "Name another adapter, or save the model with colpali-engine.",
        )
    return family


def _named(folder: Path) -> str | None:
    return next((name for name in checkpoint.architectures(folder) if name in _FAMILIES), None)


def _by_processor(folder: Path) -> str | None:
    files = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
    told = {checkpoint.config(folder, file).get("processor_class") for file in files}
    return next((name for name, processor in _FAMILIES.items() if processor in told), None)
