"""Loading a visual checkpoint with every weight accounted for: a full one, or an adapter's folder on its base."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from lidiag import checkpoint, loading
from lidiag.adapter import LoadOptions
from lidiag.checkpoint import Checkpoint
from lidiag.errors import LidiagError

# PaliGemma reads its whole prompt at once and ModernVBERT is an encoder; the others are decoders.
_ATTENTION: dict[str, Literal["causal", "bidirectional"]] = {
    "paligemma": "bidirectional",
    "modernvbert": "bidirectional",
    "idefics3": "causal",
    "qwen2_vl": "causal",
    "qwen2_5_vl": "causal",
    "qwen3_vl": "causal",
    "qwen3_5": "causal",
}


@dataclass(frozen=True)
class Source:
    """Where a model's files lie: its own, and its base's where it is an adapter (LoRA)."""

    own: Checkpoint
    base: Checkpoint | None = None

    @property
    def whole(self) -> Checkpoint:
        """The files that configure the whole network, which an adapter leaves to its base."""
        return self.base or self.own

    def versions(self, *packages: str) -> dict[str, str]:
        """Return the versions of what loads it, and its base with its revision."""
        told = loading.versions("tokenizers", *packages)
        return told if self.base is None else told | {"peft": version("peft"), "base model": f"{self.base.name}@{self.base.revision}"}


def locate(name: str, options: LoadOptions) -> Source:
    """Find a model's files, and its base's, here or on the hub.

    Raises:
        LidiagError: one of them cannot be found, or is no safetensors.
    """
    own = checkpoint.find(name, options)
    told = checkpoint.config(own.folder, "adapter_config.json")
    if not told:
        return Source(own)
    if _is_whole(own.folder):
        return Source(own, own)
    base = told.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise LidiagError(f"The adapter {name} does not name its base model.", "Set base_model_name_or_path in its adapter_config.json.")
    here = base_here(own.folder)
    revision = None if here else told.get("revision")
    return Source(own, checkpoint.find(str(here or base), dataclasses.replace(options, revision=revision)))


def base_here(folder: Path) -> Path | None:
    """Return the folder of an adapter's base where it needs no hub: itself, or the path that adapter_config.json gives."""
    base = checkpoint.config(folder, "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        return None
    return folder if _is_whole(folder) else checkpoint.local(str(folder / base)) or checkpoint.local(base)


def trains(folder: Path, layer: str) -> bool:
    """Return whether an adapter's configuration names a layer among those it changes or brings along."""
    told = checkpoint.config(folder, "adapter_config.json")
    return layer in f"{told.get('target_modules')} {told.get('modules_to_save')}"


def _is_whole(folder: Path) -> bool:
    return (folder / "config.json").exists() and any(folder.glob("model*.safetensors"))


def weights(kind: Any, source: Source, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """Load the network in evaluation mode; return it with the weights that no file held, which are random.

    Raises:
        LidiagError: a file is missing, damaged or of another shape, or an adapter's weights have no place in the network.
    """
    if source.base is None:
        network, info = _from_pretrained(kind, source.own, options, device=options.device)
        return network.eval(), tuple(sorted(info["missing_keys"]))
    # transformers reports on the adapter's weights alone: what the base lacks shows only when the base is loaded by itself.
    bare, info = _from_pretrained(kind, source.base, options, device="cpu")
    del bare
    brought = checkpoint.config(source.own.folder, "adapter_config.json").get("modules_to_save") or []
    missing = {key for key in info["missing_keys"] if not any(f".{module}." in f".{key}" for module in brought)}
    network, info = _from_pretrained(kind, source.base, options, device=options.device, adapter=source.own.folder)
    if astray := sorted(info["unexpected_keys"]):
        raise LidiagError(
            f"{len(astray)} weights of the adapter {source.own.name} have no place in {source.base.name}, {astray[0]} for one.",
            "Check that base_model_name_or_path in its adapter_config.json is the model it was trained on.",
        )
    return network.eval(), tuple(sorted(missing | set(info["missing_keys"])))


def processor(kind: Any, source: Source) -> Any:
    """Load the processor from the model's folder, or from its base's where the adapter was saved without one.

    Raises:
        LidiagError: neither has a whole one.
    """
    files = ("preprocessor_config.json", "processor_config.json")
    folders = [place.folder for place in (source.own, source.whole) if any((place.folder / file).exists() for file in files)]
    if not folders:
        raise LidiagError(f"{source.own.name} has no processor ({' or '.join(files)}).", "Save its processor into the model's folder.")
    with loading.explained(source.own.name):
        return kind.from_pretrained(str(folders[0]), local_files_only=True)


def attention(config: Any) -> Literal["causal", "bidirectional", "unknown"]:
    """Return how the language model attends, as far as its configuration says."""
    vlm = getattr(config, "vlm_config", config)
    if getattr(vlm.get_text_config(), "is_causal", True) is False:
        return "bidirectional"
    return _ATTENTION.get(vlm.model_type, "unknown")


def _from_pretrained(
    kind: Any, source: Checkpoint, options: LoadOptions, *, device: str, adapter: Path | None = None
) -> tuple[Any, dict[str, Iterable[str]]]:
    # ColPali's unused lm_head stays on the meta device, from where `.to` cannot move it; a device map never touches it. It
    # needs accelerate, which colpali-engine brings along; transformers' own models do without.
    placed = {"device_map": device} if kind.__module__.startswith("colpali_engine") else {}
    on_top = {"adapter_kwargs": {"_adapter_model_path": str(adapter)}} if adapter else {}
    with loading.explained(source.name):
        network, info = kind.from_pretrained(
            str(source.folder), dtype=loading.dtype(options), use_safetensors=True, local_files_only=True, output_loading_info=True,
            **placed, **on_top,
        )  # fmt: skip
        return (network if placed else network.to(device)), info
