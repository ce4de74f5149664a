"""One run at a time in a folder. The kernel drops the lock of a process that dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lidiag.errors import LidiagError


@contextmanager
def alone(folder: Path, name: str = ".lock", *, shared: bool = False) -> Generator[None]:
    """Hold the lock `name` of a folder, making the folder where it is missing; `shared` lets others share it.

    Raises:
        LidiagError: another process holds it, or the folder cannot be written to.
    """
    path = folder / name
    made = not folder.exists()
    try:
        file = _hold(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except BlockingIOError:
        raise LidiagError(f"{folder} is in use by {_holder(path)}.", "Wait for it, or name another folder with --out.") from None
    except OSError as error:
        raise LidiagError(
            f"{path} cannot be locked: {error.strerror or error}.", "Name a folder that can be written to with --out."
        ) from error
    with file:
        if not shared:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        try:
            yield
        finally:
            if not shared:
                path.unlink(missing_ok=True)
            if made:
                with suppress(OSError):  # it holds something: a report, or what is finished of one
                    folder.rmdir()


@contextmanager
def turn(path: Path, *, wait: bool = True) -> Generator[bool]:
    """Take one's turn at `path`: others who name it wait, or are told that it is not theirs.

    A file system without locks gives everyone a turn at once: work may be done twice, to the same end.
    """
    try:
        file = _hold(path, fcntl.LOCK_EX, wait=wait)
    except BlockingIOError:
        yield False
        return
    except OSError as error:
        if error.errno not in {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}:
            raise
        yield True
        return
    with file:
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)


def held(path: Path) -> bool:
    """Tell whether somebody holds the lock `path`; it is not made where it is missing."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # gone, or a file system without locks
    return False


def _hold(path: Path, kind: int, *, wait: bool = False) -> IO[str]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+", encoding="utf-8")
        except FileNotFoundError:
            continue  # the folder was removed again just now, by whoever had finished with it
        try:
            fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()  # its holder removed it on leaving: what is locked is no longer the file of this name


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:200] or "shares of a run"
    except OSError:
        return "another process"
