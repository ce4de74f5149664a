"""What a correlation of score and length is set against: questions about something else, and vectors that are exchangeable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lidiag.bench import Bench
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import Scoring
from lidiag.similarity import Block, Needs

from ._lengths import Array, Lengths, has_prefixes
from ._texts import FOREIGN_QUESTIONS

Effects = dict[tuple[str, Scoring], Array]


@dataclass(frozen=True, eq=False)
class Shuffled:
    """The lengths of some documents, filled with their vectors in a drawn order; only length is left to tell them apart."""

    documents: MultiVectors

    @classmethod
    def drawn(cls, bench: Bench, times: int, most: int) -> Iterator[Shuffled]:
        """Draw `times` anew at most `most` documents, and the order of their vectors.

        All queries meet the same shuffled documents, so their spread does not show what another draw would give: several do.
        """
        rng = bench.rng("shuffled documents")
        filled = np.flatnonzero(bench.lengths)
        starts = bench.documents.offsets.numpy()
        for _ in range(times):
            chosen = np.sort(rng.permutation(filled)[:most])
            bounds = np.concatenate(([0], bench.lengths[chosen].cumsum()))
            rows = np.arange(bounds[-1]) + np.repeat(starts[chosen] - bounds[:-1], bench.lengths[chosen])
            vectors = bench.documents.vectors[torch.from_numpy(rows[rng.permutation(len(rows))])]
            yield cls(MultiVectors(vectors.float(), torch.from_numpy(bounds)))

    def effects(self, bench: Bench, queries: MultiVectors, scorings: Sequence[Scoring], prefixes: tuple[int, ...]) -> Effects:
        """Return the effects of length on these queries' scores, for the scorings that token vectors alone decide."""
        chosen = tuple(scoring for scoring in scorings if has_prefixes(scoring))
        lengths = Lengths(self.documents.lengths.numpy(), prefixes)
        blocks = bench.compare(queries, self.documents, Needs(chosen, prefixes=prefixes)) if chosen else iter(())
        return _gather(lengths, blocks, chosen, len(queries))


def stacked(draws: Sequence[Effects]) -> Effects:
    """Return effects of shape (draws, queries)."""
    return {key: np.stack([draw[key] for draw in draws]) for key in draws[0]}


def foreign_questions(bench: Bench, most: int) -> MultiVectors:
    """Encode at most `most` questions about something else; what is left without a vector is left out.

    Raises:
        Skip: the model is not at hand to encode them, or has no vector for any.
    """
    vectors = bench.encode_queries(FOREIGN_QUESTIONS[:most])
    questions = vectors.select(vectors.lengths.nonzero()[:, 0])
    if len(questions) < 2:  # noqa: PLR2004 - a spread takes two
        raise Skip(f"the model has token vectors for {len(questions)} of {most} questions about something else")
    return questions


def foreign_effects(bench: Bench, questions: MultiVectors, scorings: Sequence[Scoring]) -> Effects:
    """Return the effects of length on the scores that all documents get from questions about something else."""
    return _gather(Lengths(bench.lengths, ()), bench.compare(questions, bench.documents, Needs(tuple(scorings))), scorings, len(questions))


def _gather(lengths: Lengths, blocks: Iterator[Block], scorings: Sequence[Scoring], queries: int) -> Effects:
    gathered: Effects = {}
    filled: NDArray[np.bool_] = lengths.lengths > 0
    for block in blocks:
        mask = np.repeat(filled[None], len(block.queries), 0)
        for scoring in scorings:
            for name, values in lengths.effects(block, scoring, mask).items():
                gathered.setdefault((name, scoring), np.full(queries, np.nan))[block.queries.start : block.queries.stop] = values
    return gathered
