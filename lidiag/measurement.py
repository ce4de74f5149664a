"""What a probe says: measurements and findings. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Coordinate = str | int | float
Better = Literal["higher", "lower", "neither"]
Severity = Literal["note", "warning", "fault"]


class Skip(Exception):  # noqa: N818 - it is not an error: the probe does not apply here
    """Raised by a probe that does not apply to this model or dataset; the reason is reported."""


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measurement(_Said):
    """One number at given coordinates, with its interval.

    A curve is one name over one coordinate; plots, gates and comparisons need no second kind of thing.
    """

    name: str
    at: dict[str, Coordinate] = Field(default_factory=dict)
    value: float
    low: float | None = Field(default=None, description="lower end of the 95 % interval; null where none exists")
    high: float | None = Field(default=None, description="upper end of the 95 % interval; null where none exists")
    n: int = Field(description="number of independent units (queries, unless `unit_of_n` says otherwise)")
    unit_of_n: str = "queries"
    unit: str = Field(default="", description="unit of the value; empty for a pure number")
    better: Better = "neither"
    aggregate: Literal["mean", "ratio"] | None = Field(
        default=None,
        description="how the value follows from the per-query values: their mean, sum(value) / sum(base), or null where it does not",
    )
    no_interval: str | None = Field(default=None, description="why low and high are null")


class Finding(_Said):
    """A statement in words, with the data behind it."""

    name: str
    text: str
    severity: Severity = Field(
        default="note", description="fault: the vectors or weights are wrong, and no figure of this model means anything"
    )
    data: dict[str, object] = Field(default_factory=dict)


class Paper(_Said):
    """Where a measure comes from."""

    title: str
    arxiv: str
    section: str = ""

    def __str__(self) -> str:
        """Print as one line: title, arXiv id, section."""
        where = f", {self.section}" if self.section else ""
        return f"{self.title} (arXiv {self.arxiv}{where})"
