"""What the store keeps on disk: listed, verified, removed.

The layout is `vectors/KK/KEY.safetensors` with `KEY.json` beside it for a finished set, `KEY.parts/` for one that is being
encoded or was left so, and `.KEY*.tmp` for what a killed process left. Nothing else is ever deleted, no symbolic link is
followed, and what another process is writing at this moment is left alone. No torch here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lidiag import strict_json
from lidiag.errors import LidiagError
from lidiag.files import sha256
from lidiag.lock import held

LARGEST_SIDECAR = 2**16
_OURS = re.compile(r"\.?([0-9a-f]{64})\.(?:safetensors|json|parts|lock|[a-z]+\..*tmp)")
_OF_A_PART = re.compile(r"\.?\d{6}\.(?:safetensors|json|lock|[a-z]+\..*tmp)")


def default_root() -> Path:
    """Return LIDIAG_CACHE, else XDG_CACHE_HOME/lidiag, else ~/.cache/lidiag."""
    if own := os.environ.get("LIDIAG_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lidiag"


@dataclass(frozen=True)
class Entry:
    """A set of vectors: `size` in bytes, `used` in seconds since the epoch; `items` counts those of finished parts.

    Where no sidecar can be read, nobody knows the model.
    """

    key: str
    finished: bool
    files: tuple[Path, ...]
    model: str = ""
    revision: str = ""
    side: str = ""
    items: int = 0
    size: int = 0
    used: float = 0.0

    @property
    def name(self) -> str:
        """The model with its revision, or the key where that is all there is."""
        return f"{self.model}@{self.revision[:12]}" if self.model else f"? ({self.key[:12]})"

    def matches(self, glob: str) -> bool:
        """Tell whether the model's name, or name@revision, matches a shell pattern."""
        return fnmatchcase(self.model, glob) or fnmatchcase(f"{self.model}@{self.revision}", glob)

    @property
    def busy(self) -> bool:
        """Whether another process is writing it."""
        return any(held(path) for path in _files(self) if path.suffix == ".lock")


@dataclass(frozen=True)
class Contents:
    """What a cache holds: sets, those used last first, and paths that no store made."""

    root: Path
    entries: tuple[Entry, ...] = ()
    foreign: tuple[Path, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all sets."""
        return sum(entry.size for entry in self.entries)


@dataclass
class _Found:
    files: dict[str, list[Path]] = field(default_factory=dict)  # by key
    foreign: list[Path] = field(default_factory=list)


def read(root: Path) -> Contents:
    """Return what lies in a cache; one that is not there is empty.

    Raises:
        LidiagError: a folder cannot be read, or `vectors` is no folder of its own.
    """
    vectors = root / "vectors"
    if vectors.is_symlink() or (vectors.exists() and not vectors.is_dir()):
        raise LidiagError(f"{vectors} is not a folder of its own.", "Set LIDIAG_CACHE to the folder that holds the vectors.")
    found = _Found()
    try:
        for folder in _inside(vectors):
            if folder.is_symlink() or not folder.is_dir() or not re.fullmatch(r"[0-9a-f]{2}", folder.name):
                found.foreign.append(folder)
                continue
            for path in _inside(folder):
                key = _OURS.fullmatch(path.name)
                if key and key[1].startswith(folder.name) and _is_plain(path):
                    found.files.setdefault(key[1], []).append(path)
                    found.foreign += [inner for inner in _inside(path) if not (_OF_A_PART.fullmatch(inner.name) and _is_plain(inner))]
                else:
                    found.foreign.append(path)
        entries = [_entry(key, files) for key, files in found.files.items() if any(path.suffix != ".lock" for path in files)]
    except OSError as error:
        raise LidiagError(
            f"{error.filename} cannot be read: {error.strerror}.", "Mend its permissions, or name another LIDIAG_CACHE."
        ) from error
    return Contents(root, tuple(sorted(entries, key=lambda entry: (-entry.used, entry.key))), tuple(found.foreign))


@dataclass(frozen=True)
class Damage:
    """What is wrong with the vectors that belong to a sidecar."""

    sidecar: Path
    what: str

    def repair(self) -> None:
        """Delete both files: the store encodes anew what is not there.

        Raises:
            LidiagError: they cannot be deleted.
        """
        _delete([self.sidecar, self.sidecar.with_suffix(".safetensors")])


def verify(entry: Entry) -> list[Damage]:
    """Check every SHA-256 of a set, and of the finished parts of an unfinished one.

    Raises:
        LidiagError: a file cannot be read.
    """
    return [Damage(sidecar, what) for sidecar in _sidecars(entry) if (what := _fault(sidecar))]


def remove(entry: Entry) -> None:
    """Delete a set; who has it mapped goes on reading it.

    Raises:
        LidiagError: a file cannot be deleted.
    """
    parts = [path for path in entry.files if path.suffix == ".parts"]
    # Sidecars first: without its own no store takes the vectors for whole.
    _delete(sorted(_files(entry), key=lambda path: path.suffix != ".json"))
    for folder in (*parts, entry.files[0].parent):
        with suppress(OSError):  # something else lies there
            folder.rmdir()


def _delete(files: Iterable[Path]) -> None:
    try:
        for path in files:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LidiagError(f"{error.filename} cannot be deleted: {error.strerror}.", "Mend its permissions.") from error


def _entry(key: str, paths: list[Path]) -> Entry:
    entry = Entry(key, any(path.name == f"{key}.json" for path in paths), tuple(paths))
    stats = [path.stat() for path in _files(entry)]
    told = [one for one in map(_told, _sidecars(entry)) if isinstance(one, dict)]
    model, revision, side = (
        next((one[name] for one in told if isinstance(one.get(name), str)), "") for name in ("model", "revision", "side")
    )
    return replace(
        entry,
        model=model,
        revision=revision,
        side=side,
        items=sum(one["items"] for one in told),
        size=sum(stat.st_size for stat in stats),
        used=max((stat.st_mtime for stat in stats), default=0.0),
    )


def _told(sidecar: Path) -> dict[str, Any] | str:
    """Return what a sidecar says, or what is wrong with it."""
    try:
        match strict_json.read(sidecar, LARGEST_SIDECAR, "a sidecar", ""):
            case {"sha256": str(), "items": int(items)} as told if not isinstance(items, bool):
                return told  # pyright: ignore[reportUnknownVariableType] - JSON
            case _:
                return f"{sidecar.name} does not say what it must"
    except LidiagError as error:
        return error.what.replace(str(sidecar), sidecar.name).rstrip(".")


def _fault(sidecar: Path) -> str:
    told, vectors = _told(sidecar), sidecar.with_suffix(".safetensors")
    if isinstance(told, str):
        return told
    if vectors.is_symlink() or not vectors.is_file():
        return f"{vectors.name} is missing" if sidecar.exists() else ""
    try:
        return "" if sha256(vectors) == told["sha256"] else f"{vectors.name} is not what was written"
    except OSError as error:
        raise LidiagError(f"{vectors} cannot be read: {error.strerror}.", "Check the disk and the permissions.") from error


def _sidecars(entry: Entry) -> Iterator[Path]:
    return (path for path in _files(entry) if path.suffix == ".json")


def _files(entry: Entry) -> Iterator[Path]:
    """Yield the files of a set, those of its parts too."""
    for path in entry.files:
        if path.suffix == ".parts":
            yield from (inner for inner in _inside(path) if _OF_A_PART.fullmatch(inner.name) and _is_plain(inner))
        else:
            yield path


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _is_plain(path: Path) -> bool:
    return not path.is_symlink() and (path.is_dir() if path.suffix == ".parts" else path.is_file())
