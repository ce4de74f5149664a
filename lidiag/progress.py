"""Progress on stderr: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lidiag.terminal import safe
from lidiag.watch import Advance


class Bars:
    """A Watch that draws on a console (stderr, so that stdout stays the answer)."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._console = console

    @contextmanager
    def stage(self, name: str, total: int) -> Generator[Advance]:
        """Show a bar while the stage lasts; without a terminal, one line when it ends."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        if not self._console.is_terminal:
            yield lambda _: None
            self._console.print(escape(safe(f"{name}: done")), highlight=False)
            return
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(escape(safe(name)), total=total)
            yield lambda steps: progress.advance(task, steps)

    def remark(self, text: str) -> None:
        """Print one line."""
        self._console.print(escape(safe(text)), style="dim", highlight=False)

    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Draw nothing: a person was told by a stage or a remark."""
