"""A comparison as one page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lidiag.compare import Comparison
from lidiag.files import write_text
from lidiag.html import page

_DECIDED = ("better", "worse", "higher", "lower")


def write(comparison: Comparison, path: Path) -> None:
    """Write the page whole or not at all."""
    write_text(path, text(comparison))


def text(comparison: Comparison) -> str:
    """Return the page as HTML: for each other model what is decided, then every measurement, to sort and filter."""
    others = []
    for name in comparison.models[1:]:
        rows = [row for row in comparison.rows if row.other == name]
        others.append({
            "name": name,
            "rows": rows,
            "decided": [row for row in rows if row.verdict in _DECIDED],
            "count": Counter(row.verdict for row in rows).most_common(),
        })  # fmt: skip
    return page.render("comparison.html", {"comparison": comparison, "others": others})
