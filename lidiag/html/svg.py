"""Matplotlib's SVG made fit for a page: colours that follow the theme, no inline style (the page's policy forbids it), small.

Figures are drawn in the stand-in colours of this file, which become classes that the page's style sheet colours.
"""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lidiag.terminal import safe

INK = "#000000"
SERIES = tuple(f"#0101{i:02d}" for i in range(8))

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_DRAWN: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "lidiag", "text.parse_math": False, "font.size": 10.5, "axes.spines.top": False,
          "axes.spines.right": False, "legend.frameon": False, "axes.titlesize": 10.5, "font.family": "DejaVu Sans"}  # fmt: skip


_WIDTH, _LINE = 4.2, 0.21  # inches: of a figure, and of a line of text


def axes(height: float, *, legend: int, left: int = 6) -> Axes:
    """Return axes of that height in inches, with room for a legend's entries in two columns and `left` letters of labels.

    The room is counted, not laid out by matplotlib, which takes five times as long.
    """
    below = 2.3 * _LINE + _LINE * ((legend + 1) // 2) * (legend > 1)
    above = 0.1
    whole = above + height + below
    margin = 0.3 + 0.085 * left
    figure = Figure(figsize=(_WIDTH, whole))
    return figure.add_axes((margin / _WIDTH, below / whole, 1 - (margin + 0.12) / _WIDTH, height / whole))


def legend(axes: Axes, entries: int) -> None:
    """Write the legend below the axes, in two columns."""
    if entries > 1:
        _figure(axes).legend(loc="lower center", ncols=2, borderaxespad=0, borderpad=0.1, labelspacing=0.25)


def style() -> AbstractContextManager[None]:
    """Return the context in which every figure is drawn."""
    return mpl.rc_context(_DRAWN)


def inline(axes: Axes, name: str, title: str, description: str) -> Markup:
    """Return the figure as an `svg` element; `name` is unique on its page and starts all its ids."""
    buffer = io.BytesIO()
    with mpl.rc_context(_DRAWN):
        _figure(axes).savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib's own output
    for element in list(root):
        if element.tag == f"{_SVG}metadata":
            root.remove(element)
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{_SVG}style":
                parent.remove(child)
    _rename(root, name)
    for element in root.iter():
        _unstyle(element)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "class": "plot", "role": "img", "aria-labelledby": f"{name}-title {name}-desc"})
    root.set("stroke-linejoin", "round")
    for tag, text in (("desc", description), ("title", title)):
        element = ET.Element(f"{_SVG}{tag}", {"id": f"{name}-{tag}"})
        element.text = safe(text)
        root.insert(0, element)
    text = ET.tostring(root, encoding="unicode").replace("ns0:", "").replace(":ns0", "")
    return Markup(text)  # noqa: S704 - ElementTree escaped it


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - `axes` made it
    return figure


def _rename(root: ET.Element, name: str) -> None:
    """Keep only the ids that something refers to, and make them the page's own."""
    used: set[str] = set()
    for element in root.iter():
        if _HREF in element.attrib:
            target = element.attrib.pop(_HREF).removeprefix("#")
            used.add(target)
            element.set("href", f"#{name}-{target}")
        clip = re.fullmatch(r"url\(#(.+)\)", element.get("clip-path", ""))
        if clip:
            used.add(clip[1])
            element.set("clip-path", f"url(#{name}-{clip[1]})")
    for element in root.iter():
        old = element.attrib.pop("id", None)
        if old in used:
            element.set("id", f"{name}-{old}")


def _unstyle(element: ET.Element) -> None:
    """Turn a style attribute into presentation attributes, and stand-in colours into classes."""
    classes: list[str] = []
    for declaration in element.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if not key or key.startswith("font-family"):
            continue
        if key in {"fill", "stroke"} and value in SERIES:
            classes.append(f"{key}-{SERIES.index(value)}")
        elif key == "font":
            element.set("font-size", value.split()[0])
        else:
            element.set(key, "currentColor" if value == INK else value)
    for key in {"d", "x", "y", "transform"} & element.attrib.keys():
        element.set(key, _shortened(element.attrib[key]))
    # Text has no colour of its own in matplotlib's output where it is black.
    if element.tag == f"{_SVG}text":
        element.set("fill", "currentColor")
    if classes:
        element.set("class", " ".join(classes))


def _shortened(numbers: str) -> str:
    """Round coordinates to a hundredth of a point, and drop line ends."""
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", " ".join(numbers.split()))
