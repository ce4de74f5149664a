"""A gain in nDCG@10 as a word: better, worse, as good, or not to be told."""

from __future__ import annotations

from lidiag import stats
from lidiag.measurement import Measurement

# Written before the figures, in nDCG@10: a hundredth is what leaderboards round away, a twentieth moves a model by many ranks.
NEGLIGIBLE, STRONG = 0.01, 0.05


def gain_in_words(gain: Measurement) -> tuple[stats.Verdict, str]:
    """Return the verdict on a gain, two-sided, and the words that go between two names: "better than"."""
    word = stats.verdict(gain.low, gain.high, NEGLIGIBLE, STRONG, two_sided=True)
    side = "better" if gain.value > 0 else "worse"
    if word == "cannot tell" and gain.low is not None and gain.high is not None and not gain.low <= 0 <= gain.high:
        return word, f"{side} (perhaps by less than {NEGLIGIBLE}, which is negligible) than"
    return word, {
        "strong": f"much {side} than",
        "shown": f"{side} than",
        "none": "as good as",
        "cannot tell": "not shown to be better or worse than",
    }[word]


def reach(measured: Measurement) -> str:
    """Return the interval as it stands behind a number."""
    return "" if measured.low is None or measured.high is None else f" ({measured.low:+.4f} to {measured.high:+.4f})"
