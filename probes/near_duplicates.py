"""Can a model tell the right document from near-copies of it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidiag import stats
from lidiag.bench import Bench
from lidiag.errors import LidiagError
from lidiag.findings import Findings
from lidiag.measurement import Paper, Skip
from lidiag.pooling import Scoring, parse
from lidiag.probe import Measuring
from lidiag.similarity import Needs

from ._quality import Order

# Written before the figures, as shares of queries.
NEGLIGIBLE, STRONG = 0.05, 0.25

_WORD = r"(?u)\b\w+\b"
_ROUNDING = 1e-9

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NearDuplicates:
    """Near-copies of a relevant document are those whose words are its own: TF-IDF cosine (log counts) of `likeness` or more."""

    poolings: tuple[str, ...] = ("maxsim", "topk(4)", "softmax(0.1)")
    likeness: float = 0.4

    name: ClassVar[str] = "near-duplicates"
    version: ClassVar[int] = 1
    question: ClassVar[str] = "Can a model tell the right document from near-copies of it?"
    source: ClassVar[Paper | None] = None
    primary: ClassVar[str] = "own_first_excess"
    formulas: ClassVar[dict[str, str]] = {
        "own_first": "share of relevant documents with near-copies that score above all of them that are not judged relevant, mean over queries; ties share "
        "the place; ours",
        "chance_own_first": "1 / (1 + near-copies not judged relevant) (control); ours",
        "own_first_excess": "own_first less chance_own_first, paired; ours",
        "R@10_with_copies": "R@10 where a relevant document counts as found with any near-copy of it; ours",
        "copies_gain": "R@10_with_copies less R@10, paired: what incomplete judgements of near-copies may cost; ours",
    }

    def __post_init__(self) -> None:
        """Refuse poolings that do not exist, and a likeness that is none."""
        for pooling in self.poolings:
            parse(pooling)
        if not 0 < self.likeness <= 1:
            raise LidiagError(
                f"{self.name}: likeness = {self.likeness:g} is no cosine to ask for.", "Give more than 0 and at most 1, such as 0.4."
            )

    def measure(self, bench: Bench) -> Measuring:
        """Find the copies by words, then fold the scores."""
        copies = near_copies(bench, self.likeness)
        found = bench.findings()
        poolings = tuple(dict.fromkeys(parse(text) for text in self.poolings))
        order = Order([document.id for document in bench.dataset.documents])
        values = {(pooling, i): np.full(len(bench), np.nan) for pooling in poolings for i in range(4)}
        while block := (yield Needs(poolings)):
            for pooling in poolings:
                for query, scores in zip(block.queries, block.scores(pooling).cpu(), strict=True):
                    for i, value in enumerate(_look(bench, query, scores, copies, order)):
                        values[pooling, i][query] = value
        asking = int(np.isfinite(values[poolings[0], 0]).sum())
        groups = sum(bool(len(near)) for near in copies.values())
        found.say("copies", f"{groups} of {len(copies)} relevant documents have near-copies; {asking} queries ask for one.")
        for pooling in poolings:
            self._report(found, pooling, *(values[pooling, i] for i in range(4)))
        return found

    def _report(self, found: Findings, pooling: Scoring, own: Array, chance: Array, recall: Array, with_copies: Array) -> None:  # noqa: PLR0913, PLR0917 - one per quantity
        at = {"pooling": repr(pooling)}
        found.mean("R@10_with_copies", at, with_copies, better="higher", share=True)
        found.mean("copies_gain", at, with_copies - recall)
        if not np.isfinite(own).any():
            for name in ("own_first", "chance_own_first", "own_first_excess"):
                found.unmade(name, at, "no relevant document has a near-copy that is not judged relevant.")
            return
        found.mean("own_first", at, own, better="higher", share=True)
        found.mean("chance_own_first", at, chance, share=True)
        excess = found.mean("own_first_excess", at, own - chance, better="higher")
        word = stats.verdict(excess.low, excess.high, NEGLIGIBLE, STRONG)
        sense = {
            "strong": "tells the right document well from near-copies",
            "shown": "tells the right document from near-copies",
            "none": "does not tell the right document from near-copies",
            "cannot tell": "may or may not tell the right document from near-copies",
        }[word]
        reach = "" if excess.low is None or excess.high is None else f" ({excess.low:+.2f} to {excess.high:+.2f})"
        text = f"{pooling!r} {sense}: first among them in {own[np.isfinite(own)].mean():.0%}, {excess.value:+.2f}{reach} against chance."
        found.say("near-copies", text, verdict=word, pooling=repr(pooling))


def near_copies(bench: Bench, likeness: float) -> dict[int, NDArray[np.int64]]:
    """Return, for every relevant document, the positions of its near-copies, itself left out.

    Raises:
        Skip: no document has a text.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - takes a second to import

    texts = [document.text for document in bench.dataset.documents]
    if not any(texts):
        raise Skip("near-copies are found by their words, and no document has a text")
    words = TfidfVectorizer(sublinear_tf=True, token_pattern=_WORD).fit_transform(texts).tocsr()
    wanted = sorted({int(document) for relevant in bench.relevant for document in relevant})
    found: dict[int, NDArray[np.int64]] = {}
    for document in wanted:
        cosines = np.asarray((words @ words[document].T).todense()).ravel()
        near = np.flatnonzero(cosines >= likeness - _ROUNDING)
        found[document] = near[near != document]
    return found


def _look(
    bench: Bench, query: int, scores: Tensor, copies: dict[int, NDArray[np.int64]], order: Order
) -> tuple[float, float, float, float]:
    """Return own_first and its chance (NaN without copies), R@10 and R@10 with copies of one query."""
    relevant = set(bench.relevant[query].tolist())
    first: list[float] = []
    chances: list[float] = []
    for document in sorted(relevant):
        rivals = [int(copy) for copy in copies[document] if int(copy) not in relevant]
        if rivals:
            others = scores[torch.tensor(rivals)]
            beaten = bool((others > scores[document]).any())
            first.append(0.0 if beaten else 1 / (1 + int((others == scores[document]).sum())))
            chances.append(1 / (1 + len(rivals)))
    best = set(order.first(scores).tolist())
    plain = float(np.mean([document in best for document in relevant]))
    generous = float(np.mean([bool(best & {document, *copies[document].tolist()}) for document in relevant]))
    own, chance = (float(np.mean(row)) if row else float("nan") for row in (first, chances))
    return own, chance, plain, generous
