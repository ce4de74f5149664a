"""What kind of token each vector stands for: a word's sort by a list of ours and its letters, a patch's by its pixels."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lidiag.adapter import Adapter, Label, Side
from lidiag.dataset import Document
from lidiag.errors import LidiagError
from lidiag.multivector import MultiVectors

STOP_WORD, PUNCTUATION, NUMBER, CONTENT, BLANK = "stop word", "punctuation", "number", "content", "blank"
TYPES = ("special", "augmentation", "prompt", STOP_WORD, PUNCTUATION, NUMBER, CONTENT, "padding", "patch", BLANK)

Codes = NDArray[np.int8]

_CODE = {kind: code for code, kind in enumerate(TYPES)}
_BLANK_SD = 2  # grey levels of 0-255: noise of a scanner or of JPEG on empty paper stays below, one letter is far above
# Vowel signs of Indic scripts and the like are no letters to `re`, and half a character of a byte-level tokenizer is U+FFFD.
_SIGNS = "".join(chr(code) for code in range(0x10000) if unicodedata.category(chr(code)).startswith("M")) + "\ufffd"
_WORD = re.compile(rf"(?:[^\W_]|[{_SIGNS}])+")
# What tokenizers write before a word or before its further pieces.
_MARKS = re.compile(r"^(##|[\u0120\u2581\s])+")

# English words of grammar, none that names a thing; pieces of contractions ("don't" is read as "don" and "t") included.
STOP_WORDS = frozenset(
    """
    a an the this that these those some any each every either neither both all no none such same other another much many more most few less least
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its itself
    they them their theirs themselves one oneself who whom whose which what when where why how whether
    am is are was were be been being do does did done doing have has had having can could may might must shall should will would ought cannot
    of in on at by for with without within about against between among into onto through during before after above below to from up down out off
    over under upon toward towards per via than as since until while near across along around behind beside besides beyond despite except
    and or but nor so yet if because although though unless whereas then else thus hence therefore however also too only just even very quite rather
    again further once here there now not never ever always often already still almost
    s t d ll m re ve don doesn didn isn aren wasn weren hasn haven hadn won wouldn couldn shouldn mustn needn shan ain
    """.split()  # noqa: SIM905 - a list of strings would fill two pages
)


def of_word(text: str) -> str:
    """Return the type of a whole word, or of a piece where no more is known."""
    word = "".join(_WORD.findall(text))
    if not word:
        return PUNCTUATION
    if word.isnumeric():
        return NUMBER
    return STOP_WORD if word.lower() in STOP_WORDS else CONTENT


def _of_label(label: Label, text: str, words: Sequence[tuple[int, int]]) -> str:
    """Return a word label's type: of the whole word that the piece is in, as "the" of "theorem" is no stop word."""
    if label.span is None or not 0 <= label.span[0] < label.span[1] <= len(text):
        return of_word(_MARKS.sub("", label.text))
    start, end = label.span
    after = bisect_right(words, start, key=lambda word: word[1])
    if after < len(words) and words[after][0] < end:
        start, end = words[after]
    return of_word(text[start:end])


def codes(adapter: Adapter, side: Side, item: str | Document, vectors: int) -> Codes:
    """Return the place in TYPES of each vector's type.

    Raises:
        Skip: the adapter cannot say what its vectors stand for.
        LidiagError: it names another number of vectors than there are.
    """
    labels = adapter.labels(side, item)
    if len(labels) != vectors:
        raise LidiagError(f"{adapter.card.name} labels {len(labels)} of a {side}'s {vectors} vectors.", "Mend the adapter's labels().")
    text = item if isinstance(item, str) else item.text
    words = [match.span() for match in _WORD.finditer(text)]
    found = [_of_label(label, text, words) if label.type == "word" else label.type for label in labels]
    if isinstance(item, Document) and any(label.box for label in labels):
        for i in _blank(item, labels):
            found[i] = BLANK
    return np.array([_CODE[kind] for kind in found], dtype=np.int8)


def all_codes(adapter: Adapter, side: Side, items: Sequence[str] | Sequence[Document], vectors: MultiVectors) -> Codes:
    """Return the types of all vectors of many items, one byte each; raises what `codes` raises."""
    found = np.empty(len(vectors.vectors), dtype=np.int8)
    for item, (start, end) in zip(items, pairwise(vectors.offsets.tolist()), strict=True):
        if end > start:
            found[start:end] = codes(adapter, side, item, end - start)
    return found


def _blank(document: Document, labels: Sequence[Label]) -> list[int]:
    """Return the patches without anything on them; one narrower than a pixel is of the pixel that it begins in."""
    if document.page is None:
        return []
    grey = np.asarray(document.page.open().convert("L"), dtype=np.float32)
    height, width = grey.shape
    found: list[int] = []
    for i, label in enumerate(labels):
        if label.type != "patch" or label.box is None:
            continue
        left, top = (min(int(part * size), size - 1) for part, size in zip(label.box[:2], (width, height), strict=True))
        right, bottom = (round(part * size) for part, size in zip(label.box[2:], (width, height), strict=True))
        if grey[top : max(bottom, top + 1), left : max(right, left + 1)].std() < _BLANK_SD:
            found.append(i)
    return found
