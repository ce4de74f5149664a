"""Build a leaderboard of many synthetic submissions, each verified from its values by query, and say how long that took.

    python tests/benchmarks/board.py --submissions 1000

The submissions have the shape of a robustness run on 60 queries; making them is not timed. The second figure reads the same
files and verifies nothing: trust the ratio, not the seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from rich.console import Console

from lidiag.html import board as pages
from lidiag.report import SuiteUsed
from lidiag.suite import Step, Suite
from tests import reports

SECONDS = 20.0  # for a thousand; what is promised


def main() -> int:
    arguments = _arguments()
    console = Console(width=140)
    suite = Suite(
        name="robustness", version=1, description="", steps=tuple(Step(probe=probe) for probe in reports.PROBES), gates=(reports.FLOOR,)
    )
    used = SuiteUsed(name=suite.name, version=suite.version, digest=suite.digest)
    with tempfile.TemporaryDirectory() as folder:
        board = Path(folder)
        for number in range(arguments.submissions):
            name, revision = f"org/model-{number:04d}", f"{number:040x}"
            place = board / "robustness-v1" / name.replace("/", "__") / revision
            place.mkdir(parents=True)
            reports.write(place, name=name, revision=revision, quality=number / 5000, seed=number, suite=used)
        files = [path for path in board.rglob("*") if path.is_file()]
        began = time.perf_counter()
        read = sum(len(path.read_bytes()) for path in files)
        reading = time.perf_counter() - began
        began = time.perf_counter()
        pages.build(board, {suite.name: suite})
        took = time.perf_counter() - began
    promised = SECONDS * arguments.submissions / 1000
    console.print(
        f"{arguments.submissions:,} submissions, {read / 2**20:,.0f} MiB: built in {took:.1f} s ({took / arguments.submissions * 1000:.1f} ms each; promised "
        f"{promised:.0f} s), {took / max(reading, 1e-9):,.0f} times as long as reading their bytes ({reading:.2f} s).",
        soft_wrap=True,
    )
    return 0 if took <= promised else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=1000)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
