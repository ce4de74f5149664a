"""JSON from outside, read strictly.

It is bounded in size, depth and number of values, and holds no NaN or infinity, no key twice and no text beyond UTF-8.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections import Counter
from pathlib import Path
from typing import Any

from lidiag.errors import LidiagError

DEPTH = 64
"""Of lists and objects within each other; a report has 6."""

# Python holds a list in 60 to 250 bytes where a file holds it in 3: a bound on bytes alone does not bound memory.
_MOST_CONTAINERS = 1_000_000
_MOST_VALUES = 20_000_000
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text; bytes are UTF-8.

    Raises:
        ValueError: it is not JSON (a JSONDecodeError), or not strictly so; the message is a phrase for an error to hold.
    """
    plain = text if isinstance(text, str) else text.decode("utf-8")
    _refuse_many(plain)
    try:
        value = json.loads(plain, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {DEPTH} deep") from error
    _refuse_depth(value)
    if _HALF.search(plain):
        _refuse_halves(value)
    return value


def read(path: Path, most: int, kind: str, next_step: str) -> Any:
    """Read a file of at most `most` bytes; `kind` is what it should be ("a report", "valid JSON"), `next_step` what to do where it is not.

    Raises:
        LidiagError: it cannot be read, is larger, or is not strict JSON.
    """
    try:
        # Read, not asked for its size: what is no regular file has none.
        with path.open("rb") as file:
            whole = file.read(most + 1)
        if len(whole) > most:
            raise LidiagError(f"{path} has {max(path.stat().st_size, len(whole)):,} bytes, above the {most:,} allowed.", next_step)
        return parse(whole)
    except OSError as error:
        raise LidiagError(f"{path} cannot be read: {error.strerror}.", next_step) from error
    except ValueError as error:
        raise LidiagError(f"{path} is not {kind}: {error}.", next_step) from error


def _refuse_many(text: str) -> None:
    for what, marks, most in (("lists and objects", "[{", _MOST_CONTAINERS), ("values", ",", _MOST_VALUES)):
        if sum(map(text.count, marks)) > most:
            # Inside a string they count for nothing.
            count = sum(map(_STRING.sub("", text).count, marks))
            if count > most:
                raise ValueError(f"it holds {count:,} {what}, above the {most:,} allowed")


def _refuse_depth(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise ValueError(f"it is nested more than {DEPTH} deep")
        inner = (child for parent in level for child in (parent.values() if isinstance(parent, dict) else parent))
        level = [child for child in inner if isinstance(child, dict | list)]


def _refuse_halves(value: Any) -> None:
    """Refuse half of a surrogate pair, which JSON can write and no file, terminal or tokenizer takes."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {_REPR.repr(twice)} stands twice")
    return found


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {_REPR.repr(text)} is not finite as a float")
    return value
