"""Spoil valid files by the thousand and read them: `python -m tests.fuzz.run --cases 3000 [--readers report values]`.

A reader may read or refuse with LidiagError. All else is a fault: another exception, more than 5 s, more than 1 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lidiag.errors import LidiagError
from tests.fuzz.mutations import Spoil, spoils
from tests.fuzz.readers import READERS, Reader

SECONDS = 5.0
MEMORY = 2**30
ROOT = Path(__file__).resolve().parents[2]


class Hang(BaseException):
    """A reader did not end in time; no reader's own `except Exception` may swallow it."""


@dataclass
class Outcome:
    """What became of the spoilt files: how many were read, refused, or made the reader break; by place, one case of each."""

    read: int = 0
    refused: int = 0
    broken: int = 0
    slowest: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)

    def note(self, error: BaseException, content: bytes, name: str) -> None:
        """Keep the first case of each place that broke."""
        self.broken += 1
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if frame.name != "one" and frame.filename.startswith(str(ROOT))
        ]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside"
        text = f"{type(error).__name__}: {str(error)[:200]} with {name} = {content[:300]!r}"
        self.faults.setdefault(f"{type(error).__name__} at {place}", text)


def fuzz(reader: Reader, folder: Path, cases: int, number: int, *, memory: int | None = None) -> Outcome:
    """Spoil one of the reader's files per case; `memory` bounds what the process may take beyond what it has, in bytes."""
    reader.files(folder)
    valid = {name: (folder / name).read_bytes() for name in reader.spoilt}
    with suppress(LidiagError):
        reader.read(folder)  # what is loaded at the first use is no reader's memory
    if memory is not None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, resource.RLIM_INFINITY))
    outcome = Outcome()

    @seed(number)
    @settings(max_examples=cases, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(name=st.sampled_from(reader.spoilt), spoil=spoils())
    def one(name: str, spoil: Spoil) -> None:
        content = spoil(valid[name])
        (folder / name).write_bytes(content)
        start = time.perf_counter()
        try:
            with _in_time():
                reader.read(folder)
            outcome.read += 1
        except LidiagError:
            outcome.refused += 1
        except (Exception, Hang) as error:  # noqa: BLE001 - every other exception is what is looked for
            outcome.note(error, content, name)
        finally:
            outcome.slowest = max(outcome.slowest, time.perf_counter() - start)
            (folder / name).write_bytes(valid[name])

    one()
    return outcome


@contextmanager
def _in_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang(f"more than {SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    """Fuzz each reader in a process of its own and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="*", default=list(READERS), choices=list(READERS))
    parser.add_argument("--alone", action="store_true", help="in this process, with the outcome as JSON")
    given_ = parser.parse_args()
    if given_.alone:
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as folder:
            outcome = fuzz(READERS[given_.readers[0]], Path(folder), given_.cases, given_.seed, memory=MEMORY)
        sys.stdout.write(json.dumps(asdict(outcome) | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}) + "\n")
        return 0
    sys.stdout.write(f"{'reader':14} {'read':>7} {'refused':>7} {'broken':>7} {'slowest':>9} {'peak':>9} {'took':>7}\n")
    return max([_report(name, given_.cases, given_.seed) for name in given_.readers])


def _report(name: str, cases: int, number: int) -> int:
    start = time.perf_counter()
    command = [sys.executable, "-m", "tests.fuzz.run", "--alone", "--readers", name, "--cases", str(cases), "--seed", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + cases, check=False)
    if done.returncode:
        sys.stdout.write(f"{name:14} ended with {done.returncode}: {done.stderr[-2000:]}\n")
        return 1
    said = json.loads(done.stdout.splitlines()[-1])
    counts = f"{said['read']:7} {said['refused']:7} {said['broken']:7}"
    sys.stdout.write(f"{name:14} {counts} {said['slowest']:7.2f} s {said['peak']:6.0f} MB {time.perf_counter() - start:5.0f} s\n")
    sys.stdout.writelines(f"    {place}: {text}\n" for place, text in said["faults"].items())
    sys.stdout.flush()
    return 1 if said["broken"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
