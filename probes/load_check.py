"""Is the model loaded as its authors meant it?

A random head keeps geometry, so that no retrieval figure shows it; a lost prefix, a padding row left in, or vectors that
depend on the batch cost points without a word. This probe asks the model itself, not the stored vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lidiag.bench import Bench
from lidiag.files import expanded
from lidiag.findings import Findings
from lidiag.measurement import Paper
from lidiag.multivector import MultiVectors
from lidiag.probe import Measuring

from . import _load_items
from ._load_golden import check_golden
from ._load_items import Encoded
from ._load_prompts import check_cuts, check_prompts
from ._load_scorer import check_scorer
from ._load_stability import check_changes, check_scores
from ._load_vectors import check_dims, check_distinct, check_rows, check_weights


@dataclass(frozen=True)
class LoadCheck:
    """Weights, vectors and scorer of a model, before anything is measured with it."""

    queries: int = 16
    documents: int = 12
    batch_size: int = 8
    golden: str = ""  # a file of vectors that the model is known to give

    name: ClassVar = "load-check"
    version: ClassVar = 1
    question: ClassVar = "Is the model loaded as its authors meant it?"
    source: ClassVar[Paper | None] = None
    formulas: ClassVar = {
        "faults": "number of findings that call weights or vectors wrong; ours",
        "randomly_initialised": "number of weights that no file held; ours",
        "non_finite_rows": "number of vectors with a value that is not finite; ours",
        "zero_rows": "number of vectors of length 0: padding that was left in; ours",
        "unit_row_deviation": "largest | |d_j| - 1 | over vectors that are not 0; ours",
        "repeat_difference": "largest |d_j - d_j'| over the median |d_j|: the same batches encoded twice; ours",
        "batch_difference": "the same: an item in a batch against the item alone; ours",
        "order_difference": "the same: batches in reverse order; ours",
        "padding_difference": "the same: an item beside the longest against the item beside itself; ours",
        "golden_difference": "largest |d_j - g_j| over the median |g_j|, g the given vectors; ours",
        "score_change": "largest change of a MaxSim score from items alone to batches, over the median gap between neighbours in the top 10; ours",
        "distinct_share": "share of pairs of different items whose mean vectors differ; ours",
        "cut_share": "share of the collection's items cut at the model's maximum length; ours",
        "scorer_difference": "largest |S - exact S| of the model library's own scorer, over the query's number of vectors; ours",
    }
    primary: ClassVar = "faults"

    def measure(self, bench: Bench) -> Measuring:
        """Encode a sample in several ways; no pass is needed."""
        yield from ()
        found = bench.findings()
        items = (_load_items.queries(bench, self.queries), _load_items.documents(bench, self.documents))
        sides = [side.encoded(self.batch_size) for side in items]
        check_weights(found, bench)
        comparable = [check_rows(found, bench, side) for side in sides]
        if all(comparable) and check_dims(found, bench, sides):
            self._compare(found, bench, *sides)
        check_prompts(found, bench, sides)
        check_cuts(found, bench)
        if self.golden:
            check_golden(found, bench, expanded(self.golden))
        found.number("faults", {}, len(found.faults), n=1, unit_of_n="models", no_interval="a count", better="lower")
        return found

    def _compare(self, found: Findings, bench: Bench, queries: Encoded, documents: Encoded) -> None:
        """Hold encodings against each other, and scorers."""
        for side in (queries, documents):
            check_changes(found, bench, side, self.batch_size)
            check_distinct(found, side)
        check_scores(found, bench, queries, documents)
        check_scorer(found, bench, MultiVectors.pack(queries.alone), MultiVectors.pack(documents.alone))
