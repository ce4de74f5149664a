"""Documents that get more text and are encoded again: what the new context does to their own vectors, and what the new vectors add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lidiag.bench import Bench
from lidiag.dataset import Document
from lidiag.findings import Findings
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import Pooling
from lidiag.similarity import Needs

from ._attention import say_attention
from ._lengths import mean
from ._texts import neutral

_ROUNDING = 1e-5  # of a score, per query token
_ROOM = 0.45  # of the model's maximum length: as much again fits behind


@dataclass(frozen=True, eq=False)
class Pairs:
    """Documents alone and with more text behind them, in one order.

    `alone`, `longer` and `part` hold vectors; `part` are those of the document's own tokens within the longer text, as many
    as it has alone. `words` counts those up to its last word, and `spoiled` (queries, pairs) says where the document or the
    text behind it is relevant.
    """

    alone: MultiVectors
    longer: MultiVectors
    part: MultiVectors
    words: Sequence[int]
    spoiled: NDArray[np.bool_]


class TextGrowth:
    """Draws documents and queries, appends text, and compares."""

    def __init__(self, bench: Bench, poolings: Sequence[Pooling], texts: int, queries: int) -> None:
        """Draw at most `texts` documents that leave room for as much again, and at most `queries` queries."""
        self._bench = bench
        self._poolings = tuple(poolings)
        rng = bench.rng("text growth")
        self._queries = np.sort(rng.permutation(len(bench))[:queries])
        drawn = rng.permutation(self._with_room())
        self._documents = drawn[:texts]
        # The next one in the drawn order stands behind each; a document never behind itself.
        self._behind = np.roll(drawn, -1)[:texts]

    def _with_room(self) -> NDArray[np.int64]:
        limit, cut = self._bench.adapter.card.document_length, self._bench.documents.cut
        fits = self._bench.lengths > 0
        if limit is not None:
            fits &= self._bench.lengths <= _ROOM * limit
        if cut is not None:
            fits &= ~cut.numpy()
        return np.flatnonzero(fits)

    def report(self, found: Findings) -> None:
        """Add what more text does, and whether it changes the vectors before it; or say why neither is known."""
        try:
            self._refuse()
            pairs = {"neutral": self._pairs("neutral", found), "document": self._pairs("document", found)}
            say_attention(self._bench, self._documents.tolist(), list(pairs.values()), found)
        except Skip as skip:
            found.say("text space", f"Not measured: {skip}.")
            return
        for filler, kept in pairs.items():
            self._compare(filler, kept, found)
        found.say("text space", self._summary(found, len(pairs["neutral"].words)))

    def _refuse(self) -> None:
        if any(document.page for document in self._bench.dataset.documents):
            raise Skip("text cannot be put behind a page image")
        if len(self._documents) < 2:  # noqa: PLR2004 - one goes behind the other
            raise Skip(f"{len(self._documents)} documents leave room for as much text again")

    def _pairs(self, filler: str, found: Findings) -> Pairs:
        documents = self._bench.dataset.documents
        rng = self._bench.rng("neutral text")
        alone = [documents[i] for i in self._documents]
        if filler == "neutral":
            behind = [neutral(int(self._bench.lengths[i]), rng) for i in self._documents]
        else:
            behind = [documents[i].text for i in self._behind]
        longer = [Document(f"{own.id} + {filler}", f"{own.text} {text}") for own, text in zip(alone, behind, strict=True)]
        vectors = self._bench.encode_documents(longer)
        own = self._bench.documents.select(torch.from_numpy(self._documents))
        aligned = [self._align(row, alone[row], longer[row], own, vectors) for row in range(len(alone))]
        kept = [row for row, rows in enumerate(aligned) if rows is not None]
        if len(kept) < len(aligned):
            text = f"{len(aligned) - len(kept)} of {len(aligned)} documents were left out: cut, or with other tokens, once text stood behind them."
            found.say("left out", f"{filler}: {text}", filler=filler, left_out=len(aligned) - len(kept), documents=len(aligned))
        if not kept:
            raise Skip(f"no document keeps its tokens with {filler} text behind it")
        parts = [vectors[row][torch.from_numpy(rows[1])] for row, rows in enumerate(aligned) if rows is not None]
        words = [rows[0] for rows in aligned if rows is not None]
        spoiled = self._spoiled(self._documents[kept], self._behind[kept] if filler == "document" else None)
        return Pairs(own.select(kept), vectors.select(kept), MultiVectors.pack(parts), words, spoiled)

    def _align(
        self, row: int, alone: Document, longer: Document, own: MultiVectors, vectors: MultiVectors
    ) -> tuple[int, NDArray[np.int64]] | None:
        """Return how many vectors there are up to the last word, and which rows of the longer text are the document's own."""
        limit = self._bench.adapter.card.document_length
        was_cut = bool(vectors.cut[row]) if vectors.cut is not None else limit is not None and len(vectors[row]) >= limit
        before, after = (self._bench.adapter.labels("document", document) for document in (alone, longer))
        if was_cut or len(before) != len(own[row]) or len(after) != len(vectors[row]) or len(after) < len(before):
            return None
        words = 1 + max((i for i, label in enumerate(before) if label.type == "word"), default=-1)
        tail = len(before) - words
        rows = np.concatenate((np.arange(words), np.arange(len(after) - tail, len(after))))
        same = all((a.type, a.text) == (after[i].type, after[i].text) for a, i in zip(before, rows, strict=True))
        return (words, rows) if words and same else None

    def _spoiled(self, documents: NDArray[np.int64], behind: NDArray[np.int64] | None) -> NDArray[np.bool_]:
        spoiled = np.stack([np.isin(documents, self._bench.relevant[query]) for query in self._queries])
        if behind is not None:
            spoiled |= np.stack([np.isin(behind, self._bench.relevant[query]) for query in self._queries])
        return spoiled

    def _compare(self, filler: str, pairs: Pairs, found: Findings) -> None:
        names = ("score_change", "recontextualisation", "draws", "rise_share", "fall_share")
        values = {pooling: np.full((len(names), len(self._bench)), np.nan) for pooling in self._poolings}
        queries = self._bench.queries.select(torch.from_numpy(self._queries))
        for block in self._bench.compare(queries, MultiVectors.pack([*pairs.alone, *pairs.part, *pairs.longer]), Needs(self._poolings)):
            fair = ~pairs.spoiled[block.queries.start : block.queries.stop]
            tokens = block.offsets.diff().numpy()[:, None]
            rows = self._queries[block.queries.start : block.queries.stop]
            for pooling in self._poolings:
                scores = block.scores(pooling).double().numpy() / tokens
                alone, part, longer = scores.reshape(len(rows), 3, -1).transpose(1, 0, 2)
                change = longer - alone
                for i, effect in enumerate((change, part - alone, longer - part, change > _ROUNDING, change < -_ROUNDING)):
                    values[pooling][i, rows] = mean(effect.astype(np.float64), fair)
        for pooling, by_name in values.items():
            for name, data in zip(names, by_name, strict=True):
                at = {"pooling": repr(pooling), "filler": filler}
                if np.isfinite(data).any():
                    found.mean(name, at, data, share=name.endswith("share"))
                else:
                    found.unmade(name, at, "every document is relevant to every query.")

    def _summary(self, found: Findings, documents: int) -> str:
        pooling = repr(self._poolings[0])
        parts: list[str] = []
        for filler in ("neutral", "document"):
            values = {m.name: m.value for m in found.measurements if m.at == {"pooling": pooling, "filler": filler}}
            if values:
                parts.append(
                    f"{filler} text behind a document changes its score per query token by {values['score_change']:+.4f} = {values['recontextualisation']:+.4f} "
                    f"(its own vectors in a new context) {values['draws']:+.4f} (new vectors)"
                )
        return f"{pooling}, {documents} documents encoded again, {len(self._queries)} queries: {'; '.join(parts)}."
