"""The readers of plain bytes under atheris, which seeks inputs that reach new code.

In an environment of its own: `pip install atheris`, then `python -m tests.fuzz.coverage_guided json -max_total_time=60`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports] - no wheels for every Python: it is in no extra

with atheris.instrument_imports(include=["lidiag"]):
    from lidiag import parquet_pages, strict_json, strict_toml, tensor_files
    from lidiag.errors import LidiagError

_FILE = Path(tempfile.mkdtemp()) / "x"


def _json(content: bytes) -> None:
    with suppress(ValueError):
        strict_json.parse(content)


def _on_file(read: Callable[[Path], object]) -> Callable[[bytes], None]:
    def one(content: bytes) -> None:
        _FILE.write_bytes(content)
        with suppress(LidiagError):
            read(_FILE)

    return one


def _parquet(path: Path) -> None:
    with suppress(ValueError):
        parquet_pages.size(path, 2**20)


READERS: dict[str, Callable[[bytes], None]] = {
    "json": _json,
    "parquet": _on_file(_parquet),
    "safetensors": _on_file(tensor_files.check_safetensors),
    "array": _on_file(tensor_files.check_array),
    "toml": _on_file(lambda path: strict_toml.read(path, "The file", "Mend it.")),
}

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, READERS[name])
    atheris.Fuzz()
