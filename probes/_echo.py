"""A document that echoes the query: the query's own words are put into it, and it is encoded again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

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
        self._documents = dict(sorted(self._documents.items()))  # queries were seen in the threads' order
        if not self._documents:
            found.say("echo", "Not measured: no query has a non-relevant document outside its first ten.")
            return
        pages = (self._bench.dataset.documents[document].page for document in self._documents.values())
        if "image" in self._bench.adapter.card.modalities and any(pages):
            found.say("echo", "Not measured: words cannot be put into a page image.")
            return
        texts = [self._texts(query) for query in self._documents]
        echoes = [Document(f"echo {i}", text) for i, text in enumerate(text for row in texts for text in row)]
        try:
            vectors = self._bench.encode_documents(echoes)
        except Skip as skip:
            found.say("echo", f"Not measured: {skip}.")
            return
        read = _read_to_the_end(vectors)
        self._add(found, self._beats(vectors, read))
        self._say(found, None if vectors.cut is None else len(self._documents) - int(read[:, PLACES.index("end")].sum()))

    def _texts(self, query: int) -> tuple[str, str, str]:
        words = self._bench.query_texts[query]
        text = self._bench.dataset.documents[self._documents[query]].text
        idle = neutral(max(1, len(words) // _LETTERS_PER_WORD), self._rng)
        return f"{words} {text}", f"{text} {words}", f"{idle} {text}"

    def _beats(self, vectors: MultiVectors, read: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return (queries, poolings, first and tenth, places): 1 where the echo beats that score, NaN where none was made or read."""
        beats = np.full((*self._bars.shape, len(PLACES)), np.nan)
        for row, query in enumerate(self._documents):
            tokens = self._bench.queries[query].float()
            for place in np.flatnonzero(read[row]).tolist():
                similarities = tokens @ vectors[row * len(PLACES) + place].float().T
                for p, pooling in enumerate(self._poolings):
                    score = float(pooling.score(pooling.pool(similarities)).sum())
                    beats[query, p, :, place] = score > self._bars[query, p]
        return beats

    def _add(self, found: Findings, beats: NDArray[np.float64]) -> None:
        for p, pooling in enumerate(self._poolings):
            for place, values in zip(PLACES, np.moveaxis(beats[:, p], -1, 0), strict=True):
                for name, column in (("echo@10", values[:, 1]), ("echo@1", values[:, 0])):
                    at = {"pooling": repr(pooling), "place": place}
                    if np.isnan(column).all():
                        found.unmade(name, at, "every document was longer than the model reads, and the words were cut off.")
                    else:
                        found.mean(name, at, column, better="lower", share=True)

    def _say(self, found: Findings, cut: int | None) -> None:
        name = repr(self._poolings[0])
        shares = {m.at["place"]: m.value for m in found.measurements if m.name == "echo@10" and m.at["pooling"] == name}
        where = {"front": "with the query's words in front", "end": "with them at the end", "neutral": "with idle English text in front"}
        listed = ", ".join(f"{share:.0%} {where[str(place)]}" for place, share in shares.items())
        text = f"{name}: a document drawn from outside the first ten enters it in {listed}."
        if cut:
            text += f" At the end, {cut} of {len(self._documents)} documents are left out: they were longer than the model reads, and the words were cut off."
        found.say("echo", text, shares=shares, documents=len(self._documents), cut_at_the_end=cut)


def _read_to_the_end(vectors: MultiVectors) -> NDArray[np.bool_]:
    """Return (documents, places): whether the model saw the words; at the end of a text that was cut it did not."""
    read = np.ones((len(vectors) // len(PLACES), len(PLACES)), dtype=bool)
    if vectors.cut is not None:
        end = PLACES.index("end")
        read[:, end] = ~vectors.cut.numpy()[end :: len(PLACES)]
    return read
