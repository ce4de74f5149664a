"""Compare an injection sweep by merged states with scoring every longer document anew, in one run.

    python tests/benchmarks/injections.py --model ../shared/models/minilm-colbert --data ../shared/data/cranfield

Without a model it takes random vectors of Cranfield's shape. Both ways give every document's score after the injection of
the first k of 400 vectors of the corpus, drawn per query, for every pooling; they must agree, and merging must be faster.
Putting the longer documents together counts as part of scoring them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from vectors import encode, random_vectors

from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim, Pooling, Softmax, TopK
from lidiag.probes._merging import Documents
from lidiag.probes._nested import nested
from lidiag.similarity import Needs, similarity_pass

POOLINGS: tuple[Pooling, ...] = (MaxSim(), TopK(4), Softmax(0.1), Softmax(1))
K = (25, 50, 100, 200, 400)
# What is promised: sweeps by merging are at least 5 times as fast.
TIMES = 5.0

Scores = dict[Pooling, Tensor]  # (queries, k, documents)


def main() -> int:
    arguments = _arguments()
    console = Console(width=140)
    queries, documents = encode(arguments.model, arguments.data) if arguments.model else random_vectors()
    queries = queries.select(range(min(arguments.queries, len(queries))))
    generator = torch.Generator().manual_seed(0)
    sets = [documents.vectors[torch.randperm(len(documents.vectors), generator=generator)[: K[-1]]] for _ in queries]
    _by_merging(queries.select([0]), documents, sets)  # compiles
    ratios: list[float] = []
    for _ in range(arguments.rounds):
        merged, fast = _timed(lambda: _by_merging(queries, documents, sets))
        scored, slow = _timed(lambda: _by_scoring(queries, documents, sets))
        error = max(float((merged[pooling] - scored[pooling]).abs().max()) for pooling in POOLINGS)
        ratios.append(slow / fast)
        console.print(f"merged {fast:.2f} s, scored anew {slow:.2f} s, largest difference of a score {error:.1e}")
        if error > 1e-4:  # sums of some 30 similarities in fp32
            console.print("The two ways do not agree.")
            return 1
    ratio = statistics.median(ratios)
    console.print(
        f"{len(queries)} queries x {len(documents):,} documents x {len(K)} k: {ratio:.1f} times as fast (promised {TIMES:g})",
        soft_wrap=True,
    )
    return 0 if ratio >= TIMES else 1


def _by_merging(queries: MultiVectors, documents: MultiVectors, sets: list[Tensor]) -> Scores:
    found: Scores = {pooling: torch.empty(len(queries), len(K), len(documents)) for pooling in POOLINGS}
    everything = np.arange(len(documents))
    for block in similarity_pass(queries, documents, Needs(POOLINGS, tokens=True)):
        for row, query in enumerate(block.queries):
            similarities = (queries[query] @ sets[query].T).unsqueeze(1)
            for pooling in POOLINGS:
                merged = Documents.of(pooling, block.state_of(pooling, row), everything).merged(nested(pooling, similarities, K))
                found[pooling][query] = block.scores(pooling)[row] + torch.from_numpy(merged.gained)
    return found


def _by_scoring(queries: MultiVectors, documents: MultiVectors, sets: list[Tensor]) -> Scores:
    found: Scores = {pooling: torch.empty(len(queries), len(K), len(documents)) for pooling in POOLINGS}
    for query, injected in enumerate(sets):
        for i, k in enumerate(K):
            longer = MultiVectors.pack([torch.cat((document, injected[:k])) for document in documents])
            (block,) = similarity_pass(queries.select([query]), longer, Needs(POOLINGS))
            for pooling in POOLINGS:
                found[pooling][query, i] = block.scores(pooling)[0]
    return found


def _timed(way: Callable[[], Scores]) -> tuple[Scores, float]:
    began = time.perf_counter()
    result = way()
    return result, time.perf_counter() - began


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a sentence-transformers MultiVectorEncoder, with --data")
    parser.add_argument("--data", type=Path, help="a BEIR folder")
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if bool(arguments.model) != bool(arguments.data):
        parser.error("--model and --data go together")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
