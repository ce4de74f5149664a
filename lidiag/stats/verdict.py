"""Words follow numbers: the one rule by which an interval becomes a word."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["strong", "shown", "none", "cannot tell"]


def verdict(low: float | None, high: float | None, delta_0: float, delta_1: float, *, two_sided: bool = False) -> Verdict:
    """Return the word for an effect's interval, larger being worse: `delta_0` is negligible, more than `delta_1` strong.

    strong: low > delta_1; shown: low > delta_0; none: the interval lies inside +-delta_0; else, and without an interval,
    cannot tell. `two_sided` reads an effect below 0 like its mirror image; otherwise it is never "shown".

    Raises ValueError where the ends or the bounds are out of order.
    """
    if not 0 <= delta_0 <= delta_1:
        raise ValueError(f"0 <= delta_0 <= delta_1 must hold: {delta_0:g}, {delta_1:g}")
    if low is None or high is None:
        return "cannot tell"
    if not low <= high:
        raise ValueError(f"the interval's ends are out of order: {low:g}, {high:g}")
    least = max(low, -high) if two_sided else low
    if least > delta_1:
        return "strong"
    if least > delta_0:
        return "shown"
    return "none" if -delta_0 <= low and high <= delta_0 else "cannot tell"
