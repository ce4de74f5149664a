"""Collections of the hub: from a mirror folder that stands in for it, or from its clients' caches without asking it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lidiag.errors import LidiagError


def mirrored(path: str, mirror: Path) -> Path:
    """Return the folder of the hub's `org/name` in a mirror: `mirror/org/name` or `mirror/name`.

    Raises:
        LidiagError: neither is there.
    """
    looked = [mirror.expanduser() / path, mirror.expanduser() / path.rpartition("/")[2]]
    for folder in looked:
        if folder.is_dir():
            return folder
    raise LidiagError(
        f"{path} is not in the mirror {mirror}: neither {looked[0]} nor {looked[1]} exists.", "Put it there, or name another mirror."
    )


@contextmanager
def unasked() -> Generator[None]:
    """Keep the hub's clients from asking it, within the block: what is not in their caches fails at once."""
    from datasets import config  # noqa: PLC0415 - only for what lies on the hub
    from huggingface_hub import constants  # noqa: PLC0415

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before
