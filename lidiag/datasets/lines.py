"""Files of lines, read strictly: every fault is kept with its file and line, and nothing is guessed at."""

from __future__ import annotations

import gzip
import json
import reprlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lidiag import strict_json
from lidiag.errors import LidiagError

# Far above any document; a file without line ends would otherwise be read into memory whole.
LONGEST_LINE = 32 * 2**20
# Text packs to a tenth at best; what unpacks to more than a hundredfold was made to fill a memory or a disk.
_UNPACKED_FREELY = 64 * 2**20
_UNPACKED_FOLD = 100
_KEPT = 1000
_SHOWN = 5
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 2, 60, 60


@dataclass(frozen=True)
class Fault:
    """What is wrong with one line, or with a file as a whole (line 0)."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line} {self.what}" if self.line else f"{self.file} {self.what}"


@dataclass
class Faults:
    """The faults of a folder, in the order found: the first thousand, and how many there are."""

    kept: list[Fault] = field(default_factory=list)
    count: int = 0

    def add(self, file: Path | str, line: int, what: str) -> None:
        """Note a fault; `what` goes on from the file's name and the line."""
        self.count += 1
        if len(self.kept) < _KEPT:
            self.kept.append(Fault(file if isinstance(file, str) else file.name, line, what))

    def refuse(self, folder: Path | str, next_step: str) -> None:
        """Raise LidiagError if there are any, naming the first five."""
        if not self.count:
            return
        shown = "; ".join(map(str, self.kept[:_SHOWN]))
        more = f"; and {self.count - _SHOWN:,} more" if self.count > _SHOWN else ""
        raise LidiagError(f"{folder} cannot be used: {shown}{more}.", next_step)


def show(value: object) -> str:
    """Return a value as it may stand in a message: one short line, no control characters."""
    return _REPR.repr(value)


def refuse_twins(folder: Path, names: Iterable[str]) -> None:
    """Raise LidiagError where a file stands beside its own `.gz`: which one is meant cannot be told."""
    found = set(names)
    if twin := next((name for name in sorted(found) if f"{name}.gz" in found), None):
        raise LidiagError(f"{folder} holds both {twin} and {twin}.gz.", "Remove one of them.")


def lines(path: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) of a UTF-8 file, `.gz` or plain; blank lines hold nothing and are passed over."""
    number = size = 0
    try:
        most = max(_UNPACKED_FREELY, _UNPACKED_FOLD * path.stat().st_size)
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while raw := file.readline(LONGEST_LINE + 1):
                number += 1
                size += len(raw)
                if size > most:
                    faults.add(path, number, f"unpacks to more than {_UNPACKED_FOLD} times its size, and the rest was not read")
                    return
                if len(raw) > LONGEST_LINE:
                    faults.add(path, number, f"is longer than the {LONGEST_LINE // 2**20} MiB allowed, and the rest was not read")
                    return
                text = _decoded(raw, path, number, faults)
                if text.strip():
                    yield number, text
    except (OSError, EOFError, zlib.error) as error:
        faults.add(path, number + 1, f"cannot be read ({error})")


def _decoded(raw: bytes, path: Path, number: int, faults: Faults) -> str:
    try:
        # Editors on Windows put a byte order mark before the first line.
        return raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        faults.add(path, number, f"is not UTF-8 (byte {error.start + 1} is 0x{raw[error.start]:02x})")
        return ""


def objects(path: Path, faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSON-lines file; NaN and a key that stands twice are faults."""
    for number, text in lines(path, faults):
        try:
            value = strict_json.parse(text)
        except json.JSONDecodeError as error:
            faults.add(path, number, f"is not JSON ({error.msg} at column {error.colno})")
        except ValueError as error:
            faults.add(path, number, f"cannot be used ({error})")
        else:
            if isinstance(value, dict):
                yield number, value
            else:
                faults.add(path, number, f"is not a JSON object but {show(value)}")
