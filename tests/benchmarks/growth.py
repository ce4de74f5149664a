"""Compare a length sweep by merged states with scoring the grown documents anew, in one run.

    python tests/benchmarks/growth.py --vectors FOLDER

FOLDER holds queries.safetensors and documents.safetensors as MultiVectors.save wrote them; without it the vectors are random,
of Cranfield's shape. Both ways are timed in turn, round after round: trust the ratio, not the seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from vectors import random_vectors, read_vectors

from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim, Pooling, Softmax, TopK
from lidiag.probes._growth_kernels import Lanes, aligned, totals
from lidiag.similarity import Needs, similarity_pass

POOLINGS: tuple[Pooling, ...] = (MaxSim(), TopK(4), Softmax(0.1), Softmax(1))
GROWTH = (1, 2, 4, 8)
TIMES = 5.0  # what is promised


def main() -> int:
    arguments = _arguments()
    console = Console(width=140)
    queries, documents = read_vectors(arguments.vectors) if arguments.vectors else random_vectors()
    queries = queries.select(range(min(arguments.queries, len(queries))))
    documents = documents.select(documents.lengths.nonzero()[:, 0])
    chosen = np.stack([np.roll(np.arange(len(documents)), -1 - c) for c in range(GROWTH[-1] - 1)], 1)
    # Neighbours in order of length are of nearly the same length.
    documents = documents.select(documents.lengths.argsort(stable=True))
    longer = [_longer(documents, chosen[:, : times - 1]) for times in GROWTH]
    console.print(
        f"{len(queries)} queries x {len(documents)} documents, {torch.get_num_threads()} threads: {sum(len(d.vectors) for d in longer):,} vectors scored anew"
    )
    ratios: list[float] = []
    for warm in (True, *[False] * arguments.rounds):
        began = time.perf_counter()
        merged = _merge(queries, documents, chosen)
        merging = time.perf_counter() - began
        began = time.perf_counter()
        anew = [_score(queries, d) for d in longer]
        scoring = time.perf_counter() - began
        if warm:
            worst = max(float((merged[p][:, g] - anew[g][p]).abs().max()) for p in range(len(POOLINGS)) for g in range(len(GROWTH)))
            console.print(f"largest difference of a score: {worst:.1e}")
            continue
        ratios.append(scoring / merging)
        console.print(f"one pass and merging {merging:6.2f} s, scoring anew {scoring:6.2f} s, {ratios[-1]:.1f} times")
    console.print(
        f"a length sweep by merging is {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) times as fast as scoring anew (promised {TIMES:g})",
        soft_wrap=True,
    )
    return 0 if statistics.median(ratios) >= TIMES and worst < 1e-3 else 1


def _longer(documents: MultiVectors, chosen: np.ndarray) -> MultiVectors:
    return MultiVectors.pack([torch.cat([documents[d], *(documents[i] for i in row)]) for d, row in enumerate(chosen.tolist())])


def _merge(queries: MultiVectors, documents: MultiVectors, chosen: np.ndarray) -> list[torch.Tensor]:
    """Return (queries, growth, documents) scores by pooling, from one pass over the documents as they are."""
    scores: list[list[np.ndarray]] = [[] for _ in POOLINGS]
    for block in similarity_pass(queries, documents, Needs(POOLINGS, tokens=True)):
        for row in range(len(block.queries)):
            for p, pooling in enumerate(POOLINGS):
                (lanes,) = aligned(pooling, [Lanes.of(pooling, block.state_of(pooling, row), np.arange(len(documents)))])
                scores[p].append(totals(pooling, lanes, lanes, chosen, GROWTH))
    return [torch.from_numpy(np.stack(rows)) for rows in scores]


def _score(queries: MultiVectors, documents: MultiVectors) -> list[torch.Tensor]:
    blocks = list(similarity_pass(queries, documents, Needs(POOLINGS)))
    return [torch.cat([block.scores(pooling) for block in blocks]) for pooling in POOLINGS]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help="folder with queries.safetensors and documents.safetensors")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
