"""Collections on the hub: told within seconds whether they can be had, or found in a mirror folder that stands in for it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lidiag.errors import LidiagError

# The hub's own client retries for minutes; a look-up answers within a second or not at all.
_SECONDS = 4.0


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


def silence(path: str, revision: str) -> str | None:
    """Ask the hub for a collection; return why there is no answer, or None where there is one.

    Raises:
        LidiagError: the hub answers that there is no such collection or revision, or none for this user.
    """
    from huggingface_hub import HfApi, constants  # noqa: PLC0415 - only for what lies on the hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HTTPError, RepositoryNotFoundError, RevisionNotFoundError  # noqa: PLC0415 # pyright: ignore[reportPrivateImportUsage] - its transport's base error

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    answer: list[Exception | None] = []

    def ask() -> None:
        try:
            HfApi().dataset_info(path, revision=revision, timeout=_SECONDS)
            answer.append(None)
        except (HfHubHTTPError, HTTPError, OSError) as error:
            answer.append(error)

    # A name server that does not answer is outside every time-out of the client; a thread can be left behind.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    match answer[0] if answer else TimeoutError(f"no answer within {_SECONDS:g} s"):
        case None:
            return None
        case GatedRepoError() as error:
            raise LidiagError(f"{path} is gated on the hub.", "Accept its terms there and set HF_TOKEN.") from error
        case RepositoryNotFoundError() as error:
            raise LidiagError(f"There is no collection {path} on the hub, or it is private.", "For a private one set HF_TOKEN.") from error
        case RevisionNotFoundError() as error:
            raise LidiagError(f"{path} has no revision {revision} on the hub any more.", "Take a mirror that has it.") from error
        case error:
            return str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def unasked() -> Generator[None]:
    """Keep the hub's clients from asking it, within the block: what is not in their caches fails at once."""
    from datasets import config  # noqa: PLC0415 - as above
    from huggingface_hub import constants  # noqa: PLC0415

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before
