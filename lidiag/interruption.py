"""Ctrl-C and SIGTERM end the process within seconds, whatever it is busy with: all that is finished is on disk already."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

GRACE = 3.0
"""Seconds from the signal until the process ends, where it has not ended in order."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAID = b"lidiag: Interrupted. What was finished is kept: the same command goes on from there.\n"


def watch(code: int) -> None:
    """End with exit code `code` after the first of these signals: by KeyboardInterrupt, else after `GRACE` seconds, or at the second signal.

    To be called in the main thread. A thread of its own waits for the signal, because Python's handlers wait for the main
    thread, which may be within a long product.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)  # noqa: FBT003 - the socket's own signature
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def end() -> None:
        while reader.recv(1)[0] not in _SIGNALS:
            pass
        writer.fileno()  # keeps the writing end open for as long as somebody reads
        time.sleep(GRACE)
        os.write(2, _SAID)
        os._exit(code)

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
        for each in _SIGNALS:
            signal.signal(each, lambda _number, _frame: os._exit(code))
        raise KeyboardInterrupt

    for each in _SIGNALS:
        signal.signal(each, interrupt)
    threading.Thread(target=end, daemon=True, name="interruption").start()


def leave(code: int) -> NoReturn:
    """End at once with what was printed: libraries take seconds to take themselves down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
