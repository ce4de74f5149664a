"""One address that answers JSON to JSON: time-outs, retries with back-off, a bound on the answer, and no redirects."""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from lidiag import strict_json
from lidiag.errors import LidiagError

# Too many requests, or a server that is starting, restarting or behind a proxy that is.
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_PIECE = 2**16
_SHOWN = 300


class Unanswered(Exception):  # noqa: N818 - a fault that another attempt may mend
    """No usable answer came; `pause` is what the server asked to wait, in seconds."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        """`why` goes into the final error."""
        super().__init__(why)
        self.pause = pause


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask. `secret` is sent to this host alone, in the Authorization header."""

    url: str
    secret: str = ""
    timeout: float = 60.0  # seconds for one whole answer
    attempts: int = 5
    longest: int = 2**28  # bytes
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        """Refuse an address that cannot be asked, or that a secret must not be sent to."""
        parts = self._parts()
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise LidiagError(
                f"{self._shown()} is not an address of the form http://host:port/path.",
                "Write http:https://host/v1/embeddings; credentials come from the variable that ?key_env= names.",
            )
        if self.secret and parts.scheme == "http" and not self.local():
            raise LidiagError(f"A key would go to {parts.hostname} unencrypted.", "Use https.")

    def local(self) -> bool:
        """Say whether the address is this machine."""
        host = self._parts().hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def ask(self, body: dict[str, Any]) -> Any:
        """Post `body` and return the answer's JSON.

        Raises:
            LidiagError: the server refuses, redirects, answers no JSON or too much of it, or does not answer in time,
                after as many attempts as are allowed.
        """
        sent = json.dumps(body).encode()
        why = ""
        for attempt in range(self.attempts):
            try:
                return self._once(sent)
            except Unanswered as fault:
                why = str(fault)
                if attempt + 1 < self.attempts:
                    wanted = fault.pause if fault.pause is not None else _FIRST_PAUSE * 2**attempt
                    self.sleep(min(wanted, _LONGEST_PAUSE))
        raise LidiagError(
            f"{self._shown()} gave no usable answer in {self.attempts} attempts; the last: {why}.", "Check the server, or raise ?timeout=."
        )

    def _once(self, sent: bytes) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "lidiag"}
        headers |= {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        parts = self._parts()
        connection = self._connection()
        deadline = time.monotonic() + self.timeout
        try:
            connection.connect()
            with _cut_off(connection.sock, self.timeout):
                connection.request("POST", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", sent, headers)
                with connection.getresponse() as answer:
                    whole = self._read(answer)
            if time.monotonic() >= deadline:
                # What was shut down looks like an answer that has ended, where no length was announced.
                raise TimeoutError
        except (OSError, http.client.HTTPException) as error:
            late = time.monotonic() >= deadline
            raise Unanswered(f"no whole answer within {self.timeout:g} s" if late else f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        self._judge(answer, whole)
        try:
            return strict_json.parse(whole)
        except ValueError as error:
            raise LidiagError(
                f"{self._shown()} answered no JSON ({error}): {self._clean(whole)}.", "Check that the address is an embeddings endpoint."
            ) from error

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := answer.read1(_PIECE):
            size += len(piece)
            if size > self.longest:
                raise LidiagError(f"{self._shown()} answered with more than {self.longest:,} bytes.", "Send fewer texts at once: ?items=1.")
            pieces.append(piece)
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        return b"".join(pieces)

    def _judge(self, answer: http.client.HTTPResponse, whole: bytes) -> None:
        status = answer.status
        if status in _TRY_AGAIN:
            asked = answer.getheader("Retry-After", "")
            raise Unanswered(f"{status} {self._clean(whole)}", float(asked) if asked.isdecimal() else None)
        if 300 <= status < 400:  # noqa: PLR2004 - the range of redirects
            raise LidiagError(
                f"{self._shown()} redirects to {answer.getheader('Location', 'nowhere')[:_SHOWN]!r}.", "Name that address if you trust it."
            )
        if status != http.client.OK:
            raise LidiagError(f"{self._shown()} refuses with {status}: {self._clean(whole)}.", "Check ?model=, the path, and ?key_env=.")

    def _connection(self) -> http.client.HTTPConnection:
        parts = self._parts()
        host = parts.hostname or ""
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, parts.port, timeout=self.timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, parts.port, timeout=self.timeout)

    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise LidiagError(f"{self.url!r} is not an address: {error}.", "The form is http://host:port/path.") from error
        return parts

    def _shown(self) -> str:
        parts = self._parts()
        return f"{parts.scheme}://{(parts.netloc or '').rpartition('@')[2]}{parts.path}"

    def _clean(self, whole: bytes) -> str:
        """Return the beginning of an answer for an error: one line, no control characters, no secret."""
        text = whole[: 4 * _SHOWN].decode(errors="replace")
        if self.secret:
            text = text.replace(self.secret, "***")
        return "".join(character if character.isprintable() else " " for character in text)[:_SHOWN]


@contextmanager
def _cut_off(sock: socket.socket, seconds: float) -> Generator[None]:
    """Shut the connection down when time is up: a socket's own time-out starts anew with every byte that trickles in."""

    def shut() -> None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
