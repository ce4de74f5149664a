"""Collections of the hub: from a mirror folder that stands in for it, or from its clients' caches without asking it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pyarrow import ArrowException

from lidiag import hub
from lidiag.cache import default_root
from lidiag.dataset import DataOptions
from lidiag.errors import LidiagError
from lidiag.files import expanded

_COMMIT = re.compile("[0-9a-f]{40}")


def mirrored(path: str, mirror: Path) -> Path:
    """Return the folder of the hub's `org/name` in a mirror: `mirror/org/name` or `mirror/name`.

    Raises:
        LidiagError: neither is there.
    """
    looked = [expanded(mirror) / path, expanded(mirror) / path.rpartition("/")[2]]
    for folder in looked:
        if folder.is_dir():
            return folder
    raise LidiagError(
        f"{path} is not in the mirror {mirror}: neither {looked[0]} nor {looked[1]} exists.", "Put it there, or name another mirror."
    )


@contextmanager
def reaching(path: str, revision: str | None, options: DataOptions, of: str = "") -> Generator[str]:
    """Give the place to load the hub's `path` from, the hub or a folder of the mirror, and explain why loading fails.

    Jobs that load the same thing wait for one another, so that none reads what another is still writing to the cache.

    Raises:
        LidiagError: it is not in the mirror, not on the hub, gated, not in the cache while no hub answers, or faulty.
    """
    from datasets.exceptions import DatasetsError  # noqa: PLC0415 - only for what lies on the hub

    why = None
    if options.data_dir is not None:
        place = str(mirrored(path, options.data_dir))
    else:
        place = path
        why = "this run is offline" if options.offline else hub.silence(path, revision, "dataset")
    try:
        with _alone(f"{place}@{revision}"), unasked() if why or options.data_dir else nullcontext():
            yield place
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ArrowException, DatasetsError) as error:
        cause = (f"{why}, and " if why else "") + (str(error).partition("\n")[0].rstrip(".") or type(error).__name__)
        if options.data_dir is not None and not (Path(place) / "README.md").exists():
            cause += "; and it has no README.md, which on the hub says which file is which"
        step = "Mend that, or name a mirror of the hub with --data-dir."
        raise LidiagError(f"{place}{f' of {of}' if of else ''} cannot be loaded: {cause}.", step) from error


def require_revision(table: Any, revision: str | None, path: str) -> None:
    """Refuse a table that was cached at another commit than `revision`: offline, `datasets` takes whatever it finds of that name.

    Raises:
        LidiagError: it is of another commit.
    """
    if revision is None or not _COMMIT.fullmatch(revision):
        return
    folders = {part for file in table.cache_files for part in Path(file["filename"]).parts if _COMMIT.fullmatch(part)}
    if folders and revision not in folders:
        raise LidiagError(
            f"The cache holds {path} at revision {', '.join(sorted(folders))}, not at {revision}.", "Run it once without --offline."
        )


@contextmanager
def _alone(name: str) -> Generator[None]:
    from filelock import FileLock  # noqa: PLC0415 - as above

    lock = default_root() / "locks" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        yield


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
