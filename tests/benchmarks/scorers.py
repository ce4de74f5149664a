"""Ways to score all queries against all documents by MaxSim: ours, the peers', and the bare product that bounds them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from lidiag import fused
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim, Scoring, Softmax, TopK
from lidiag.similarity import Needs, similarity_pass

COLUMNS = 512
EVERY_POOLING = (MaxSim(argmax=True), TopK(4), Softmax(0.1))


def ours(queries: MultiVectors, documents: MultiVectors, poolings: tuple[Scoring, ...] = (MaxSim(),), *, tokens: bool = False) -> Tensor:
    """Score through the public pass; of several poolings the first one's scores are returned."""
    return torch.cat([block.scores(poolings[0]) for block in similarity_pass(queries, documents, Needs(poolings, tokens=tokens))])


def ours_in_fp32(queries: MultiVectors, documents: MultiVectors) -> Tensor:
    """Score through the public pass, without a search for candidates."""
    many, fused.MANY = fused.MANY, sys.maxsize
    try:
        return ours(queries, documents)
    finally:
        fused.MANY = many


def bare_product(queries: MultiVectors, documents: MultiVectors) -> None:
    """Multiply out all similarities in blocks, and drop them: the BLAS with threads of its own."""
    out = torch.empty(len(queries.vectors), COLUMNS)
    for start in range(0, len(documents.vectors), COLUMNS):
        columns = documents.vectors[start : start + COLUMNS].T
        torch.mm(queries.vectors, columns, out=out if columns.shape[1] == COLUMNS else None)


def bare_product_by_threads(queries: MultiVectors, documents: MultiVectors) -> None:
    """Multiply out all similarities in blocks, and drop them: one thread per block."""
    threads = torch.get_num_threads()

    def work(number: int) -> None:
        out = torch.empty(COLUMNS, len(queries.vectors))
        for start in range(number * COLUMNS, len(documents.vectors), threads * COLUMNS):
            rows = documents.vectors[start : start + COLUMNS]
            torch.mm(rows, queries.vectors.T, out=out[: len(rows)])

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as workers:
        list(workers.map(work, range(threads)))
    torch.set_num_threads(threads)


def peers(queries: MultiVectors, documents: MultiVectors) -> dict[str, Callable[[], Tensor] | None]:
    """Return the installed peers by name, and None for those that are not installed."""
    q, d = list(queries), list(documents)

    def sentence_transformers() -> Tensor:
        from sentence_transformers.util import similarity  # noqa: PLC0415 - only where it is used: slow, or not installed

        return similarity.maxsim(q, d)

    def colpali_engine() -> Tensor:
        from colpali_engine.utils.processing_utils import BaseVisualRetrieverProcessor  # noqa: PLC0415 - only where it is used: slow, or not installed

        return BaseVisualRetrieverProcessor.score_multi_vector(q, d, device="cpu")

    def mteb() -> Tensor:
        from mteb.similarity_functions import max_sim  # noqa: PLC0415 - only where it is used: slow, or not installed

        return max_sim(q, d)

    def maxsim_cpu() -> Tensor:
        from maxsim_cpu import maxsim_scores_variable  # noqa: PLC0415 - only where it is used: slow, or not installed

        arrays = [document.numpy() for document in d]
        return torch.stack([torch.from_numpy(maxsim_scores_variable(query.numpy(), arrays)) for query in q])

    scorers = {scorer.__name__: scorer for scorer in (sentence_transformers, colpali_engine, mteb, maxsim_cpu)}
    return {name: scorer if importlib.util.find_spec(name) else None for name, scorer in scorers.items()}


def truth(queries: MultiVectors, documents: MultiVectors) -> Tensor:
    """Score in float64 from the definition, document by document."""
    vectors = queries.vectors.double()
    best = torch.stack([(vectors @ document.double().T).amax(1) for document in documents], 1)
    return torch.segment_reduce(best, "sum", lengths=queries.lengths, axis=0)
