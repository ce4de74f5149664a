"""What the user can mend is said in one paragraph, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LidiagError(Exception):
    """Something the user must act on: what is wrong, both sides of it, and the next step (exit code 4)."""

    def __init__(self, what: str, next_step: str) -> None:
        """`what` states the fault with the culprit's name; `next_step` is an instruction."""
        super().__init__(f"{what} {next_step}")
        self.what = what
        self.next_step = next_step

    def __reduce__(self) -> tuple[type[LidiagError], tuple[str, str]]:
        """Say how it is made, for another process."""
        return LidiagError, (self.what, self.next_step)


def unknown(kind: str, name: str, known: Iterable[str], how_to_list: str) -> LidiagError:
    """Make the error for a name that does not exist, with the nearest names that do."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names) or 'none'}."
    return LidiagError(f"There is no {kind} named {name!r}. {hint}", f"See {how_to_list}.")
