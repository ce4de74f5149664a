"""Compare the speed and exactness of scoring with other libraries and with the bare matrix product, in one run.

    python tests/benchmarks/scoring.py --model ../shared/models/minilm-colbert --data ../shared/data/cranfield

Without a model or --vectors it scores random vectors of Cranfield's shape. All ways are timed in turn, round after round, so
that what else the machine does meets all of them: trust the ratios, which are taken within a round, not the seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from scorers import EVERY_POOLING, bare_product, bare_product_by_threads, ours, ours_in_fp32, peers, truth
from torch import Tensor
from vectors import encode, random_vectors, read_vectors

from lidiag.multivector import MultiVectors

# What is promised: at least 85 % of the product's rate and 6 times the fastest peer, for MaxSim.
RATE, TIMES = 0.85, 6.0
LONGEST = 32  # vectors of a query
SAMPLE = 5  # queries held against float64


def main() -> int:
    arguments = _arguments()
    console = Console(width=150)
    queries, documents, what = _vectors(arguments)
    short = (queries.lengths <= LONGEST).nonzero().flatten()
    console.print(
        f"{len(queries) - len(short)} queries of more than {LONGEST} vectors are left out: maxsim-cpu 0.1.0 reads foreign memory there"
    )
    queries = queries.select(short[: arguments.queries])
    console.print(
        f"{what}: {len(queries)} queries ({len(queries.vectors):,} vectors) x {len(documents):,} documents ({len(documents.vectors):,} vectors) "
        f"of {queries.dim} dimensions; {torch.get_num_threads()} threads, {arguments.rounds} rounds"
    )
    products = {
        "bare product, BLAS threads": lambda: bare_product(queries, documents),
        "bare product, block threads": lambda: bare_product_by_threads(queries, documents),
    }
    own = {"lidiag": lambda: ours(queries, documents)}
    more = {
        "lidiag, fp32 alone": lambda: ours_in_fp32(queries, documents),
        "lidiag, maxsim + argmax + topk(4) + softmax(0.1)": lambda: ours(queries, documents, EVERY_POOLING),
        "the same, states kept": lambda: ours(queries, documents, EVERY_POOLING, tokens=True),
    }
    found = {name: scorer for name, scorer in peers(queries, documents).items() if name not in arguments.without}
    for name, scorer in found.items():
        if scorer is None:
            console.print(f"{name} is not installed: left out")
    others = {name: scorer for name, scorer in found.items() if scorer is not None}
    ways: dict[str, Callable[[], Tensor | None]] = {**products, **own, **more, **others}
    errors = _errors(ways, queries, documents)
    seconds = _time(ways, arguments.rounds)
    # In each round the faster of the two products is the bound.
    bound = [min(pair) for pair in zip(*(seconds[name] for name in products), strict=True)]
    console.print(_table(seconds, bound, errors))
    rate = statistics.median(b / s for b, s in zip(bound, seconds["lidiag"], strict=True))
    times = min((_ratio(seconds[name], seconds["lidiag"])[0] for name in others), default=float("inf"))
    held = rate >= RATE and times >= TIMES
    console.print(
        f"lidiag: {rate:.0%} of the product's rate (promised {RATE:.0%}), {times:.1f} times the fastest peer (promised {TIMES:g})",
        soft_wrap=True,
    )
    return 0 if held else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help="a folder with queries.safetensors and documents.safetensors")
    parser.add_argument("--model", help="a sentence-transformers MultiVectorEncoder, with --data")
    parser.add_argument("--data", type=Path, help="a BEIR folder")
    parser.add_argument("--without", nargs="*", default=[], metavar="PEER", help="peers to leave out")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if bool(arguments.model) != bool(arguments.data):
        parser.error("--model and --data go together")
    return arguments


def _vectors(arguments: argparse.Namespace) -> tuple[MultiVectors, MultiVectors, str]:
    if arguments.vectors:
        return *read_vectors(arguments.vectors), str(arguments.vectors)
    if arguments.model:
        return *encode(arguments.model, arguments.data), f"{arguments.data.name} encoded by {Path(arguments.model).name}"
    return *random_vectors(), "random unit vectors of Cranfield's shape"


def _errors(ways: dict[str, Callable[[], Tensor | None]], queries: MultiVectors, documents: MultiVectors) -> dict[str, float]:
    """Return the largest deviation from float64 of each way that gives scores; this is the warm-up too."""
    expected = truth(queries.select(range(min(SAMPLE, len(queries)))), documents)
    scores = {name: way() for name, way in ways.items()}
    return {name: float((found[: len(expected)].double() - expected).abs().max()) for name, found in scores.items() if found is not None}


def _time(ways: dict[str, Callable[[], Tensor | None]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for round_ in range(rounds):
        start = round_ % len(names)
        for name in names[start:] + names[:start]:
            before = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - before)
    return seconds


def _ratio(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """Return median, least and largest of a / b within a round."""
    ratios = [x / y for x, y in zip(a, b, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def _table(seconds: dict[str, list[float]], bound: list[float], errors: dict[str, float]) -> Table:
    table = Table("way", "seconds, median", "times the product: median (least to largest)", "times lidiag", "off from float64 by up to")
    for name, values in seconds.items():
        against, least, most = _ratio(values, bound)
        error = f"{errors[name]:.1e}" if name in errors else ""
        cells = (
            f"{statistics.median(values):.2f}",
            f"{against:.2f} ({least:.2f} to {most:.2f})",
            f"{_ratio(values, seconds['lidiag'])[0]:.2f}",
        )
        table.add_row(name, *cells, error)
    return table


if __name__ == "__main__":
    sys.exit(main())
