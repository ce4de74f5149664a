"""The visual late-interaction models that transformers has itself: ColPali, ColQwen2 and ColModernVBERT `ForRetrieval`.

They need no colpali-engine and no torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lidiag import checkpoint
from lidiag.adapter import LoadOptions, ModelCard, read_parameters
from lidiag.adapters import _loading
from lidiag.adapters._visual import VisualModel
from lidiag.errors import LidiagError

# Model -> its processor. AutoModel does not know these configurations.
_FAMILIES = {
    "ColPaliForRetrieval": "ColPaliProcessor",
    "ColQwen2ForRetrieval": "ColQwen2Processor",
    "ColModernVBertForRetrieval": "ColModernVBertProcessor",
}
_HEAD = "embedding_proj_layer"


@dataclass(frozen=True)
class Settings:
    """What can be set: `transformers:org/name?query_prefix=Question:%20`."""

    query_prefix: str = ""  # where it is given; else the processor's own


def claims(folder: Path) -> str | None:
    """Say what in the files makes this such a model; None where nothing does."""
    if (folder / "modules.json").exists():
        return None
    if not (folder / "adapter_config.json").exists():
        named = _named(folder)
        return f"config.json names {named}" if named else None
    if base := _loading.base_here(folder):
        named = _named(base)
        return f"it is an adapter (adapter_config.json) on a base whose config.json names {named}" if named else None
    return f"adapter_config.json trains {_HEAD}, the projection of transformers' models" if _loading.trains(folder, _HEAD) else None


def load(name: str, options: LoadOptions) -> VisualModel:
    """Load a checkpoint.

    Raises:
        LidiagError: the files name none of these models, or they cannot be loaded.
    """
    import transformers  # noqa: PLC0415 - seconds to import

    settings = read_parameters(Settings, options.parameters, f"transformers:{name}")
    source = _loading.locate(name, options)
    family = _named(source.whole.folder)
    if family is None:
        said = ", ".join(checkpoint.architectures(source.whole.folder)) or "no architecture"
        raise LidiagError(
            f"The config.json of {source.whole.name} names {said}; transformers: reads {', '.join(_FAMILIES)}.", "Name another adapter."
        )
    processor = _loading.processor(getattr(transformers, _FAMILIES[family]), source)
    if "query_prefix" in options.parameters:
        processor.query_prefix = settings.query_prefix
    network, missing = _loading.weights(getattr(transformers, family), source, options)
    model = VisualModel(network, processor, options.device)
    model.card = ModelCard(
        name=source.own.name,
        revision=source.own.revision,
        adapter="transformers",
        reason=options.reason,
        family=family,
        modalities=("image",),
        dim=network.config.embedding_dim,
        dtype=options.dtype,
        attention=_loading.attention(network.config),
        prompts=model.prompts,
        parameters=options.parameters,
        randomly_initialised=missing,
        versions=source.versions(),
    )
    return model


def _named(folder: Path) -> str | None:
    return next((name for name in checkpoint.architectures(folder) if name in _FAMILIES), None)
