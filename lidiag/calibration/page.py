"""What a calibration found, as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tabulate import tabulate

from lidiag.calibration.reasons import WIDE
from lidiag.calibration.trials import ALLOWED, COVERAGE, WANTED, Calibration, Coverage, Rate
from lidiag.calibration.worlds import AILMENTS, PLANTED


def text(found: Calibration) -> str:
    """Return the page, with the command that makes it and what that cost."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Calibration) -> Iterator[str]:
    command = f"lidiag calibrate --suite {found.suite} --collections {found.collections} --seed {found.seed}"
    yield "# Calibration"
    yield ""
    yield f"`{command}` made this page in {found.seconds:,.0f} s: {found.collections:,} sets of 40 queries in each world, two hundred to a collection of 80 documents."
    yield ""
    yield from (f"- **{name}**: {what}." for name, what in AILMENTS.items())
    yield ""
    yield "## Gates: how often each fails"
    yield ""
    yield (
        f"On healthy collections a gate is at fault if it surely fails more than {ALLOWED:.0%} of them (one-sided 99 % Clopper-Pearson bound); in bold, the "
        f"world was made to fail it, and a gate is at fault if it surely fails fewer than {WANTED:.0%} of that world's. "
        "An ailing world is measured by that gate's probe alone; which other gates an ailment moves is shown in ailments.md."
    )
    yield ""
    yield _table(found.gates)
    yield ""
    faults = [f"{rate.what}: {rate.share:.1%}" for rate in found.false_alarms]
    yield "No gate raises false alarms too often." if not faults else "Too many false alarms: " + "; ".join(faults) + "."
    yield ""
    missed = [f"{rate.what} ({rate.ailment}): {rate.share:.1%}" for rate in found.missed]
    yield "Every gate finds the world that was made to fail it." if not missed else "Missed too often: " + "; ".join(missed) + "."
    yield ""
    yield "## Verdicts: how often something is `shown` or `strong`"
    yield ""
    yield _table(found.verdicts)
    yield ""
    yield "## Intervals: how often a 95 % interval holds the truth, on healthy collections"
    yield ""
    yield from _coverage(found.coverage)


def _table(rates: Sequence[Rate]) -> str:
    names = list(dict.fromkeys(rate.what for rate in rates))
    by_place = {(rate.what, rate.ailment): rate for rate in rates}
    rows = [[name, *(_cell(by_place.get((name, ailment))) for ailment in AILMENTS)] for name in names]
    return tabulate(rows, ["", *AILMENTS], tablefmt="github", disable_numparse=True)


def _cell(rate: Rate | None) -> str:
    if rate is None:
        return "-"
    bold = "**" if rate.what.startswith(PLANTED.get(rate.ailment, "\0")) else ""
    return f"{bold}{rate.share:.1%}{bold}"


def _coverage(coverage: Sequence[Coverage]) -> Iterator[str]:
    shares = np.array([one.share for one in coverage])
    low, high = COVERAGE
    inside = ((shares >= low) & (shares <= high)).sum()
    yield (
        f"The truth is the mean over all query sets to the same documents (of a ratio, that of all their sums). Of {len(shares):,} measurements with intervals, {inside:,} ({inside / max(1, len(shares)):.0%}) cover it in "
        f"{low:.0%} to {high:.0%} of the cases; the median is {np.median(shares):.1%}, the lowest {shares.min():.1%}, the highest {shares.max():.1%}. "
        "What is the same in every trial is left out. Shares near 0 or 1 are covered more often on purpose: their intervals are exact there."
    )
    yield ""
    short = [f"{one.measurement} ({one.share:.1%})" for one in coverage if one.rate.at_most < low]
    yield f"Surely below {low:.0%} (one-sided 99 % Clopper-Pearson bound): {'; '.join(short) or 'none'}."
    yield ""
    by_name: dict[str, list[Coverage]] = {}
    for one in coverage:
        by_name.setdefault(" ".join(one.measurement.split(" ")[:2]), []).append(one)
    yield _covered(by_name)
    yield ""
    for name, row in by_name.items():
        least, most = (end(row, key=lambda one: one.share) for end in (min, max))
        if least.share < low:
            yield f"- {name} covers as little as {least.share:.1%}: {_unexplained(least.rate.at_most < low, low)}"
        if most.share > high:
            yield f"- {name} covers as much as {most.share:.1%}: {WIDE.get(name) or _unexplained(most.rate.at_least > high, high)}"


def _covered(by_name: Mapping[str, Sequence[Coverage]]) -> str:
    shares = {name: [one.share for one in row] for name, row in by_name.items()}
    rows = [[name, f"{len(row)}", f"{min(row):.1%}", f"{np.median(row):.1%}", f"{max(row):.1%}"] for name, row in shares.items()]
    return tabulate(rows, ["measurement", "places", "lowest", "median", "highest"], tablefmt="github", disable_numparse=True)


def _unexplained(surely: bool, end: float) -> str:
    return "no reason is known." if surely else f"so many collections cannot tell that from {end:.0%}."
