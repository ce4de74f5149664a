"""What all pages share: escaping, the style, the theme switch, and a policy that lets nothing in from outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lidiag.terminal import number, safe, where

_TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, context: Mapping[str, Any]) -> str:
    """Return a page: every string is escaped, and freed of what could steer a display, unless it is Markup."""
    style = _asset("page.css")
    script = _asset("page.js")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; base-uri 'none'; form-action 'none'"
    return _environment().get_template(template).render(dict(context) | {"style": style, "script": script, "policy": policy})


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("lidiag.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plain,
    )
    made.filters["number"] = number
    made.filters["at"] = where
    return made


def _plain(value: object) -> object:
    return safe(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _asset(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
