"""What a Parquet file unpacks to, by its directory and by its pages' own headers, told before a library reads any of it.

A directory may claim less than its pages hold, and a damaged one ends the process inside of pyarrow (seen with 25.0). The layout
is that of the Parquet format's thrift definition (compact protocol): the directory stands at the end of the file; a column chunk
is a row of pages, each a header and `compressed_page_size` bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

_MAGIC = b"PAR1"
_LARGEST_DIRECTORY = 2**20
_MOST_PAGES = 100_000
_LARGEST_HEADER = 2**16
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
# PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY: the others can unpack a few bytes to any size, and no run writes them.
_ENCODINGS = {0, 2, 3, 8}

Fields = Mapping[int, Any]


@dataclass(frozen=True)
class Size:
    """Rows, and the bytes that all pages together unpack to, their headers included."""

    rows: int
    unpacked: int


def size(path: Path, most: int) -> Size:
    """Return the size of a file whose columns are flat.

    Raises:
        ValueError: it is no Parquet file, its pages unpack to more than `most` bytes, or hold something else than its directory
            says; the message is a phrase for an error to hold.
        OSError: it cannot be read.
    """
    total = pages = 0
    with path.open("rb") as file:
        directory = _directory(file)
        for chunk in _chunks(directory):
            here = values = 0
            for page in _pages(file, chunk):
                pages += 1
                here += page.unpacked
                values += page.values
                if total + here > most:
                    raise ValueError(f"its pages unpack to more than the {most:,} bytes allowed")
                if pages > _MOST_PAGES:
                    raise ValueError(f"it has more than the {_MOST_PAGES:,} pages allowed")
            if (values, here) != (chunk.values, chunk.unpacked):
                claimed = f"{chunk.values:,} values in {chunk.unpacked:,} bytes"
                raise ValueError(f"its directory claims {claimed} where the pages hold {values:,} in {here:,}")
            total += here
    return Size(_number(directory, 3), total)


def _directory(file: BinaryIO) -> Fields:
    end = file.seek(0, 2)
    file.seek(max(0, end - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length + 12 > end:
        raise ValueError("it is no whole Parquet file")
    if length > _LARGEST_DIRECTORY:
        raise ValueError(f"its directory has {length:,} bytes, above the {_LARGEST_DIRECTORY:,} allowed")
    file.seek(end - 8 - length)
    return _Thrift(file.read(length)).struct()


@dataclass(frozen=True)
class _Chunk:
    start: int
    packed: int  # bytes
    unpacked: int  # bytes, as claimed
    values: int


def _chunks(directory: Fields) -> Iterator[_Chunk]:
    rows = 0
    for group in _structs(directory, 4):
        here = _number(group, 3)
        rows += here
        for column in _structs(group, 1):
            about = column.get(3)
            if 1 in column or not isinstance(about, dict):
                raise ValueError("it keeps a column in another file")
            fields = cast("Fields", about)
            values, unpacked, packed, start = (_number(fields, i) for i in (5, 6, 7, 9))
            if values != here:
                raise ValueError(f"a column has {values:,} values for {here:,} rows")
            dictionary = fields.get(11)
            # A column without values has a dictionary and no other page: pyarrow then writes 0 for that one's offset.
            if isinstance(dictionary, int) and (0 < dictionary < start or start == 0):
                start = dictionary
            if start < 0 or packed < 0:
                raise ValueError("a column begins before the file")
            yield _Chunk(start, packed, unpacked, values)
    if rows != _number(directory, 3):
        raise ValueError(f"its parts have {rows:,} rows, and its directory says {_number(directory, 3):,}")


@dataclass(frozen=True)
class _Page:
    unpacked: int  # bytes, the header's included
    values: int


def _pages(file: BinaryIO, chunk: _Chunk) -> Iterator[_Page]:
    start = chunk.start
    end = start + chunk.packed
    while start < end:
        file.seek(start)
        header = _Thrift(file.read(_LARGEST_HEADER))
        fields = header.struct()
        unpacked, packed = _number(fields, 2), _number(fields, 3)
        if unpacked < 0 or packed < 0:
            raise ValueError("a page claims a negative size")
        yield _Page(header.at + unpacked, _values(_number(fields, 1), fields))
        start += header.at + packed
    if start != end:
        raise ValueError("a page reaches beyond its column")


def _values(kind: int, fields: Fields) -> int:
    if kind == _DICTIONARY:
        return 0
    if kind not in {_DATA, _DATA_V2}:
        raise ValueError(f"it has a page of the kind {kind}")
    body = fields.get(5 if kind == _DATA else 8)
    about = cast("Fields", body) if isinstance(body, dict) else {}
    encoding = _number(about, 2 if kind == _DATA else 4)
    if encoding not in _ENCODINGS:
        raise ValueError(f"a page has the encoding {encoding}")
    return _number(about, 1)


def _number(fields: Fields, field: int) -> int:
    value = fields.get(field)
    if not isinstance(value, int):
        raise ValueError(f"a number is missing (field {field})")  # noqa: TRY004 - the file's fault
    return value


def _structs(fields: Fields, field: int) -> list[Fields]:
    value = fields.get(field)
    found = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("Fields", one) for one in found if isinstance(one, dict)]


_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_VARINTS = {4, 5, 6}
_LONG_LIST = 15
_DEEPEST = 16


class _Thrift:
    """Bytes in thrift's compact protocol; `at` is how far they have been read."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return the fields by id: whole numbers, structs and lists; what no reader needs is None."""
        fields: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._signed()
            # The truth of a field stands in its type.
            fields[field] = None if head & 15 in {_TRUE, _FALSE} else self._value(head & 15, depth + 1)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if kind in _VARINTS:
            return self._signed()
        if kind == _STRUCT:
            return self.struct(depth)
        if kind in {_LIST, _SET}:
            return self._list(depth)
        if kind == _BINARY:
            return self._skip(self._varint())
        if kind == _DOUBLE:
            return self._skip(8)
        if kind in {_TRUE, _FALSE, _BYTE}:
            return self._skip(1)
        raise ValueError(f"it holds a value of an unknown kind ({kind})")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        length = self._varint() if head >> 4 == _LONG_LIST else head >> 4
        # Every element takes a byte at least, so that a length that lies runs into the end.
        return [self._value(head & 15, depth + 1) for _ in range(length)]

    def _byte(self) -> int:
        self._skip(1)
        return self._content[self.at - 1]

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._content):
            raise ValueError("it is cut off")

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:  # noqa: PLR2004 - the highest bit says that more follow
                return value
            shift += 7
            if shift > 63:  # noqa: PLR2004 - 64 bits are the widest number
                raise ValueError("it holds a number that is too wide")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
