"""What several commands read alike, and how an error is said."""

from __future__ import annotations

import os
import sys
from typing import Any, Literal

from lidiag.errors import unknown


def say(text: str) -> None:
    """Write one line to stderr, without control characters."""
    from lidiag.terminal import safe

    sys.stderr.write(f"lidiag: {safe(text)}\n")


def dtype(name: str) -> str:
    """Return the name if models are run in it."""
    known = ("float32", "bfloat16", "float16")
    if name not in known:
        raise unknown("dtype", name, known, "`lidiag run --help`")
    return name


def store(name: str) -> Literal["float32", "float16"]:
    """Return the name if vectors are kept in it."""
    if name == "float32" or name == "float16":  # noqa: PLR1714 - tells the types apart
        return name
    raise unknown("type of the store", name, ("float32", "float16"), "`lidiag run --help`")


def executor(name: str) -> Any:
    """Return the name if runs are made by it."""
    known = ("local", "ray")
    if name not in known:
        raise unknown("executor", name, known, "`lidiag run --help`")
    return name


def offline(asked: bool) -> bool:
    """Tell whether no hub may be asked, by the option or HF_HUB_OFFLINE, and let the hub's own client know."""
    asked = asked or os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}
    if asked:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub at its import, which comes later
    return asked
