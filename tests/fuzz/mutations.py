"""Hypothesis strategies that spoil a valid file: at bytes, at lines, and within its JSON values."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

_TOKENS = (
    b"", b"\0", b"\xff\xfe", b"\n", b"\r\n", b"\t", b'"', b"'", b"[", b"{", b"}", b"]", b",", b":", b".", b"#", b"NaN", b"-Infinity",
    b"1e999", b"-1", b"0", b"9" * 400, b"9" * 5000, b"1e-400", b"null", b"true", b'""', b"[[", b"[" * 300, b'{"a":' * 300, b"../../etc/passwd",
    b"/dev/zero", b"\\ud800", b"\\u0000", b"\xef\xbb\xbf", b"\x1b[31m", b"\xe2\x80\xae", b"\x7f\xff\xff\xff", b"\xff" * 8, b"\0" * 8, b"a" * 10_000,
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, 5e-324, "", "a", "a" * 10_000, "\0", "\x1b[2J",
    "\u202e", "../../etc/passwd", "/dev/zero", "x" * 300 + "/y", [], {}, [[]], [None], [1, "a"], {"a": 1}, {"": None}, [1] * 1000, "1e999", "nan",
)  # fmt: skip

Spoil = Callable[[bytes], bytes]


def spoils() -> st.SearchStrategy[Spoil]:
    """Return a strategy for one way to spoil a file's content."""
    noise = st.binary(max_size=300).map(lambda content: lambda _: content)
    return st.one_of(_seeded(_bytes), _seeded(_lines), _seeded(_values), noise)


def _seeded(how: Callable[[bytes, random.Random], bytes]) -> st.SearchStrategy[Spoil]:
    return st.integers(0, 2**32 - 1).map(lambda seed: lambda content: how(content, random.Random(seed)))  # noqa: S311 - no secret


def _bytes(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(content))
        upto = min(len(content), at + rng.choice((0, 1, 2, 8, 100)))
        match rng.randrange(5):
            case 0:
                content = content[:at] + rng.choice(_TOKENS) + content[upto:]
            case 1:
                content = content[:at]
            case 2:
                content = content[:at] + content[at:upto] * rng.choice((2, 50)) + content[upto:]
            case 3:
                content = content[:at] + bytes(byte ^ (1 << rng.randrange(8)) for byte in content[at : at + 1]) + content[at + 1 :]
            case _:
                content = content[:at] + rng.randbytes(upto - at) + content[upto:]
    return content


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines.insert(at, lines[other])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            fields = lines[at].split(b"\t")
            fields[rng.randrange(len(fields))] = rng.choice(_TOKENS)
            lines[at] = b"\t".join(fields)
    return b"\n".join(lines)


def _values(content: bytes, rng: random.Random) -> bytes:
    """Replace, remove or double values of a JSON file or of a line of JSON; other files are spoilt at bytes."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    for piece, put in ((content, lambda text: text), (lines[at], lambda text: b"\n".join([*lines[:at], text, *lines[at + 1 :]]))):
        try:
            value = json.loads(piece)
        except (ValueError, RecursionError):
            continue
        for _ in range(rng.randint(1, 3)):
            value = _changed(value, rng)
        return put(json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass"))
    return _bytes(content, rng)


def _changed(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return copy.deepcopy(rng.choice(_VALUES))
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    if rng.random() < 0.15:
        del value[key]
    elif rng.random() < 0.1 and isinstance(value, dict):
        value[rng.choice(("", "a" * 1000, "\x1b[2J", "__class__", "\u202e"))] = value[key]
    else:
        value[key] = _changed(value[key], rng)
    return value
