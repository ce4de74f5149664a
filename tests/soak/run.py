"""Many runs in one process: `python -m tests.soak.run --runs 200`. Memory and open files must not grow with their number."""

from __future__ import annotations

import argparse
import gc
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lidiag.request import Request
from lidiag.run import run
from lidiag.watch import Silent

SUITE = """
name = "soak"
version = 1
description = "Two probes, a gate."
[[steps]]
probe = "retrieval"
[[steps]]
probe = "length-bias"
[[gates]]
probe = "retrieval"
name = "nDCG@10"
at = { pooling = "maxsim" }
op = ">="
bound = 0
reason = "So that a gate is judged."
"""


@dataclass(frozen=True)
class State:
    """What the process holds after a run."""

    runs: int
    memory: float  # MiB resident
    files: int
    threads: int

    @classmethod
    def now(cls, runs: int) -> State:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return cls(runs, pages * resource.getpagesize() / 2**20, _entries("/proc/self/fd"), _entries("/proc/self/task"))


def _entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def soak(runs: int, folder: Path) -> Iterator[State]:
    """Run again and again, each time into a new folder and from an empty cache, and yield what is held after each run."""
    (folder / "soak.toml").write_text(SUITE, encoding="utf-8")
    os.environ["LIDIAG_CACHE"] = str(folder / "cache")
    for number in range(1, runs + 1):
        out = folder / "out"
        report = run(
            Request(model="builtin:lexical", suites=(str(folder / "soak.toml"),), data=("builtin:facts",), out=out, limit=20), Silent()
        )
        assert report.exit_code() == 0, report.results
        shutil.rmtree(out)
        shutil.rmtree(folder / "cache")
        yield State.now(number)


def growth(states: list[State]) -> float:
    """Return the slope of memory over the second half, in MiB per 100 runs: least squares, so that one jump weighs little."""
    later = states[len(states) // 2 :]
    x = [state.runs for state in later]
    y = [state.memory for state in later]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return 100 * sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def main() -> int:
    """Print every tenth state and the slopes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    start = time.perf_counter()
    states: list[State] = []
    with tempfile.TemporaryDirectory() as folder:
        for state in soak(runs, Path(folder)):
            states.append(state)
            if state.runs % max(1, runs // 10) == 0 or state.runs == 1:
                sys.stdout.write(f"run {state.runs:4}: {state.memory:7.1f} MiB, {state.files} files, {state.threads} threads\n")
                sys.stdout.flush()
    sys.stdout.write(f"{growth(states):+.2f} MiB per 100 runs over the second half; {time.perf_counter() - start:.0f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
