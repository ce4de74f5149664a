"""The hub: told within seconds whether it has something for this user, instead of after minutes of retries."""

from __future__ import annotations

import threading
from typing import Literal

from lidiag.errors import LidiagError

# An unreachable hub is retried for minutes by its own client; a look-up answers within a second or not at all.
SECONDS = 4.0
_WHAT = {"model": "model", "dataset": "collection"}


def silence(name: str, revision: str | None, kind: Literal["model", "dataset"]) -> str | None:
    """Ask the hub for a model or a collection; return why there is no answer, or None where there is one.

    Raises:
        LidiagError: the hub answers that there is no such thing or revision, or none for this user.
    """
    from huggingface_hub import HfApi, constants  # noqa: PLC0415 - only for what lies on the hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HTTPError, RepositoryNotFoundError, RevisionNotFoundError  # noqa: PLC0415 # pyright: ignore[reportPrivateImportUsage] - its transport's base error

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    answer: list[Exception | None] = []

    def ask() -> None:
        api = HfApi()
        look_up = api.model_info if kind == "model" else api.dataset_info
        try:
            look_up(name, revision=revision, timeout=SECONDS)
            answer.append(None)
        except (HfHubHTTPError, HTTPError, OSError) as error:
            answer.append(error)

    # A name server that does not answer is outside every time-out of the client; a thread can be left behind.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS)
    match answer[0] if answer else TimeoutError(f"no answer within {SECONDS:g} s"):
        case None:
            return None
        case GatedRepoError() as error:
            raise LidiagError(f"{name} is gated on the hub.", "Accept its terms there and set HF_TOKEN.") from error
        case RepositoryNotFoundError() as error:
            what = f"There is no {_WHAT[kind]} {name} on the hub, or it is private."
            raise LidiagError(what, "Check the spelling; for a private one set HF_TOKEN.") from error
        case RevisionNotFoundError() as error:
            what = f"{name} has no revision {revision} on the hub."
            raise LidiagError(what, "Name a commit, a tag or a branch that exists, or take a mirror that has it.") from error
        case error:
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
