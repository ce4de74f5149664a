"""Files of tensors from outside: their headers are bounded and checked before any library parses them."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path
from typing import Any

from lidiag import strict_json
from lidiag.errors import LidiagError

# The index of a model with ten thousand tensors takes 1 MB.
_LARGEST_HEADER = 16 * 2**20
_LARGEST_ARRAY_HEADER = 10_000
_NUMBERS = re.compile(r"[<|=>]?[fiub][1248]")
_LONGEST = 2**48
_NEXT = "Download or save it again, or check where it comes from."


def check_safetensors(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file: a dtype, a shape and the first and last byte of each tensor, within the file.

    Raises:
        LidiagError: the file cannot be read, its header is larger than 16 MiB or than the file, or is no strict JSON of tensors
            that lie within the file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LARGEST_HEADER or length > size - 8:
                raise _fault(path, f"its header claims {length:,} bytes, of {size:,} in the file and {_LARGEST_HEADER:,} allowed")
            header = strict_json.parse(file.read(length))
    except OSError as error:
        raise LidiagError(f"{path} cannot be read: {error.strerror}.", _NEXT) from error
    except ValueError as error:
        raise _fault(path, f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise _fault(path, "its header is not an object")
    for name, entry in header.items():
        if name != "__metadata__" and not _fits(entry, size - 8 - length):
            raise _fault(path, f"the tensor {name[:60]!r} does not lie within it")
    return header


def check_array(path: Path) -> None:
    """Refuse an .npy file that numpy would stumble over: it reads all of a header before it bounds it.

    Raises:
        LidiagError: the file cannot be read, its header is larger than 10,000 bytes or is none of plain numbers, or the numbers
            do not lie within the file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            # 6 bytes of magic, 2 of version, then the header's length: 2 bytes in version 1, 4 in the later ones.
            length = int.from_bytes(file.read(2 if start[6:7] == b"\x01" else 4), "little")
            if length > _LARGEST_ARRAY_HEADER:
                raise LidiagError(f"{path} claims a header of {length:,} bytes, above the {_LARGEST_ARRAY_HEADER:,} allowed.", _NEXT)
            header = file.read(length).decode("latin-1")
            room = path.stat().st_size - file.tell()
        about = ast.literal_eval(header.strip())
    except OSError as error:
        raise LidiagError(f"{path} cannot be read: {error.strerror}.", _NEXT) from error
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise LidiagError(f"{path} is not a whole .npy file: its header is damaged.", _NEXT) from error
    match about:
        case {"descr": str(kind), "fortran_order": bool(), "shape": (*shape,), **more} if _NUMBERS.fullmatch(kind) and not more:
            extents = [extent for extent in shape if type(extent) is int and 0 <= extent < _LONGEST]
            if start.startswith(b"\x93NUMPY") and len(extents) == len(shape) and math.prod(extents) * int(kind[-1]) <= room:
                return
            raise LidiagError(f"{path} is not a whole .npy file: {room:,} bytes do not hold an array of the shape {shape}.", _NEXT)
        case _:
            raise LidiagError(f"{path} is not an .npy file of numbers: its header is {header.strip()[:200]!r}.", _NEXT)


def _fits(entry: Any, room: int) -> bool:
    match entry:
        case {"dtype": str(), "shape": [*shape], "data_offsets": [int(start), int(end)]}:
            whole = all(type(extent) is int and 0 <= extent < _LONGEST for extent in shape)
            # 4 bits are the narrowest element there is.
            return whole and 0 <= start <= end <= room and math.prod(shape) <= 2 * (end - start)
        case _:
            return False


def _fault(path: Path, what: str) -> LidiagError:
    return LidiagError(f"{path} is not a whole safetensors file: {what}.", _NEXT)
