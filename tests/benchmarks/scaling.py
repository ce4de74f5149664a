"""Diagnose collections of generated vectors from a thousand documents to a million, and fit the exponent of time in documents.

    python tests/benchmarks/scaling.py --documents 1000 10000 100000 1000000

Every size has a process of its own, in which one step after another is timed on the same bench: the vectors are mapped from a file,
as a run has them. Times are the processor's, of all threads: what else the machine does counts less than in the clock's, and of
some rounds the least counts. The exponent is the
least-squares slope of log time on log documents, once over all sizes and once over the two largest, where what does not grow weighs
least; the larger of the two is judged. A block's scores and states have bounded room, so that a block of a large collection holds fewer
queries, and narrow blocks take longer per query: what of the exponent is owed to that is seen where the second largest collection
is measured once more with a room in proportion, in blocks of the largest one's shape.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).parents[2]))

from lidiag import battery, catalog, packed
from lidiag.bench import Bench
from lidiag.dataset import Dataset, Document, Query
from lidiag.errors import LidiagError
from lidiag.machine import peak_memory
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.similarity import Needs, Tiling
from lidiag.watch import Silent
from tests.probes.toy import ToyAdapter

SHORTEST, LONGEST, DIM, QUERIES, QUERY_TOKENS, RELEVANT = 8, 32, 32, 12, 8, 5
PROBES = {
    "retrieval": {},
    "gradient-gini": {},
    "length-bias": {"longest_prefix": 16, "foreign": 8},
    "distractor-hijacking": {"k": [0, 25, 100], "draws": 2, "echo": 0},
    "similarity-tail": {},
    "length-sweep": {"texts": 0},
}
EXPONENT, LIMIT = 1.05, 4 * 2**30  # what is promised: time in documents, and resident bytes


def main() -> int:
    arguments = _arguments()
    console = Console(width=140)
    if arguments.measure:
        sys.stdout.write(json.dumps(_measure(arguments.measure, arguments.room)))
        return 0
    *_, second, largest = sorted(arguments.documents)
    asked = [*((documents, 1.0) for documents in arguments.documents), (second, second / largest)]
    rounds = [[_asked(*one) for one in asked] for _ in range(arguments.rounds)]
    *found, narrow = (_least(times) for times in zip(*rounds, strict=True))
    for documents, one in zip(arguments.documents, found, strict=True):
        console.print(f"{documents:,} documents: {one['all']:.1f} s of the processor, {one['memory'] / 2**30:.2f} GiB resident at most")
    console.print(f"{second:,} documents in blocks of {largest:,}'s shape: {narrow['all']:.1f} s of the processor")
    sizes = np.log(arguments.documents)
    table = Table("step", *(f"{documents:,}" for documents in arguments.documents), "exponent", "of the two largest")
    for step in (name for name in found[0] if name != "memory"):
        seconds = [one[step] for one in found]
        table.add_row(step, *(f"{value:.2f}" for value in seconds), *(f"{each:.2f}" for each in _exponents(sizes, seconds)))
    console.print(table)
    exponent = max(_exponents(sizes, [one["all"] for one in found]))
    same_shape = _exponents(np.log([second, largest]), [narrow["all"], found[arguments.documents.index(largest)]["all"]])[0]
    memory = max(one["memory"] for one in found)
    console.print(
        f"{min(arguments.documents):,} to {max(arguments.documents):,} documents: time grows as their number to the power of {exponent:.2f} (promised "
        f"{EXPONENT:g}), {same_shape:.2f} in blocks of one shape, {memory / 2**30:.2f} GiB resident at most (promised {LIMIT / 2**30:g})",
        soft_wrap=True,
    )
    return 0 if exponent <= EXPONENT and memory <= LIMIT else 1


def _asked(documents: int, room: float) -> dict[str, float]:
    """Measure in a process of its own."""
    asked = [sys.executable, __file__, "--measure", str(documents), "--room", str(room)]
    return json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _least(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the least time of each step: what else the machine does only adds to it; and the most memory."""
    steps = {name: min(one[name] for one in rounds) for name in rounds[0] if name not in {"all", "memory"}}
    return steps | {"all": sum(steps.values()), "memory": max(one["memory"] for one in rounds)}


