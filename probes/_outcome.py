"""What a sweep of injections says: measurements, and rate and damage side by side in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidiag import stats
from lidiag.findings import Findings
from lidiag.measurement import Better

from ._injection import BEFORE, EFFECTS

CONTROLS = ("gaussian_matched", "passage")
# Written before the figures: a loss of a twentieth of the recall is negligible, one of a quarter is strong.
NEGLIGIBLE, STRONG = 0.05, 0.25

_REFERENCE_K = 100
# The effect, and the base of what is a ratio of means over queries.
_MEASURED: dict[str, tuple[str, str | None, Better]] = {
    "hijack_rate": ("hijack_rate", None, "neither"),
    "hijack_gain": ("gain", "gap", "lower"),
    "outbid_rate": ("outbid_rate", None, "lower"),
    "takeover@10": ("takeover@10", None, "lower"),
    "recall_retained": ("recall", "recall", "higher"),
    "ndcg_retained": ("ndcg", "ndcg", "higher"),
}
_NOTHING_TO_LOSE = "no query has a relevant document in its first ten, so there is nothing to lose."
_NO_VALUE = {
    "hijack_rate": "no query has a non-relevant document with token vectors.",
    "hijack_gain": "no query scores its best relevant document above the median of the others.",
    "outbid_rate": "no query has a relevant document with token vectors.",
    "takeover@10": "no query has a non-relevant document outside its first ten.",
    "recall_retained": _NOTHING_TO_LOSE,
    "ndcg_retained": _NOTHING_TO_LOSE,
    "targeting_effect": _NOTHING_TO_LOSE,
}

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a sweep found: `before` (queries, poolings, BEFORE), `effects` (queries, poolings, kinds, k, EFFECTS)."""

    found: Findings
    poolings: tuple[str, ...]
    kinds: tuple[str, ...]
    k: tuple[int, ...]
    before: Array
    effects: Array

    def add_measurements(self) -> None:
        """Add every effect at every pooling, k and distractor, and what aiming adds to it."""
        for p, pooling in enumerate(self.poolings):
            for d, kind in enumerate(self.kinds):
                for i, k in enumerate(self.k):
                    self._add(p, {"pooling": pooling, "k": k, "distractor": kind}, self.effects[:, p, d, i])
            for control in self._controls():
                for i, k in enumerate(self.k):
                    lost = self._recall(p, control, i) - self._recall(p, "targeted", i)
                    at = {"pooling": pooling, "k": k, "distractor": control}
                    self._ratio("targeting_effect", at, lost, self._base("recall")[:, p], "lower")

    def add_words(self) -> None:
        """Say what was found at the reference k."""
        self._say_left_out()
        self._say_rates()
        self._say_trade()
        self._say_targeting()

    @property
    def reference(self) -> int:
        """The k that is spoken of: 100, else the largest."""
        return _REFERENCE_K if _REFERENCE_K in self.k else max(self.k)

    def _add(self, p: int, at: dict[str, str | int], effects: Array) -> None:
        for name, (effect, base, better) in _MEASURED.items():
            values = effects[:, EFFECTS.index(effect)]
            if base:
                self._ratio(name, at, values, self._base(base)[:, p], better)
            elif np.isnan(values).all():
                self.found.unmade(name, at, _NO_VALUE[name])
            else:
                self.found.mean(name, at, values, better=better, share=True)

    def _ratio(self, name: str, at: dict[str, str | int], values: Array, base: Array, better: Better) -> None:
        if np.nansum(base) > 0:
            self.found.ratio(name, at, values, base, better=better)
        else:
            self.found.unmade(name, at, _NO_VALUE[name])

    def _base(self, name: str) -> Array:
        """Return (queries, poolings); NaN where there is no gap to bridge, which leaves the query out."""
        values = self.before[..., BEFORE.index(name)]
        return np.where(values > 0, values, np.nan) if name == "gap" else values

    def _controls(self) -> list[str]:
        return [control for control in CONTROLS if control in self.kinds] if "targeted" in self.kinds else []

    def _recall(self, p: int, kind: str, i: int) -> Array:
        return self.effects[:, p, self.kinds.index(kind), i, EFFECTS.index("recall")]

    def _value(self, name: str, pooling: str, kind: str, k: int) -> float | None:
        at = {"pooling": pooling, "k": k, "distractor": kind}
        return next((m.value for m in self.found.measurements if m.name == name and m.at == at), None)

    def _say_left_out(self) -> None:
        gaps = self._base("gap")
        left = {pooling: int(np.isnan(gaps[:, p]).sum()) for p, pooling in enumerate(self.poolings)}
        if any(left.values()):
            listed = ", ".join(f"{n} for {pooling}" for pooling, n in left.items() if n)
            text = f"hijack_gain leaves out the queries whose best relevant document does not score above the median of the others: {listed} of {len(gaps)}."
            self.found.say("hijack_gain", text, left_out=left)

    def _say_rates(self) -> None:
        """Rate and damage side by side: the same share of tokens taken over may cost nothing or everything."""
        k = self.reference
        for pooling in self.poolings:
            rows = {
                kind: {name: self._value(name, pooling, kind, k) for name in ("hijack_rate", "hijack_gain", "recall_retained")}
                for kind in self.kinds
            }
            listed = "; ".join(
                f"{kind} takes {row['hijack_rate']:.1%} and leaves {row['recall_retained']:.1%}"
                for kind, row in rows.items()
                if row["hijack_rate"] is not None and row["recall_retained"] is not None
            )
            text = f"{pooling}, k = {k}, share of the query's tokens (or of their weight) taken over, and recall left: {listed}."
            self.found.say("rate and damage", text + self._how_rates_follow(pooling), pooling=pooling, k=k, by_distractor=rows)

    def _how_rates_follow(self, pooling: str) -> str:
        places = [(kind, k) for kind in self.kinds for k in self.k if k]
        table = [[self._value(name, pooling, *place) for name in ("hijack_rate", "hijack_gain", "recall_retained")] for place in places]
        rows = np.array([row for row in table if None not in row], dtype=np.float64)
        if len(rows) < 3:  # noqa: PLR2004 - two points always agree or disagree
            return ""
        rate, gain = (float(stats.spearman(rows[:, i], -rows[:, 2])) for i in (0, 1))
        return f" Over {len(rows)} conditions the rank correlation with the recall lost is {rate:.2f} for the rate, {gain:.2f} for hijack_gain."

    def _say_trade(self) -> None:
        """Which pooling buys what: quality on clean data against recall under injection."""
        k = self.reference
        kinds = [kind for kind in ("targeted", *CONTROLS) if kind in self.kinds]
        clean = {pooling: float(self._base("ndcg")[:, p].mean()) for p, pooling in enumerate(self.poolings)}
        kept = {kind: {pooling: self._value("recall_retained", pooling, kind, k) for pooling in self.poolings} for kind in kinds}
        parts = [f"nDCG@10 as it is {_listed(clean)}", *(f"recall left by {kind} {_listed(values)}" for kind, values in kept.items())]
        text = f"What each pooling trades, k = {k}: {'; '.join(parts)}."
        diluted = [f"{pooling} under {kind}" for kind, values in kept.items() for pooling, value in values.items() if value and value > 1]
        if diluted:
            text += (
                f" More than all is left for {', '.join(diluted)}: there the vectors lower the scores of the documents that get them, and only "
                "non-relevant ones do. That is dilution and this test's doing, not robustness."
            )
        self.found.say("trade", text, k=k, ndcg=clean, recall_retained=kept)

    def _say_targeting(self) -> None:
        for control in self._controls():
            for pooling in self.poolings:
                at = {"pooling": pooling, "k": self.reference, "distractor": control}
                effect = next((m for m in self.found.measurements if m.name == "targeting_effect" and m.at == at), None)
                if effect is None:
                    continue
                word = stats.verdict(effect.low, effect.high, NEGLIGIBLE, STRONG)
                reach = "" if effect.low is None or effect.high is None else f" ({effect.low:.3f} to {effect.high:.3f})"
                text = (
                    f"{pooling}, k = {self.reference}: vectors aimed at the query cost {effect.value:.3f}{reach} more of the recall than {control} does: "
                    f"{word} (negligible up to {NEGLIGIBLE}, strong above {STRONG})."
                )
                self.found.say("targeting", text, verdict=word, pooling=pooling, k=self.reference, control=control)


def _listed(values: dict[str, float | None] | dict[str, float]) -> str:
    return ", ".join(f"{value:.3f} {name}" for name, value in values.items() if value is not None)
