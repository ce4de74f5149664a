"""Ways to do the same, timed in turn, round after round: what else the machine does meets all of them, so ratios within a round hold."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def timed(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every round by way; each round begins with another one."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            began = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """Return median, least and largest of a / b within a round."""
    ratios = [x / y for x, y in zip(a, b, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def spread(a: list[float], b: list[float]) -> str:
    """Print `ratio` for a table: median (least to largest)."""
    return "{:.2f} ({:.2f} to {:.2f})".format(*ratio(a, b))
