"""Planted ailments and the probes that must find them; the matrix, and how it came about, is also in docs/ailments.md."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lidiag import catalog
from lidiag.adapter import LoadOptions
from lidiag.bench import Bench
from lidiag.dataset import DataOptions
from lidiag.findings import Findings
from lidiag.gate import Judged, judge
from tests.probes.toy import measure

TABLE = Path(__file__).resolve().parents[2] / "docs" / "ailments.md"
MAXSIM = {"pooling": "maxsim"}
PARAMETERS = {
    "load-check": {},
    "retrieval": {"poolings": ["maxsim"]},
    "length-bias": {"poolings": ["maxsim", "mean"]},
    "length-sweep": {"poolings": ["maxsim"], "growth": [2, 8], "texts": 40, "text_queries": 8},
    "distractor-hijacking": {
        "poolings": ["maxsim"], "k": [100], "draws": 3, "echo": 0, "distractors": ["targeted", "random", "passage", "gaussian_matched"],
    },
    "similarity-tail": {},
    "gradient-gini": {"poolings": ["maxsim"]},
}  # fmt: skip

PROBES = ("load-check", "retrieval", "length-bias", "length-sweep", "attention", "distractor-hijacking", "similarity-tail", "gradient-gini")
# Must fire (+), may fire (?), must not fire (-). Vectors that win maxima everywhere may move whatever looks at maxima.
MATRIX = {
    #                      load retr len sweep attn hijack tail gini
    "length_bias=0.3":    "-    -    +   ?     -    ?      -    -",
    "hijackable=0.7":     "-    -    -   +     -    +      ?    ?",
    "hub_vector=0.5":     "-    -    -   +     -    +      ?    ?",
    "hub_vector=1":       "+    +    ?   ?     -    ?      ?    ?",
    "tail_signal=0.5":    "-    -    -   ?     -    ?      +    ?",
    "gradient_spike=0.5": "-    -    -   ?     -    ?      ?    +",
    "anisotropic=0.5":    "-    -    -   -     -    -      -    -",
    "causal=1":           "-    -    -   -     +    -      -    -",
    "random_head=1":      "+    -    -   -     -    -      -    -",
    "batch_dependent=0.2": "+   -    -   -     ?    -      -    -",
    "pad_rows=2":         "+    -    ?   -     -    ?      -    ?",
    "":                   "-    -    -   -     -    -      -    -",
}  # fmt: skip
# Every gate of the suite robustness, and an ailment that it must fail on.
GATES = {
    "faults": "random_head=1",
    "nDCG@10": "hub_vector=1",
    "rho_excess": "length_bias=0.3",
    "slope_excess": "length_bias=0.3",
    "ndcg_retained": "hijackable=0.7",
    "recall_retained": "hijackable=0.7",
}
MEANING = {"+": "must", "?": "may", "-": "no"}


@cache
def collection():
    """builtin:facts with one question for each statement, so that the questions are the groups."""
    data = catalog.dataset("builtin:facts", DataOptions())
    first = {data.groups[query.id]: query for query in reversed(data.queries)}
    queries = list(first.values())
    kept = {query.id for query in queries}
    return dataclasses.replace(
        data, queries=queries, relevance={q: r for q, r in data.relevance.items() if q in kept}, groups={q: data.groups[q] for q in kept}
    )


@cache
def bench(ailment: str) -> Bench:
    data = collection()
    adapter = catalog.model("builtin:lexical" + (f"?{ailment}" if ailment else ""), LoadOptions())
    ids, texts = zip(*((query.id, query.text) for query in data.queries), strict=True)
    queries, documents = adapter.queries(texts), adapter.documents(data.documents)
    return Bench(data, adapter, ids, queries, documents, adapter.documents, adapter.queries)


@cache
def found(probe: str, ailment: str) -> Findings:
    return measure(probe, bench(ailment), **PARAMETERS[probe])


def words(probe: str, ailment: str, name: str) -> set[str]:
    """The words of every finding of that name."""
    return {finding.data["verdict"] for finding in found(probe, ailment).findings if finding.name == name}


def value(probe: str, ailment: str, name: str, at: dict[str, object] | None = None) -> float:
    return found(probe, ailment).get(name, at or {}).value


def failed_gates(ailment: str) -> set[tuple[str, str]]:
    """The gates of the suite robustness that do not pass, as (probe, name)."""
    results = [Judged(probe=probe, status="passed", reason="", measurements=found(probe, ailment).measurements) for probe in PARAMETERS]
    verdicts = [judge(gate, results, "facts") for gate in catalog.suite("robustness").gates]
    return {(verdict.probe, verdict.name) for verdict in verdicts if verdict.status != "passed"}


def fires(ailment: str) -> set[str]:
    """The probes with an alarm: a gate that does not pass, a fault, or a main verdict that the healthy model does not get."""
    attention = [finding.data["inferred"] for finding in found("length-sweep", ailment).findings if finding.name == "attention"]
    beyond = {"a length bias", "a strong length bias"}
    alarms = {
        "load-check": bool(found("load-check", ailment).faults),
        "retrieval": words("retrieval", ailment, "quality") != {"shown"},
        "length-bias": any(said.split(" beyond")[0].split(", which")[0] in beyond for said in words("length-bias", ailment, "verdict")),
        "length-sweep": "strong" in words("length-sweep", ailment, "loss"),
        "attention": attention != ["bidirectional"],
        "distractor-hijacking": "strong" in words("distractor-hijacking", ailment, "targeting"),
        "similarity-tail": bool(words("similarity-tail", ailment, "tail") & {"shown", "strong"}),
        "gradient-gini": "strong" in words("gradient-gini", ailment, "concentration"),
    }
    return {probe for probe, alarm in alarms.items() if alarm} | {probe for probe, _ in failed_gates(ailment)}


@pytest.mark.parametrize("ailment", MATRIX, ids=lambda ailment: ailment or "healthy")
def test_an_ailment_is_found_where_it_must_be_and_not_where_it_must_not(ailment):
    alarms, expected = fires(ailment), dict(zip(PROBES, MATRIX[ailment].split(), strict=True))
    assert {probe for probe, sign in expected.items() if sign == "+"} <= alarms
    assert not {probe for probe, sign in expected.items() if sign == "-"} & alarms


def test_all_gates_and_verdicts_clear_the_healthy_model():
    assert not failed_gates("")
    assert not fires("")
    assert words("length-bias", "", "verdict") == {"no length bias beyond what more draws for a maximum give", "no length bias"}


def test_every_gate_can_fail():
    assert {gate.name for gate in catalog.suite("robustness").gates} == set(GATES)
    for name, ailment in GATES.items():
        assert name in {failed for _, failed in failed_gates(ailment)}, name


def test_a_hub_moves_hijacking_and_the_sweep():
    for probe, name, at in (
        ("distractor-hijacking", "recall_retained", {"pooling": "maxsim", "k": 100, "distractor": "targeted"}),
        ("length-sweep", "ndcg_retained", {"pooling": "maxsim", "growth": 8, "grown": "non-relevant", "filler": "documents"}),
    ):
        assert found(probe, "hub_vector=0.5").get(name, at).high < found(probe, "").get(name, at).low


@pytest.mark.parametrize("dial", [0.1, 0.3, 0.6])
def test_the_planted_length_bias_is_recovered(dial):
    # The mean of log2(place) / 10 over a document's words, per doubling of the words: what the pooling mean must gain by.
    facets = collection().facets
    degree, times = zip(
        *(
            (math.lgamma(length + 1) / math.log(2) / length / 10, facets[document.id]["times"])
            for document, length in zip(collection().documents, bench("").lengths.tolist(), strict=True)
        ),
        strict=True,
    )
    planted = dial * np.polyfit(np.log2(times), degree, 1)[0]
    healthy, ill = (value("length-bias", a, "controlled_effect", {"pooling": "mean"}) for a in ("", f"length_bias={dial}"))
    assert ill - math.sqrt(1 - dial) * healthy == pytest.approx(planted, rel=0.05)


@pytest.mark.parametrize("dial", [0.2, 0.5])
@pytest.mark.parametrize("rank", ["1", "2-4", "5-16", "17-32"])
def test_planted_anisotropy_lifts_the_similarity_at_every_rank_by_as_much(dial, rank):
    at = {"rank": rank, "documents": "relevant"}
    healthy, ill = (value("similarity-tail", a, "similarity", at) for a in ("", f"anisotropic={dial}"))
    assert ill == pytest.approx(dial + (1 - dial) * healthy, abs=0.02)


def test_the_share_of_what_follows_is_recovered_from_how_much_a_prefix_changes():
    healthy = value("length-sweep", "", "prefix_change")
    for dial in (0.25, 0.75, 1):
        assert value("length-sweep", f"causal={dial}", "prefix_change") / healthy == pytest.approx(1 - dial, abs=0.02)


def test_every_padding_row_is_counted():
    at = {"side": "document"}
    for rows in (1, 3):
        probe = catalog.probe("load-check", {})
        assert value("load-check", f"pad_rows={rows}", "zero_rows", at) == 2 * probe.documents * rows  # alone and in a batch


HIJACKED = {"pooling": "maxsim", "k": 100}


@pytest.mark.parametrize(
    ("probe", "ailment", "dials", "name", "at"),
    [
        ("distractor-hijacking", "hijackable", (0, 0.3, 0.5, 0.7), "hijack_gain", HIJACKED | {"distractor": "random"}),
        ("distractor-hijacking", "hub_vector", (0, 0.25, 0.5, 0.75), "hijack_gain", HIJACKED | {"distractor": "targeted"}),
        # Below 0.3 the chosen vector is not yet nearer to a query than what a document has anyway.
        ("similarity-tail", "tail_signal", (0.3, 0.4, 0.5, 0.6), "tail_gain", {}),
        ("gradient-gini", "gradient_spike", (0, 0.3, 0.5, 0.7), "gini_excess", MAXSIM),
        ("load-check", "batch_dependent", (0, 0.1, 0.2, 0.4), "batch_difference", {"side": "document"}),
    ],
)
def test_what_is_measured_rises_with_the_dial(probe, ailment, dials, name, at):
    measured = [value(probe, f"{ailment}={dial}" if dial else "", name, at) for dial in dials]
    assert np.diff(measured).min() > 0
    assert measured[-1] - measured[0] > 0.1


def table() -> str:
    """The matrix as it stands in the documentation."""
    head = "| ailment | " + " | ".join(PROBES) + " |"
    rows = [
        f"| `{ailment or 'healthy'}` | " + " | ".join(MEANING[sign] for sign in signs.split()) + " |" for ailment, signs in MATRIX.items()
    ]
    return "\n".join([head, "| --- " * (len(PROBES) + 1) + "|", *rows])


def test_the_documentation_shows_this_matrix():
    assert table() in TABLE.read_text(encoding="utf-8")
