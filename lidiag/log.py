"""A log of what happened, one JSON object a line: for whoever looks after many runs."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TextIO

from lidiag.errors import LidiagError
from lidiag.watch import Advance, Watch


class Log:
    """A Watch that appends to a file and tells another Watch.

    Every line has `time` (UTC, of the wall clock), `elapsed` (seconds since the log was opened, of a clock that never jumps),
    `process` and `event`. Stages have `stage`, and at their end `items`, `seconds` and `per_second`.
    """

    def __init__(self, path: Path, inner: Watch) -> None:
        """Append to `path`.

        Raises:
            LidiagError: it cannot be written to.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise LidiagError(f"{path} cannot be written: {error.strerror}.", "Name another file with --log-file.") from error
        self._path = path
        self._inner = inner
        self._began = time.monotonic()
        self._records = _Records(self)
        logging.getLogger().addHandler(self._records)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Note what ended it, if something did, and close the file."""
        logging.getLogger().removeHandler(self._records)
        if kind is not None:
            self._write("stopped", {"by": kind.__name__, "text": str(error)})
        self._file.close()

    @contextmanager
    def stage(self, name: str, total: int) -> Generator[Advance]:
        """Note when the stage began, and how it ended."""
        self._write("stage began", {"stage": name, "total": total})
        began, items = time.monotonic(), 0
        with self._inner.stage(name, total) as advance:

            def count(steps: int) -> None:
                nonlocal items
                items += steps
                advance(steps)

            yield count
        seconds = time.monotonic() - began
        rate = {"items": items, "seconds": round(seconds, 3), "per_second": round(items / seconds, 1) if seconds else None}
        self._write("stage ended", {"stage": name, **rate})

    def remark(self, text: str) -> None:
        """Note a line, and say it."""
        self._write("remark", {"text": text})
        self._inner.remark(text)

    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Note an event."""
        self._write(name, data)
        self._inner.event(name, data)

    def _write(self, event: str, data: Mapping[str, object]) -> None:
        elapsed = round(time.monotonic() - self._began, 3)
        line = {"time": datetime.now(tz=UTC).isoformat(timespec="milliseconds"), "elapsed": elapsed, "process": os.getpid(), "event": event}
        try:
            self._file.write(json.dumps(line | dict(data), ensure_ascii=True) + "\n")
        except OSError as error:
            raise LidiagError(
                f"{self._path} cannot be written: {error.strerror}.", "Free space or name another file with --log-file."
            ) from error


class _Records(logging.Handler):
    """Libraries' warnings and errors, as events."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.event("message", {"level": record.levelname, "logger": record.name, "text": record.getMessage()})
