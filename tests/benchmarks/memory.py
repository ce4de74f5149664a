"""Score a few queries against more vectors than memory holds, mapped from a file, and say what that took.

    python tests/benchmarks/memory.py --gigabytes 20 --folder /tmp

The file is written first and deleted at the end. The pass runs in a process of its own that has nothing else to do; what it holds
is sampled while it runs: anonymous memory, which nobody can take back, and all resident pages, those of the file included.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from lidiag import packed
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.similarity import Needs, similarity_pass

DOCUMENT_TOKENS, DIM, QUERIES, QUERY_TOKENS = 256, 128, 4, 16
GIB = 2**30
LIMIT = 4 * GIB  # of all resident pages: what is promised, whatever the collection's size


def main() -> int:
    arguments = _arguments()
    console = Console(width=140)
    if arguments.measure:
        _measure(arguments.measure)
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "documents.safetensors"
        began = time.perf_counter()
        _write(path, arguments.gigabytes)
        console.print(f"{path.stat().st_size / GIB:.1f} GiB of vectors written in {time.perf_counter() - began:.0f} s")
        done = subprocess.run([sys.executable, __file__, "--measure", path], check=True, capture_output=True, text=True)
    seconds, again, before, anonymous, resident = map(float, done.stdout.split())
    console.print(
        f"{arguments.gigabytes:g} GiB of vectors, {QUERIES} queries of {QUERY_TOKENS}: a pass in {seconds:.0f} s, a second one in {again:.0f} s; before it {before / GIB:.2f} GiB resident, "
        f"at most {anonymous / GIB:.2f} GiB anonymous and {resident / GIB:.2f} GiB resident in all (promised {LIMIT / GIB:g})",
        soft_wrap=True,
    )
    return 0 if resident < LIMIT else 1


def _write(path: Path, gigabytes: float) -> None:
    documents = int(gigabytes * GIB) // (DOCUMENT_TOKENS * DIM * 4)
    packed.write(path, torch.full((documents,), DOCUMENT_TOKENS), DIM, _documents(documents), {})


def _documents(count: int) -> Iterator[Tensor]:
    """Yield unit rows, each document another one: rows of a pool, turned."""
    pool = torch.nn.functional.normalize(torch.randn(4096 + DOCUMENT_TOKENS, DIM, generator=torch.Generator().manual_seed(0)), dim=1)
    for number in range(count):
        start = number * 37 % 4096
        yield pool[start : start + DOCUMENT_TOKENS].roll(number // 4096 + 1, 1)


def _measure(path: Path) -> None:
    """Print seconds of two passes, the resident bytes before them, and the peaks of anonymous and of all resident bytes."""
    queries = MultiVectors.pack(list(torch.randn(QUERIES, QUERY_TOKENS, DIM, generator=torch.Generator().manual_seed(1))))
    few = MultiVectors.pack([torch.randn(DOCUMENT_TOKENS, DIM)])
    list(similarity_pass(queries, few, Needs((MaxSim(),))))  # compiles
    documents = MultiVectors.load(path)
    anonymous, resident = _memory()
    before, peaks, done = anonymous + resident, [0, 0], threading.Event()

    def sample() -> None:
        while not done.wait(0.02):
            anonymous, mapped = _memory()
            peaks[:] = max(peaks[0], anonymous), max(peaks[1], anonymous + mapped)

    watcher = threading.Thread(target=sample)
    watcher.start()
    seconds: list[float] = []
    for _ in range(2):
        began = time.perf_counter()
        (block,) = similarity_pass(queries, documents, Needs((MaxSim(),)))
        seconds.append(time.perf_counter() - began)
        assert bool(block.scores(MaxSim()).isfinite().all())
    done.set()
    watcher.join()
    print(*seconds, before, *peaks)  # noqa: T201 - the answer of this process


def _memory() -> tuple[int, int]:
    """Return the process's anonymous and its file-backed resident bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    anonymous, mapped = (int(found[1]) for found in re.finditer(r"Rss(?:Anon|File):\s+(\d+) kB", status))
    return anonymous * 1024, mapped * 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--folder", type=Path, help="where the file goes; default: the temporary folder")
    parser.add_argument("--measure", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
