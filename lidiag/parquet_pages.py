"""What the pages of a Parquet file unpack to, read from the pages' own headers: a file's directory may claim less.

The layout is that of the Parquet format's thrift definition (compact protocol): a column chunk is a row of pages, each a header
and `compressed_page_size` bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

_MOST_PAGES = 100_000
_LARGEST_HEADER = 2**16
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
# PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY: the others can unpack a few bytes to any size, and no run writes them.
_ENCODINGS = {0, 2, 3, 8}
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_VARINTS = {4, 5, 6}
_LONG_LIST = 15
_DEEPEST = 8


def unpacked(path: Path, metadata: Any, most: int) -> int:
    """Return the bytes that all pages together unpack to, their headers included; `metadata` is pyarrow's of the file.

    Raises:
        ValueError: it is more than `most`, or the pages hold something else than the directory says.
    """
    total = pages = 0
    with path.open("rb") as file:
        for chunk in _chunks(metadata):
            here = values = 0
            for page in _pages(file, chunk):
                pages += 1
                here += page.unpacked
                values += page.values
                if total + here > most:
                    raise ValueError(f"its pages unpack to more than the {most:,} bytes allowed")
                if pages > _MOST_PAGES:
                    raise ValueError(f"it has more than the {_MOST_PAGES:,} pages allowed")
            if (values, here) != (chunk.num_values, chunk.total_uncompressed_size):
                claimed = f"{chunk.num_values:,} values in {chunk.total_uncompressed_size:,} bytes"
                raise ValueError(f"its directory claims {claimed} where the pages hold {values:,} in {here:,}")
            total += here
    return total


def _chunks(metadata: Any) -> Iterator[Any]:
    rows = 0
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        rows += group.num_rows
        for j in range(group.num_columns):
            chunk = group.column(j)
            if chunk.file_path:
                raise ValueError("it keeps a column in another file")
            if chunk.num_values != group.num_rows:
                raise ValueError(f"a column has {chunk.num_values:,} values for {group.num_rows:,} rows")
            yield chunk
    if rows != metadata.num_rows:
        raise ValueError(f"its parts have {rows:,} rows, and its directory says {metadata.num_rows:,}")


@dataclass(frozen=True)
class _Page:
    unpacked: int  # bytes, the header's included
    values: int


def _pages(file: BinaryIO, chunk: Any) -> Iterator[_Page]:
    start = chunk.data_page_offset
    # A column without values has a dictionary and no other page: pyarrow then writes 0 for that one's offset.
    if chunk.has_dictionary_page and (0 < chunk.dictionary_page_offset < start or start == 0):
        start = chunk.dictionary_page_offset
    end = start + chunk.total_compressed_size
    while start < end:
        file.seek(start)
        header = _Header(file.read(_LARGEST_HEADER))
        fields = header.struct(0)
        kind, size, packed = (_number(fields, i) for i in (1, 2, 3))
        if size < 0 or packed < 0:
            raise ValueError("a page claims a negative size")
        yield _Page(header.at + size, _values(kind, fields))
        start += header.at + packed
    if start != end:
        raise ValueError("a page reaches beyond its column")


def _values(kind: int, fields: dict[int, Any]) -> int:
    if kind == _DICTIONARY:
        return 0
    if kind not in {_DATA, _DATA_V2}:
        raise ValueError(f"it has a page of the kind {kind}")
    body = fields.get(5 if kind == _DATA else 8)
    if not isinstance(body, dict):
        raise ValueError("a page has no header of its kind")  # noqa: TRY004 - the file's fault
    about = cast("dict[int, Any]", body)
    encoding = _number(about, 2 if kind == _DATA else 4)
    if encoding not in _ENCODINGS:
        raise ValueError(f"a page has the encoding {encoding}")
    return _number(about, 1)


def _number(fields: dict[int, Any], field: int) -> int:
    value = fields.get(field)
    if not isinstance(value, int):
        raise ValueError("a page's header lacks a number")  # noqa: TRY004 - the file's fault
    return value


class _Header:
    """Bytes in thrift's compact protocol; `at` is how far they have been read."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def struct(self, depth: int) -> dict[int, Any]:
        """Return the fields by id: numbers and structs; what no reader needs is None."""
        if depth > _DEEPEST:
            raise ValueError("a page's header is nested too deeply")
        fields: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._signed()
            fields[field] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in {_TRUE, _FALSE}:
            return None
        if kind in _VARINTS:
            return self._signed()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in {_LIST, _SET}:
            head = self._byte()
            length = self._varint() if head >> 4 == _LONG_LIST else head >> 4
            for _ in range(min(length, _LARGEST_HEADER)):
                if head & 15 in {_TRUE, _FALSE}:
                    self._skip(1)
                else:
                    self._value(head & 15, depth + 1)
            return None
        sizes = {_BYTE: 1, _DOUBLE: 8}
        if kind == _BINARY:
            self._skip(self._varint())
        elif kind in sizes:
            self._skip(sizes[kind])
        else:
            raise ValueError("a page's header is damaged")
        return None

    def _byte(self) -> int:
        self._skip(1)
        return self._content[self.at - 1]

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._content):
            raise ValueError("a page's header is cut off")

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:  # noqa: PLR2004 - the highest bit says that more follow
                return value
            shift += 7
            if shift > 63:  # noqa: PLR2004 - 64 bits are the widest number
                raise ValueError("a page's header holds a number that is too wide")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
