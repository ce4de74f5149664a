"""A document that echoes the query: the query's own words are put into it, and it is encoded again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lidiag.bench import Bench
from lidiag.dataset import Document
from lidiag.findings import Findings
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import Pooling

from ._injection import Ranking
from ._texts import neutral

PLACES = ("front", "end", "neutral")

_LETTERS_PER_WORD = 6  # of English, with the space


class Echo:
    """Draws one document per query, echoes the query in it, and sees where it would rank, the others left as they are.

    The document is drawn from those that are not relevant and outside the first ten under every pooling.
    """

    def __init__(self, bench: Bench, poolings: Sequence[Pooling], queries: int) -> None:
        """Draw at most `queries` of the bench's queries."""
        self._bench = bench
        self._poolings = poolings
        self._rng = bench.rng("echo")
        self._drawn = frozenset(self._rng.permutation(len(bench))[:queries].tolist())
        self._bars = np.full((len(bench), len(poolings), 2), np.nan)
        self._documents: dict[int, int] = {}

    def see(self, query: int, rankings: Sequence[Ranking]) -> None:
        """Keep what query number `query` needs: its document, and the first and the tenth score of each pooling."""
        if query not in self._drawn:
            return
        outside = torch.stack([ranking.outside for ranking in rankings]).all(0)
        candidates = rankings[0].foes[outside]
        if len(candidates):
            rng = self._bench.rng(f"echo {self._bench.query_ids[query]}")
            self._documents[query] = int(candidates[rng.integers(len(candidates))])
            self._bars[query] = [(float(ranking.scores.max()), ranking.bar) for ranking in rankings]

    def report(self, found: Findings) -> None:
        """Encode the echoes, rank them and add `echo@10` and `echo@1`, or say why not."""
        if not self._documents:
            found.say("echo", "Not measured: no query has a non-relevant document outside its first ten.")
            return
        if any(self._bench.dataset.documents[document].page for document in self._documents.values()):
            found.say("echo", "Not measured: words cannot be put into a page image.")
            return
        texts = [self._texts(query) for query in self._documents]
        echoes = [Document(f"echo {i}", text) for i, text in enumerate(text for row in texts for text in row)]
        try:
            vectors = self._bench.encode_documents(echoes)
        except Skip as skip:
            found.say("echo", f"Not measured: {skip}.")
            return
        self._rank(vectors, found)
        self._say_cut(vectors, found)

    def _texts(self, query: int) -> tuple[str, str, str]:
        words = self._bench.query_texts[query]
        text = self._bench.dataset.documents[self._documents[query]].text
        idle = neutral(max(1, len(words) // _LETTERS_PER_WORD), self._rng)
        return f"{words} {text}", f"{text} {words}", f"{idle} {text}"

    def _rank(self, vectors: MultiVectors, found: Findings) -> None:
        beats = np.full((*self._bars.shape, len(PLACES)), np.nan)
        for row, query in enumerate(self._documents):
            tokens = self._bench.queries[query].float()
            for place in range(len(PLACES)):
                similarities = tokens @ vectors[row * len(PLACES) + place].float().T
                for p, pooling in enumerate(self._poolings):
                    score = float(pooling.score(pooling.pool(similarities)).sum())
                    beats[query, p, :, place] = score > self._bars[query, p]
        for p, pooling in enumerate(self._poolings):
            for i, place in enumerate(PLACES):
                at = {"pooling": repr(pooling), "place": place}
                found.mean("echo@10", at, beats[:, p, 1, i], better="lower", share=True)
                found.mean("echo@1", at, beats[:, p, 0, i], better="lower", share=True)

    def _say_cut(self, vectors: MultiVectors, found: Findings) -> None:
        name = repr(self._poolings[0])
        shares = {place: found.get("echo@10", {"pooling": name, "place": place}).value for place in PLACES}
        text = (
            f"A document outside the first ten reaches it in {shares['front']:.0%} of the queries with the query's words in front, in "
            f"{shares['end']:.0%} with them at the end, and in {shares['neutral']:.0%} with idle English text of that length in front ({name})."
        )
        cut = None
        if vectors.cut is not None:
            cut = {place: int(vectors.cut[i :: len(PLACES)].sum()) for i, place in enumerate(PLACES)}
            text += f" Of {len(self._documents)} documents with the words at the end, {cut['end']} were longer than the model reads, and the words were cut off."
        found.say("echo", text, shares=shares, cut=cut, documents=len(self._documents))