def _exponents(sizes: np.ndarray, seconds: list[float]) -> tuple[float, float]:
    return tuple(float(np.polyfit(sizes[-last:], np.log(seconds[-last:]), 1)[0]) for last in (len(sizes), 2))


def _measure(documents: int, room: float) -> dict[str, float]:
    """Return seconds by step, and the largest resident memory in bytes; blocks have that share of the usual room."""
    with tempfile.TemporaryDirectory() as folder:
        small, path = Path(folder) / "small.safetensors", Path(folder) / "documents.safetensors"
        _write(small, 200)
        for name, parameters in PROBES.items():  # compiles what is compiled at its first use
            _probe(name, parameters, _bench(MultiVectors.load(small)))
        _write(path, documents)
        seconds: dict[str, float] = {}
        bench = dataclasses.replace(_bench(MultiVectors.load(path)), tiling=Tiling(floats=round(Tiling().floats * room)))
        _time(seconds, "fingerprint", lambda: bench.dataset.fingerprint)
        _time(seconds, "bare pass", lambda: [None for _ in bench.compare(bench.queries, bench.documents, Needs((MaxSim(),)))])
        for name, parameters in PROBES.items():
            _time(seconds, name, lambda name=name, parameters=parameters: _probe(name, parameters, bench))
        return seconds | {"all": sum(seconds.values()), "memory": peak_memory()}


def _time(seconds: dict[str, float], step: str, way: Callable[[], object]) -> None:
    began = time.process_time()
    way()
    seconds[step] = time.process_time() - began
    sys.stderr.write(f"{step}: {seconds[step]:.1f} s, at most {peak_memory() / 2**30:.2f} GiB so far\n")


def _probe(name: str, parameters: dict[str, object], bench: Bench) -> None:
    (outcome,) = battery.measure([catalog.probe(name, parameters)], bench, Silent())
    if outcome.status != "passed":
        raise LidiagError(f"{name} is {outcome.status}: {outcome.reason}.", "Mend it.")


def _queries() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [normalize(torch.randn(QUERY_TOKENS, DIM, generator=generator), dim=1) for _ in range(QUERIES)]


def _write(path: Path, documents: int) -> None:
    """Write random unit rows; the first documents hold noisy copies of the tokens of the query that they are relevant to."""
    rng, generator, queries = np.random.default_rng(0), torch.Generator().manual_seed(1), _queries()
    lengths = rng.integers(SHORTEST, LONGEST + 1, documents)

    def items() -> Iterator[Tensor]:
        for number, length in enumerate(lengths.tolist()):
            rows = torch.randn(length, DIM, generator=generator)
            if number < QUERIES * RELEVANT:
                rows = rows * 0.1 + queries[number // RELEVANT][torch.arange(length) % QUERY_TOKENS]
            yield normalize(rows, dim=1)

    packed.write(path, torch.from_numpy(lengths), DIM, items(), {})


def _bench(documents: MultiVectors) -> Bench:
    dataset = Dataset(
        name="generated",
        queries=[Query(f"q{q}", f"query {q}") for q in range(QUERIES)],
        documents=[Document(f"d{d}", f"document {d}") for d in range(len(documents))],
        relevance={f"q{q}": {f"d{q * RELEVANT + i}": 1 for i in range(RELEVANT)} for q in range(QUERIES)},
    )
    adapter = ToyAdapter(lambda text: normalize(torch.randn(QUERY_TOKENS, DIM, generator=torch.Generator().manual_seed(len(text))), dim=1))
    return Bench(
        dataset=dataset,
        adapter=adapter,
        query_ids=[query.id for query in dataset.queries],
        queries=MultiVectors.pack(_queries()),
        documents=documents,
        encode_documents=adapter.documents,
        encode_queries=adapter.queries,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3, help="of which the least time of each step counts")
    parser.add_argument("--measure", type=int, metavar="DOCUMENTS", help=argparse.SUPPRESS)
    parser.add_argument("--room", type=float, default=1.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if len(set(arguments.documents)) < 2:
        parser.error("an exponent takes two sizes")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
