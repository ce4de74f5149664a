"""TOML from outside, read strictly: bounded in size, without NaN and infinity."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

from lidiag.errors import LidiagError

_MOST = 2**17
# The parser's time grows with the square of a dotted key's parts: 65,000 of them in 128 KiB took it two minutes.
_MOST_DOTS = 500


def read(path: Path, what: str, next_step: str) -> dict[str, Any]:
    """Read a file; `what` names it at the beginning of an error ("The suite"), `next_step` says what to do where it is no TOML.

    Raises:
        LidiagError: it cannot be read, is larger than 128 KiB, or is not strict TOML.
    """
    try:
        with path.open("rb") as file:
            whole = file.read(_MOST + 1)
        if len(whole) > _MOST:
            raise LidiagError(f"{what} {path} has more than the {_MOST:,} bytes allowed.", next_step)
        text = whole.decode("utf-8")
        _refuse_dots(text)
        return tomllib.loads(text, parse_float=_finite)
    except OSError as error:
        raise LidiagError(f"{what} {path} cannot be read: {error.strerror}.", "Check the path.") from error
    except RecursionError as error:
        raise LidiagError(f"{what} {path} is not TOML that can be used: it is nested too deeply.", next_step) from error
    except ValueError as error:
        raise LidiagError(f"{what} {path} is not TOML that can be used: {error}.", next_step) from error


def _refuse_dots(text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MOST_DOTS:
            raise ValueError(f"line {number} holds more than the {_MOST_DOTS} dots allowed")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value
