"""What loading a model with transformers has in common: device and dtype, and whether a weight was left at random."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lidiag.adapter import LoadOptions
from lidiag.errors import LidiagError, unknown

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Whose attention is known from the type alone; whatever else has a decoder's or an encoder's flags may mix both.
_BIDIRECTIONAL = frozenset(
    "albert bert camembert deberta deberta-v2 distilbert electra ernie eurobert modernbert mpnet nomic_bert roberta xlm-roberta".split()  # noqa: SIM905
)
_CAUSAL = frozenset(
    [
        "gemma",
        "gemma2",
        "gpt2",
        "gpt_neox",
        "llama",
        "mistral",
        "modernbert-decoder",
        "olmo",
        "olmo2",
        "opt",
        "phi",
        "phi3",
        "qwen2",
        "qwen2_5_vl",
        "qwen2_vl",
        "qwen3",
        "qwen3_vl",
        "smollm3",
    ]
)


def dtype(options: LoadOptions) -> torch.dtype:
    """Return the dtype that the options name.

    Raises:
        LidiagError: it is none that models are run in.
    """
    if options.dtype not in _DTYPES:
        raise unknown("dtype", options.dtype, _DTYPES, "`lidiag run --help`")
    return _DTYPES[options.dtype]


@contextmanager
def explained(name: str) -> Generator[None]:
    """Say in one paragraph why a model's own library could not load it."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError, SafetensorError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise LidiagError(
            f"{name} cannot be loaded: {type(error).__name__}: {' '.join(lines)[:500]}",
            "Check that the folder is complete and that the installed libraries are those it needs.",
        ) from error


@contextmanager
def missing_weights() -> Generator[set[str]]:
    """Collect the names of the weights that no file held, while the block loads a model with transformers.

    transformers initialises them at random and says so in a log line only. Libraries that load through it do not hand its
    loading info on, so it is asked for at the one method that all of them call.
    """
    from transformers import PreTrainedModel  # noqa: PLC0415 - seconds to import

    missing: set[str] = set()
    original = PreTrainedModel.__dict__["from_pretrained"]

    def from_pretrained(cls: type[PreTrainedModel], *args: Any, **kwargs: Any) -> Any:
        wanted = kwargs.pop("output_loading_info", False)
        model, info = original.__func__(cls, *args, output_loading_info=True, **kwargs)
        missing.update(info["missing_keys"])
        missing.update(row[0] for row in info["mismatched_keys"])
        return (model, info) if wanted else model

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)  # pyright: ignore[reportAttributeAccessIssue] - put back below
    try:
        yield missing
    finally:
        PreTrainedModel.from_pretrained = original


def that_matter(missing: set[str], network: nn.Module, vectors: Callable[[], Tensor]) -> tuple[str, ...]:
    """Return those of the `missing` weights that `vectors()` depend on: an unused pooler may be random.

    What is no parameter of `network` (a buffer, a name that was changed while loading) counts as depended on.
    """
    parameters = dict(network.named_parameters())
    known = sorted(missing & parameters.keys())
    doubtful = sorted(missing - parameters.keys())
    if not known:
        return tuple(doubtful)
    with torch.enable_grad():
        for name in known:
            parameters[name].requires_grad_(True)  # noqa: FBT003 - torch's own signature
        gradients: Any = torch.autograd.grad(  # with allow_unused, None where nothing depends on it
            vectors().float().square().sum(), [parameters[name] for name in known], allow_unused=True
        )
    return tuple(sorted([*doubtful, *(name for name, gradient in zip(known, gradients, strict=True) if gradient is not None)]))


def attention(config: Any) -> Literal["causal", "bidirectional", "unknown"]:
    """Return how tokens attend, where the model's config leaves no doubt."""
    kind = getattr(config, "model_type", "")
    text = config.get_text_config()
    opened = getattr(text, "is_causal", None) is False or getattr(text, "use_bidirectional_attention", None) is True
    if kind in _BIDIRECTIONAL:
        return "causal" if getattr(config, "is_decoder", False) else "bidirectional"
    if kind in _CAUSAL:
        return "unknown" if opened else "causal"
    return "unknown"


def versions(*libraries: str) -> dict[str, str]:
    """Return the installed versions of torch, transformers and `libraries`."""
    return {name: version(name) for name in ("torch", "transformers", *libraries)}
