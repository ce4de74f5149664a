"""The order of a ranking: by score, and equal scores by falling document id, which is trec_eval's rule, so that other tools agree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class WholeOrder:
    """Ranks all documents of a collection."""

    def __init__(self, ids: Sequence[str]) -> None:
        """Keep the documents' positions by falling id."""
        self._by_id = torch.tensor(sorted(range(len(ids)), key=ids.__getitem__, reverse=True), dtype=torch.int64)

    def rank(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return (queries, documents) scores in falling order, and the positions of the documents in that order."""
        values, order = scores[:, self._by_id].sort(dim=1, descending=True, stable=True)
        return values, self._by_id[order]
