"""Who looks on while a run works: stages with a total, and remarks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Watch(Protocol):
    """Told of every stage and of what a person should know at once."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Advance]:
        """Open a stage of `total` steps; the context gives the function that advances it."""
        ...

    def remark(self, text: str) -> None:
        """Say one line."""
        ...

    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Take note of something that happened, as plain JSON values: for a log, not for a person."""
        ...


class Silent:
    """Looks away: for programs that run lidiag as a library."""

    @contextmanager
    def stage(self, name: str, total: int) -> Generator[Advance]:  # noqa: ARG002 - the protocol's
        """Open a stage that nobody sees."""
        yield lambda _: None

    def remark(self, text: str) -> None:
        """Say nothing."""

    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Note nothing."""
