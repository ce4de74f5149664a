"""What a run is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lidiag.errors import LidiagError


@dataclass(frozen=True)
class Shard:
    """Share number `number` (from 1) of `of` equal shares of a run's work."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        """Refuse a share that does not exist."""
        if not 1 <= self.number <= self.of:
            raise LidiagError(f"There is no share {self.number} of {self.of}.", "The shares of three are 1/3, 2/3 and 3/3.")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `2/7`.

        Raises:
            LidiagError: it is not of that form, or there is no such share.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        if not found:
            raise LidiagError(f"--shard {text!r} is not of the form NUMBER/OF.", "The shares of three are 1/3, 2/3 and 3/3.")
        return cls(int(found[1]), int(found[2]))

    def owns(self, unit: int) -> bool:
        """Tell whether a unit of work, counted from 0, is this share's."""
        return unit % self.of == self.number - 1

    def __str__(self) -> str:
        """Print as it is written."""
        return f"{self.number}/{self.of}"


WHOLE = Shard()


@dataclass(frozen=True)
class Request:
    """What to run; names as the command line takes them."""

    model: str
    suites: tuple[str, ...]
    data: tuple[str, ...]
    out: Path
    queries: Path | None = None
    data_dir: Path | None = None
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    store: Literal["float32", "float16"] = "float32"
    batch_size: int = 32
    limit: int | None = None
    budget: float | None = None  # seconds
    offline: bool = False
    trust_remote_code: bool = False
    shard: Shard = WHOLE
    executor: Literal["local", "ray"] = "local"
    workers: int | None = None  # of the executor `ray`; without a number, one per node
