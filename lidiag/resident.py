"""Mapped vectors take no memory that the kernel could not have back, but they count as the process's own until it asks.

A pass over a mapped file gives back what it has behind it, so that its memory does not grow with the collection. Linux only;
elsewhere, and for vectors that are not mapped, nothing is done.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

_SMALL = 2**28  # bytes that are left where they are: nobody misses them
_CHUNK = 2**26  # bytes given back at once: a call per block would cost more than the block
_MAPPING = re.compile(r"(?m)^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+)[^\n]*\n((?:[A-Z]\w*:[^\n]*\n)+)")
_ALTERED = re.compile(r"(?m)^Anonymous:\s+[1-9]")


class Trail:
    """What lies behind a reader of (tokens, dim) rows who goes through them from the first to the last."""

    def __init__(self, vectors: Tensor) -> None:
        """Look whether the rows are those of a mapped file, unaltered."""
        self._start = vectors.data_ptr()
        self._row = vectors.stride(0) * vectors.element_size()
        self._rows = len(vectors)
        self._mapped = vectors.device.type == "cpu" and vectors.nbytes > _SMALL and _is_mapped(self._start, self._start + vectors.nbytes)
        self._behind = 0

    def reach(self, row: int) -> None:
        """Give back what lies before `row`, once it is much; several threads may be near each other here."""
        position = row * self._row
        if self._mapped and position - self._behind >= _CHUNK:
            behind, self._behind = self._behind, position
            self._give_back(behind, position)

    def end(self) -> None:
        """Give everything back, to start again at the first row."""
        if self._mapped:
            self._behind = 0
            self._give_back(0, self._rows * self._row)

    def _give_back(self, first: int, last: int) -> None:
        page = mmap.PAGESIZE
        start = (self._start + first) // page * page
        # Whole pages of a file: whoever reads them again finds them in the file.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(self._start + last - start), mmap.MADV_DONTNEED)


def in_parts(vectors: Tensor, rows: int) -> Iterator[tuple[int, Tensor]]:
    """Yield parts of at most `rows` of (tokens, dim) rows, each with the number of its first row; what was read is given back."""
    trail = Trail(vectors)
    try:
        for first in range(0, len(vectors), rows):
            trail.reach(first)
            yield first, vectors[first : first + rows]
    finally:
        trail.end()


def _is_mapped(start: int, end: int) -> bool:
    """Tell whether these addresses lie in a mapping of a file of which no page was written to: to drop others would lose them."""
    try:
        mappings = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    for low, high, inode, details in _MAPPING.findall(mappings):
        if int(low, 16) <= start and end <= int(high, 16):
            return inode != "0" and not _ALTERED.search(details)
    return False
