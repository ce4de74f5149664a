"""Words for a length bias, from the questions about something else and from growth within a document."""

from __future__ import annotations

from collections.abc import Sequence

from lidiag import stats
from lidiag.findings import Findings
from lidiag.measurement import Measurement
from lidiag.pooling import Scoring

# Negligible and strong: small and large effects by Cohen (1988), r = 0.1 and 0.5; and d = 0.2 and 0.8 for a document four times
# as long, so half of that per doubling. A reference has the bounds of what it is set against.
_DELTAS = {"rho_foreign": (0.1, 0.5), "rho_excess": (0.1, 0.5), "slope_within_sd": (0.1, 0.4), "slope_excess": (0.1, 0.4)}
_THERE = {"shown", "strong"}
_DRAWS = "what more draws for a maximum give"


def say_verdicts(found: Findings, scorings: Sequence[Scoring]) -> None:
    """Say for every scoring whether there is a length bias, and whether it is more than draws for a maximum explain."""
    for scoring in scorings:
        at = {"pooling": repr(scoring)}
        known = {m.name: m for m in found.measurements if m.at == at}
        words: dict[str, stats.Verdict] = {name: _word(name, known.get(name)) for name in _DELTAS}
        said = [_said(name, known[name], words[name]) for name in _DELTAS if name in known]
        text = f"{scoring}: {_headline(words)}. {' '.join(said)}"
        found.say("verdict", text, pooling=repr(scoring), verdict=_headline(words), words=words, bounds=_DELTAS)


def _word(name: str, measured: Measurement | None) -> stats.Verdict:
    if measured is None:
        return "cannot tell"
    low, high = measured.low, measured.high
    if low is None and measured.n > 1:  # every unit has the same value
        low = high = measured.value
    bounds = _DELTAS[name]
    if not name.endswith("excess"):
        return stats.verdict(low, high, *bounds, two_sided=True)
    # Less than shuffled vectors give is no excess, however much less it is.
    return "none" if high is not None and high <= bounds[0] else stats.verdict(low, high, *bounds)


def _headline(words: dict[str, stats.Verdict]) -> str:
    between, within = words["rho_foreign"], words["slope_within_sd"]
    if between not in _THERE:
        if within in _THERE and between == "none":
            return "no length bias between documents, though a document gains by growing"
        return "no length bias" if between == within == "none" else "cannot tell"
    if within == "none":
        return f"{_degree(between)}, which more draws for a maximum do not explain"
    if within == "cannot tell":
        return f"{_degree(between)}, and no telling whether more draws for a maximum explain it"
    excess = {words["rho_excess"], words["slope_excess"]}
    if excess & _THERE:
        return f"{_degree('strong' if 'strong' in excess else 'shown')} beyond {_DRAWS}"
    return f"cannot tell whether there is a length bias beyond {_DRAWS}" if "cannot tell" in excess else f"no length bias beyond {_DRAWS}"


def _degree(word: stats.Verdict) -> str:
    return "a strong length bias" if word == "strong" else "a length bias"


def _said(name: str, measured: Measurement, word: stats.Verdict) -> str:
    interval = "" if measured.low is None or measured.high is None else f" [{measured.low:.2f}, {measured.high:.2f}]"
    number = f"{measured.value:.2f}{interval}"
    return {
        "rho_foreign": f"For questions about something else, score and length correlate at {number}: {word} on its own.",
        "rho_excess": f"That is {number} more than on shuffled vectors, which leave nothing but draws: {word}.",
        "slope_within_sd": f"Per doubling of what is read of it a document gains {number} sd of the scores: {word} on its own.",
        "slope_excess": f"That is {number} more than on shuffled vectors: {word}.",
    }[name]
