"""Claims of papers beside what was measured: by hand."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lidiag.card import ModelCard
from lidiag.claim import Claim, Measured, judge
from lidiag.gate import Judged
from lidiag.measurement import Measurement


def card(name="org/model", attention="unknown"):
    return ModelCard(
        name=name, revision="0" * 40, adapter="toy", reason="asked for", family="Toy", modalities=("text",), dim=2, dtype="float32", attention=attention
    )  # fmt: skip


CARD, PUBLISHED = card(), card("org/published")


def results(  # noqa: PLR0913, PLR0917 - what tests vary
    value=0.5, low=0.4, high=0.6, dataset="facts", status="passed", reason=""
):
    made = (Measurement(name="x", at={"pooling": "maxsim"}, value=value, low=low, high=high, n=5),)
    return (dataset, Judged(probe="p", status=status, reason=reason, measurements=made if status == "passed" else ()))


def claim(**more):
    known = {
        "claim": "It is so.",
        "source": "a paper",
        "published": "0.5",
        "measured": Measured(probe="p", name="x", at={"pooling": "maxsim"}),
    }
    return Claim(**(known | more))


def words(said, *found, model=CARD):
    return [verdict.verdict for verdict in judge(said, found, model)]


@pytest.mark.parametrize(
    ("op", "bound", "margin", "word"),
    [
        (">", 0.39, 0.0, "holds"),
        (">", 0.5, 0.0, "cannot tell"),
        (">", 0.6, 0.0, "does not hold"),
        ("<", 0.61, 0.0, "holds"),
        ("<", 0.5, 0.0, "cannot tell"),
        ("<", 0.4, 0.0, "does not hold"),
        ("near", 0.55, 0.16, "holds"),
        ("near", 0.55, 0.1, "cannot tell"),
        ("near", 0.75, 0.1, "does not hold"),
    ],
)
def test_the_interval_decides(op, bound, margin, word):
    assert words(claim(op=op, bound=bound, margin=margin), results()) == [word]


def test_a_value_without_an_interval_is_judged_by_itself():
    assert words(claim(op="near", bound=0.5, margin=0.01), results(low=None, high=None)) == ["holds"]


def test_a_claim_is_judged_on_every_collection_that_was_measured():
    found = results(dataset="a"), results(value=0.9, low=0.8, high=1.0, dataset="b")
    verdicts = judge(claim(op="<", bound=0.7), found, CARD)
    assert [(v.dataset, v.verdict, v.value, v.n) for v in verdicts] == [("a", "holds", 0.5, 5), ("b", "does not hold", 0.9, 5)]


def test_a_collection_where_the_probe_was_skipped_says_nothing_unless_it_is_the_only_one():
    skipped = results(status="skipped", reason="no pages", dataset="b")
    assert words(claim(op="<", bound=0.7), results(), skipped) == ["holds"]
    (alone,) = judge(claim(op="<", bound=0.7), [skipped], CARD)
    assert (alone.verdict, alone.why) == ("not tested", "p was skipped: no pages")


def test_what_did_not_run_or_was_not_measured_is_not_tested():
    (other,) = judge(claim(op=">", bound=0), [], CARD)
    assert (other.verdict, other.why) == ("not tested", "p did not run")
    missing = claim(op=">", bound=0, measured=Measured(probe="p", name="y"))
    assert judge(missing, [results()], CARD)[0].why == "p y was not measured"


def test_a_figure_of_another_checkpoint_is_shown_and_not_tested():
    said = claim(op="near", bound=0.98, margin=0.01, models=("org/published",))
    (verdict,) = judge(said, [results()], CARD)
    assert (verdict.verdict, verdict.value, verdict.why) == ("not tested", 0.5, "published for org/published, and this is org/model")
    assert words(said, results(value=0.98, low=0.975, high=0.985), model=PUBLISHED) == ["holds"]


def test_a_claim_about_causal_models_is_tested_on_causal_models():
    said = claim(op="<", bound=0.7, attention="causal")
    assert words(said, results(), model=card(attention="causal")) == ["holds"]
    (verdict,) = judge(said, [results()], card(attention="bidirectional"))
    assert (verdict.verdict, verdict.why) == ("not tested", "it is about causal models, and this one's attention is bidirectional")


def test_a_claim_that_nothing_here_can_test_says_why():
    (verdict,) = judge(Claim(claim="c", source="s", published="1", untested="it needs a cluster"), [results()], CARD)
    assert (verdict.verdict, verdict.why, verdict.value) == ("not tested", "it needs a cluster", None)


@pytest.mark.parametrize("wrong", [{}, {"op": ">"}, {"op": ">", "bound": 1, "untested": "why"}, {"bound": 1.0}])
def test_a_claim_that_could_not_be_judged_is_refused(wrong):
    with pytest.raises(ValidationError):
        claim(**wrong)
