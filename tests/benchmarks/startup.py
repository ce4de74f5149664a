"""Time the commands that are typed most, each in a process of its own, against Python alone and against importing torch.

python tests/benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from rounds import ratio, spread, timed

CALLS = {
    "python -c pass": ("-c", "pass"),
    "import torch": ("-c", "import torch"),
    "import lidiag": ("-c", "import lidiag"),
    "lidiag --help": ("-m", "lidiag", "--help"),
    "lidiag list probes": ("-m", "lidiag", "list", "probes"),
}
SHARE = 0.5  # of the time that torch takes: what is promised of --help, which needs none of it


def main() -> int:
    arguments = _arguments()
    console = Console(width=140)
    seconds = timed({name: _process(call) for name, call in CALLS.items()}, arguments.rounds + 1)
    seconds = {name: values[1:] for name, values in seconds.items()}  # the first round reads the disk
    table = Table("call", "seconds, median", "times python -c pass: median (least to largest)", "times import torch")
    for name, values in seconds.items():
        bare, torch = (spread(values, seconds[other]) for other in ("python -c pass", "import torch"))
        table.add_row(name, f"{statistics.median(values):.2f}", bare, torch)
    console.print(table)
    share = ratio(seconds["lidiag --help"], seconds["import torch"])[0]
    console.print(f"lidiag --help takes {share:.2f} of the time of import torch (promised {SHARE:g})")
    return 0 if share <= SHARE else 1


def _process(call: tuple[str, ...]) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *call], check=True, capture_output=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
