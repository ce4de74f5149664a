"""A model's files: where they lie, which revision they are, and what may be read of them.

Nothing is loaded here. Weights are read from safetensors only: a pickle can run code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lidiag import hub, strict_json, tensor_files
from lidiag.adapter import LoadOptions
from lidiag.errors import LidiagError
from lidiag.files import expanded, sha256

_LONGEST_NAME = 255  # what file systems hold, in bytes
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Of a config: real ones stay below 100 kB, an index of shards below 5 MB.
_JSON_BYTES = 2**24
_CONFIGS = ["*config*.json", "modules.json", "artifact.metadata"]
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken", "*.jinja", "artifact.metadata"]
_PICKLED_WEIGHTS = re.compile(r"(pytorch_model|model|adapter_model|consolidated|weights)[\w.-]*\.(bin|pt|pth|pkl|ckpt)", re.IGNORECASE)


@dataclass(frozen=True)
class Checkpoint:
    """A folder of model files, the name that reports give it, its revision (40 hex digits), and the name it was asked by."""

    folder: Path
    name: str
    revision: str
    asked: str


def find(name: str, options: LoadOptions) -> Checkpoint:
    """Return a folder by its path, or a hub's `org/name`, downloaded where it is not in the cache yet.

    Raises:
        LidiagError: there is no such model or revision, the hub cannot be reached, the weights are pickled, or remote code
            is allowed without a pinned commit.
    """
    folder = local(name)
    if folder is not None:
        revision = content_revision(folder)
        if options.revision and not revision.startswith(options.revision):
            raise LidiagError(
                f"{name} is not revision {options.revision}: its files' content has the hash {revision}.",
                "Leave the revision out, or name the content hash.",
            )
        checkpoint = Checkpoint(folder, f"local/{folder.resolve().name}", revision, name)
    else:
        folder = snapshot(name, options)
        checkpoint = Checkpoint(folder, name, folder.name, name)
    refuse_pickles(checkpoint)
    for part in weight_folders(checkpoint.folder):
        tensor_names(part.glob("*.safetensors"))  # each header is bounded before a model library parses it
    return checkpoint


def snapshot(name: str, options: LoadOptions, *, weights: bool = True) -> Path:
    """Return the local folder of a hub's model, named by its commit; without `weights` its configs only.

    Raises:
        LidiagError: as `find`.
    """
    from huggingface_hub import constants, snapshot_download  # noqa: PLC0415 - models only
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError  # noqa: PLC0415 # pyright: ignore[reportPrivateImportUsage] - its transport's base error

    if not _HUB_NAME.fullmatch(name):
        raise LidiagError(
            f"There is no folder {name}, and it is not of the form org/name.", "Name a folder, or a model as it is on the hub."
        )
    if options.trust_remote_code and not _COMMIT.fullmatch(options.revision or ""):
        raise LidiagError(
            f"Remote code of {name} is only run at a pinned commit, not at {options.revision or 'whatever is newest'}.",
            f"Name the 40 hex digits of the commit that you have read: {name}@COMMIT.",
        )
    offline = options.offline or constants.is_offline_mode()
    unreachable = None if offline else hub.silence(name, options.revision, "model")
    patterns = (_FILES + (["*.py"] if options.trust_remote_code else [])) if weights else _CONFIGS
    try:
        path = snapshot_download(
            name, revision=options.revision, allow_patterns=patterns, local_files_only=offline or unreachable is not None
        )
    except LocalEntryNotFoundError as error:
        why = f"the hub cannot be reached ({unreachable})" if unreachable else "this run is offline"
        raise LidiagError(
            f"{name}{f'@{options.revision}' if options.revision else ''} is not in the local cache, and {why}.",
            "Mend the connection, download it beforehand, or name a folder.",
        ) from error
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        raise LidiagError(f"{name} cannot be downloaded: {_first_line(error)}", "Check the name, the connection and the disk.") from error
    return Path(path)


def local(name: str) -> Path | None:
    """Return the folder of that name; None where there is none, or no folder can have it (too long, a NUL, an unknown user's home)."""
    try:
        folder = expanded(name)
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        return None


def content_revision(folder: Path) -> str:
    """Return the first 40 hex digits of a SHA-256 over the paths and contents of a folder's files; hidden ones are left out."""
    digest = hashlib.sha256()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name, path in sorted(files.items()):
        if not any(part.startswith(".") or part == "__pycache__" for part in PurePosixPath(name).parts):
            digest.update(f"{name}\0{sha256(path)}\n".encode())
    return digest.hexdigest()[:40]


def refuse_pickles(checkpoint: Checkpoint) -> None:
    """Refuse weights that are only there as a pickle.

    Raises:
        LidiagError: the folder, or one of the modules that its modules.json names, has pickled weights and no safetensors.
    """
    for folder in weight_folders(checkpoint.folder):
        pickles = sorted(path.name for path in folder.glob("*") if _PICKLED_WEIGHTS.fullmatch(path.name))
        if pickles and not any(folder.glob("*.safetensors")):
            where = folder.relative_to(checkpoint.folder).as_posix()
            raise LidiagError(
                f"{checkpoint.name} has its weights as a pickle only ({where}/{pickles[0]}), which can run code when it is read.",
                "Convert it to safetensors, or ask its authors to.",
            )


def weight_folders(folder: Path) -> list[Path]:
    """Return the folder and those of its modules, as far as they exist.

    Raises:
        LidiagError: modules.json is not a list of modules within the folder.
    """
    paths = [module["path"] for module in modules(folder)]
    return [path for path in dict.fromkeys([folder, *(folder / path for path in paths)]) if path.is_dir()]


def modules(folder: Path) -> list[dict[str, str]]:
    """Return what modules.json lists, each with `type` and `path`; nothing where there is none.

    Raises:
        LidiagError: it is not a list of modules within the folder.
    """
    path = folder / "modules.json"
    if not path.exists():
        return []
    listed = read_json(path)
    wrong = LidiagError(f"{path} is not a list of modules, each with a type and a path within the folder.", "Save the model again.")
    if not isinstance(listed, list):
        raise wrong
    rows: list[dict[str, str]] = []
    for row in listed:
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("type", "path")):
            raise wrong
        inside = PurePosixPath(row["path"])
        if inside.is_absolute() or ".." in inside.parts or "\0" in row["path"] or len(row["path"].encode()) > _LONGEST_NAME:
            raise wrong
        rows.append(row)
    return rows


def config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Return a JSON object of the folder; empty where the file is absent.

    Raises:
        LidiagError: it is not valid JSON, no object, or far too large.
    """
    path = folder / name
    if not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise LidiagError(f"{path} holds a {type(value).__name__}, not an object.", "Save the model again.")
    return value


def architectures(folder: Path) -> list[str]:
    """Return the class names that config.json gives under `architectures`."""
    named = config(folder).get("architectures")
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def read_json(path: Path) -> Any:
    """Read JSON of unknown origin.

    Raises:
        LidiagError: it cannot be read, is not strict JSON, or larger than 16 MiB.
    """
    return strict_json.read(path, _JSON_BYTES, "valid JSON", "Save the model again, or check where it comes from.")


def tensor_names(files: Iterable[Path]) -> set[str]:
    """Return the names of the tensors in safetensors files; their contents are not read.

    Raises:
        LidiagError: a file is damaged.
    """
    return {name for path in files for name in tensor_files.check_safetensors(path) if name != "__metadata__"}


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
