"""The machine and the software that a run uses: devices, versions, memory."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import lidiag
from lidiag.card import ModelCard
from lidiag.errors import LidiagError
from lidiag.report import Environment

_PACKAGES = ("torch", "numba", "transformers", "sentence-transformers", "numpy", "scipy", "ir-measures", "tokenizers")


def best_device() -> str:
    """Return cuda or mps where there is one, else cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def checked_device(name: str) -> str:
    """Return the device's name if this machine has it.

    Raises:
        LidiagError: torch knows no such device, or it is not here.
    """
    try:
        torch.ones(1, device=name).item()  # `meta` makes a tensor and has no numbers
    except (RuntimeError, AssertionError, NotImplementedError):
        raise LidiagError(
            f"The device {name!r} is not here.", f"The best one here is {best_device()}; torch's names are cpu, cuda, cuda:1, mps."
        ) from None
    return name


def quiet_libraries() -> None:
    """Keep the bars and advice of model libraries off the terminal; their errors still come through."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging  # noqa: PLC0415 - only once a command needs models

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def environment(card: ModelCard, device: str, plan: dict[str, Any]) -> Environment:
    """Say what a run of this model runs on."""
    return Environment(
        versions={"python": platform.python_version()} | {name: version(name) for name in _PACKAGES} | card.versions,
        device=device,
        dtype=card.dtype,
        threads=torch.get_num_threads(),
        git=commit(),
        platform=f"{platform.system()} {platform.machine()}",
        plan=plan,
    )


def commit() -> str | None:
    """Return the commit of lidiag's checkout, with + where it was changed; None for an installed wheel."""
    here = Path(lidiag.__file__).parents[1]
    if not (here / ".git").exists():
        return None
    try:
        asked = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def code() -> str:
    """Return the SHA-256 over lidiag's own source: figures of other code may be other figures."""
    probes = find_spec("lidiag.probes")  # in a checkout they stand beside the package
    folders = [] if probes is None else probes.submodule_search_locations or []
    digest = hashlib.sha256()
    for folder in (Path(lidiag.__file__).parent, *map(Path, folders)):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_memory(device: str) -> int | None:
    """Return the largest memory that torch held on a CUDA device so far, in bytes."""
    return torch.cuda.max_memory_allocated(device) if torch.device(device).type == "cuda" else None
