from __future__ import annotations

import dataclasses
import zlib

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from lidiag import catalog
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim
from lidiag.probes._references import Shuffled
from lidiag.probes.length_bias import _add_over_questions
from lidiag.similarity import Tiling
from tests.probes.toy import ToyAdapter, gaussian, measure, toy_bench

MAXSIM = {"pooling": "maxsim"}
DIM = 16


def any_text(text):
    """Five random unit vectors for every text, always the same."""
    return gaussian(torch.Generator().manual_seed(zlib.crc32(text.encode())), 5, DIM)


def scored(*rows):
    """Documents whose vectors have these similarities to ONE."""
    return [torch.tensor([[similarity, 0.0] for similarity in row]).reshape(-1, 2) for row in rows]


ONE = torch.tensor([[1.0, 0.0]])


def said(found, name):
    return next(finding for finding in found.findings if finding.name == name)


def values(found, name, at=None):
    return next(item.values for item in found.per_query if item.name == name and item.at == (at or MAXSIM))


def random_collection(document, *, queries=20, documents=300, **more):
    generator = torch.Generator().manual_seed(5)
    asked = [gaussian(generator, 4, DIM) for _ in range(queries)]
    lengths = [4 + 4 * (i * 7 % 16) for i in range(documents)]
    made = [document(length, generator) for length in lengths]
    return toy_bench(asked, made, {q: {q: 1} for q in range(queries)}, adapter=ToyAdapter(any_text), **more)


def test_correlation_and_lengths_by_hand():
    # Rising scores with rising length among the documents that are not relevant; the relevant one is long and low.
    documents = scored([0.1], [0.2, 0.0], [0.3, 0.0, 0.0], [0.05] * 6)
    found = measure("length-bias", toy_bench([ONE], documents, {0: {3: 1}}), poolings=["maxsim"])
    assert found.get("score_length_correlation", MAXSIM).value == pytest.approx(1)
    assert found.get("relevant_length_ratio", MAXSIM).value == pytest.approx(6 / 2)
    assert found.get("retrieved_length_ratio", MAXSIM).value == 1


def test_the_ten_best_that_are_not_relevant_are_compared_with_all_that_are_not():
    documents = scored(*[[0.5 + i / 100] * 4 for i in range(10)], *[[0.1 + i / 100] * 2 for i in range(10)], [0.9] * 40)
    found = measure("length-bias", toy_bench([ONE], documents, {0: {20: 1}}), poolings=["maxsim"])
    assert found.get("retrieved_length_ratio", MAXSIM).value == pytest.approx(4 / 3)


def test_lift_counts_retrieved_over_relevant_by_decile():
    # Twenty documents of lengths 1..20, two in a decile; the ten longest are retrieved, the two shortest are relevant.
    documents = scored(*[[i / 100] * i for i in range(1, 21)])
    found = measure("length-bias", toy_bench([ONE, ONE], documents, {0: {0: 1, 1: 1}, 1: {0: 1}}), poolings=["maxsim"])
    lift = {m.at["decile"]: m.value for m in found.measurements if m.name == "length_lift"}
    assert lift == pytest.approx({1: 0.5 / 3.5} | dict.fromkeys(range(2, 6), 1.0) | dict.fromkeys(range(6, 11), 4.5 / 0.5))
    assert said(found, "deciles").data["deciles"]["10"] == [19, 20, 2]


def test_equal_lengths_share_a_decile():
    documents = scored([0.5], *[[0.1, 0.1]] * 9)
    found = measure("length-bias", toy_bench([ONE], documents, {0: {0: 1}}), poolings=["maxsim"])
    assert {m.at["decile"] for m in found.measurements if m.name == "length_lift"} == {1, 6}


def test_growth_within_documents_by_hand():
    # The best of the first 2, 4 and 8 vectors is 0.1, 0.2 and 0.4: 0.15 per doubling, for each of two query tokens.
    long = [0.1, 0.0, 0.2, 0.0, 0.4, 0.0, 0.0, 0.0]
    documents = scored(long, [*long, 0.0], [0.9], [0.3, 0.1])
    found = measure("length-bias", toy_bench([ONE.repeat(2, 1)], documents, {0: {2: 1}}), poolings=["maxsim"], longest_prefix=8)
    assert found.get("slope_within", MAXSIM).value == pytest.approx(0.15)
    assert said(found, "prefixes").data == {"p": 8, "documents": 2}


def test_between_documents_the_slope_is_per_doubling_and_query_token():
    documents = scored([0.1], [0.2] * 2, [0.3] * 4, [0.4] * 8, [0.7] * 3)
    bench = toy_bench([ONE.repeat(3, 1)], documents, {0: {4: 1}})
    found = measure("length-bias", bench, poolings=["maxsim", "mean"])
    for pooling in ("maxsim", "mean"):
        assert found.get("slope_between", {"pooling": pooling}).value == pytest.approx(0.1, abs=1e-6)
    sd = 3 * torch.tensor([0.1, 0.2, 0.3, 0.4]).std().item()
    assert found.get("slope_between_sd", MAXSIM).value == pytest.approx(0.3 / sd, abs=1e-5)


def test_exchangeable_vectors_show_a_bias_that_is_no_more_than_draws_give():
    found = measure("length-bias", random_collection(lambda length, generator: gaussian(generator, length, DIM)), poolings=["maxsim"])
    assert found.get("rho_exchangeable", MAXSIM).value == pytest.approx(found.get("score_length_correlation", MAXSIM).value, abs=0.05)
    assert found.get("rho_excess", MAXSIM).value == pytest.approx(0, abs=0.05)
    assert found.get("slope_exchangeable", MAXSIM).value == pytest.approx(found.get("slope_within", MAXSIM).value, rel=0.1)
    assert said(found, "verdict").data["verdict"] == "no length bias beyond what more draws for a maximum give"


def test_a_collection_in_which_length_changes_nothing_is_cleared():
    found = measure("length-bias", random_collection(lambda length, generator: gaussian(generator, 1, DIM).repeat(length, 1)))
    for finding in (finding for finding in found.findings if finding.name == "verdict"):
        assert finding.data["verdict"] == "no length bias", finding.text
    assert values(found, "slope_within") == pytest.approx(0, abs=1e-6)


COMMON = torch.nn.functional.normalize(torch.ones(1, DIM))


def planted(vectors):
    """A collection whose documents come nearer to all questions the longer they are; `vectors` are what they hold besides."""
    bench = random_collection(lambda length, generator: torch.nn.functional.normalize(vectors(length, generator) + COMMON * (length / 64)))
    return dataclasses.replace(bench, encode_queries=lambda texts: MultiVectors.pack([any_text(text) + COMMON for text in texts]))


def test_a_planted_length_bias_that_draws_cannot_explain_is_found():
    found = measure("length-bias", planted(lambda length, generator: gaussian(generator, 1, DIM).repeat(length, 1)), poolings=["maxsim"])
    assert said(found, "verdict").data["words"]["rho_foreign"] == "strong"
    assert said(found, "verdict").data["verdict"] == "a strong length bias, which more draws for a maximum do not explain"


def test_a_length_bias_planted_on_top_of_draws_is_more_than_they_give():
    found = measure("length-bias", planted(lambda length, generator: gaussian(generator, length, DIM)), poolings=["maxsim"])
    assert said(found, "verdict").data["verdict"] == "a length bias beyond what more draws for a maximum give"


def test_the_correlation_alone_gives_no_verdict():
    # The collection's own questions prefer long documents, questions about something else do not: that is topic, not length.
    wanted = torch.nn.functional.one_hot(torch.tensor([0]), DIM).float()

    def long_ones_are_about_it(length, generator):
        foreign = gaussian(generator, 1, DIM)
        foreign[:, 0] = 0
        vector = torch.nn.functional.normalize(foreign) + wanted * length / 64
        return torch.nn.functional.normalize(vector).repeat(length, 1)

    def others(text):
        vectors = any_text(text)
        vectors[:, 0] = 0
        return vectors

    bench = random_collection(long_ones_are_about_it)
    queries = MultiVectors(wanted + 0.1 * bench.queries.vectors, bench.queries.offsets)
    bench = dataclasses.replace(bench, queries=queries, encode_queries=lambda texts: MultiVectors.pack([others(text) for text in texts]))
    found = measure("length-bias", bench, poolings=["maxsim"])
    assert found.get("score_length_correlation", MAXSIM).value > 0.9
    assert said(found, "verdict").data["words"]["rho_foreign"] != "strong"
    assert "strong" not in said(found, "verdict").data["verdict"]


FACETS = {
    f"d{4 * fact + i}": {"fact": f"f{fact}", "position": "after" if i else "alone", "times": 2**i} for fact in range(2) for i in range(4)
}


def test_the_controlled_effect_by_hand():
    # Fact 0 answers and does not change; fact 1 gains 0.2 per doubling, where nothing but the padding differs.
    answers = scored([0.9], [0.9, 0], [0.9, 0, 0], [0.9, 0, 0, 0])
    padded = scored([0.1], [0.3, 0], [0.5, 0, 0], [0.7, 0, 0, 0])
    bench = toy_bench([ONE.repeat(2, 1)], [*answers, *padded], {0: dict.fromkeys(range(4), 1)}, facets=FACETS, groups={"q0": "f0"})
    found = measure("length-bias", bench, poolings=["maxsim"])
    assert found.get("controlled_effect", MAXSIM).value == pytest.approx(0.2)
    assert found.get("controlled_effect_after", MAXSIM).value == pytest.approx(0.2)
    assert found.get("controlled_effect_relevant", MAXSIM).value == pytest.approx(0, abs=1e-6)
    assert found.get("controlled_effect_sd", MAXSIM).value == pytest.approx(0.4 / (2 * torch.tensor([0.1, 0.3, 0.5, 0.7]).std().item()))
    assert said(found, "controlled_effect_before").data == {"at": MAXSIM}


def test_facts_are_clusters_of_the_controlled_effect():
    answers, padded = scored([0.9], [0.9] * 2, [0.9] * 3, [0.9] * 4), scored([0.1], [0.3] * 2, [0.5] * 3, [0.7] * 4)
    relevance = {q: dict.fromkeys(range(4) if q < 2 else range(4, 8), 1) for q in range(4)}
    groups = {"q0": "f0", "q1": "f0", "q2": "f1", "q3": "f1"}
    bench = toy_bench([ONE] * 4, [*answers, *padded], relevance, facets=FACETS, groups=groups)
    assert measure("length-bias", bench, poolings=["maxsim"]).get("controlled_effect", MAXSIM).n == 2


def test_an_empty_document_is_in_no_measure():
    documents = scored([0.1], [0.2, 0.0], [0.3, 0.0, 0.0], [0.05] * 6)
    plain = measure("length-bias", toy_bench([ONE], documents, {0: {3: 1}}))
    more = measure("length-bias", toy_bench([ONE], [*documents, torch.zeros(0, 2)], {0: {3: 1}}))
    unit_of_own = [m for m in plain.measurements if m.unit_of_n == "queries"]
    assert unit_of_own
    assert [m for m in more.measurements if m.unit_of_n == "queries"] == unit_of_own


def test_blocks_of_queries_change_no_value():
    make = lambda length, generator: gaussian(generator, length, DIM)  # noqa: E731
    whole = measure("length-bias", random_collection(make, documents=60))
    blocks = measure("length-bias", random_collection(make, documents=60, tiling=Tiling(query_tokens=9)))
    for one, other in zip(whole.measurements, blocks.measurements, strict=True):
        assert (one.name, one.at) == (other.name, other.at)
        assert one.value == pytest.approx(other.value, abs=1e-4)


def test_documents_of_one_length_are_skipped():
    for documents in (scored([0.1], [0.2]), scored([0.1], [0.2], [])):
        with pytest.raises(Skip, match=r"same number of token vectors \(1\)"):
            measure("length-bias", toy_bench([ONE], documents, {0: {0: 1}}))


def test_the_slopes_excess_is_what_exchangeable_vectors_leave_of_it_in_standard_deviations():
    bench = random_collection(lambda length, generator: gaussian(generator, length, DIM), queries=6, documents=60)
    found = measure("length-bias", bench, poolings=["maxsim"], shuffled_queries=6)
    within, in_sd, exchangeable = (np.array(values(found, name)) for name in ("slope_within", "slope_within_sd", "slope_exchangeable"))
    np.testing.assert_allclose(values(found, "slope_excess"), in_sd * (1 - exchangeable / within), rtol=1e-6)


def test_a_model_that_is_not_at_hand_gets_no_verdict():
    def refuse(texts):
        raise Skip(f"no model to encode {len(texts)} texts")

    bench = dataclasses.replace(random_collection(lambda length, generator: gaussian(generator, length, DIM)), encode_queries=refuse)
    found = measure("length-bias", bench, poolings=["maxsim"])
    assert "no model to encode 64 texts" in said(found, "rho_foreign").text
    assert said(found, "verdict").data["words"]["rho_foreign"] == "cannot tell"
    assert not any(m.name == "rho_foreign" for m in found.measurements)


def test_a_single_vector_has_a_correlation_but_neither_prefixes_nor_shuffled_vectors():
    bench = random_collection(lambda length, generator: gaussian(generator, length, DIM), documents=60)
    generator = torch.Generator().manual_seed(3)
    pooled = [dataclasses.replace(side, pooled=gaussian(generator, len(side), DIM)) for side in (bench.queries, bench.documents)]
    encode = lambda texts: MultiVectors.pack([any_text(t) for t in texts], pooled=gaussian(generator, len(texts), DIM))  # noqa: E731
    found = measure(
        "length-bias", dataclasses.replace(bench, queries=pooled[0], documents=pooled[1], encode_queries=encode), poolings=["single"]
    )
    names = {m.name for m in found.measurements}
    assert {"score_length_correlation", "rho_foreign", "slope_between"} <= names
    assert not {"slope_within", "rho_topic", "rho_exchangeable", "rho_excess"} & names


@pytest.mark.parametrize(
    ("cut", "limit", "share"), [(torch.tensor([True, False, False, True]), None, 0.5), (None, 3, 0.5), (None, None, None)]
)
def test_documents_cut_at_the_limit_are_counted_from_what_is_known(cut, limit, share):
    bench = toy_bench([ONE], scored([0.1], [0.2] * 2, [0.3] * 3, [0.4] * 3), {0: {0: 1}})
    documents = dataclasses.replace(bench.documents, cut=cut)
    bench = dataclasses.replace(bench, documents=documents, adapter=ToyAdapter(lambda _: ONE, document_length=limit))
    found = measure("length-bias", bench, poolings=["maxsim"])
    assert [m.value for m in found.measurements if m.name == "length_limit_share"] == ([] if share is None else [share])
    assert any(finding.name == "length_limit_share" for finding in found.findings) == (cut is None)


def test_two_of_each_draw_show_a_spread():
    assert catalog.probe("length-bias", {"foreign": 2, "shuffled_queries": 2, "shuffled_documents": 2, "longest_prefix": 1})


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"longest_prefix": 0}, "power of 2"),
        ({"shuffled_documents": 1}, "shuffled_documents"),
        ({"poolings": ["max"]}, "max"),
        ({"foreign": 1}, "foreign"),
        ({"foreign": 1000}, "64 questions"),
        ({"longest_prefix": 100}, "power of 2"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameters, why):
    with pytest.raises(LidiagError, match=why):
        catalog.probe("length-bias", parameters)


def test_questions_are_drawn_alone_or_crossed_with_shuffles():
    # Crossed, worked by hand: mean squares of shuffles 9, of questions 4, of the rest 1; freedom 12^2 / (81 + 16 + 1).
    found = random_collection(lambda length, generator: gaussian(generator, length, DIM), documents=8, queries=2).findings()
    _add_over_questions(found, "rho_foreign", MaxSim(), np.array([[1.0, np.nan, 2.0, 6.0]]))
    _add_over_questions(found, "rho_excess", MaxSim(), np.array([[1.0, 0.0, 2.0], [3.0, np.nan, 6.0]]))
    alone, crossed = found.get("rho_foreign", MAXSIM), found.get("rho_excess", MAXSIM)
    reach = scipy_stats.t.ppf(0.975, 2) * np.std([1, 2, 6], ddof=1) / np.sqrt(3)
    assert (alone.value, alone.low, alone.n) == (3, pytest.approx(3 - reach), 3)
    reach = scipy_stats.t.ppf(0.975, 144 / 98) * np.sqrt(3)
    assert (crossed.value, crossed.low, crossed.high, crossed.n) == (3, pytest.approx(3 - reach), pytest.approx(3 + reach), 2)


def test_every_measurement_has_its_formula():
    formulas = catalog.probe_class("length-bias").formulas
    found = measure("length-bias", random_collection(lambda length, generator: gaussian(generator, length, DIM), documents=60))
    assert {m.name for m in found.measurements} <= set(formulas)


def test_the_interval_of_a_shuffled_control_speaks_of_other_shuffles():
    # Twenty equal queries agree on every shuffle; only shuffles differ, and the interval is that of their eight means.
    generator = torch.Generator().manual_seed(9)
    asked, documents = gaussian(generator, 4, DIM), [gaussian(generator, 4 + d % 40, DIM) for d in range(120)]
    bench = toy_bench([asked] * 20, documents, {q: {q: 1} for q in range(20)})
    control = measure("length-bias", bench, poolings=["maxsim"]).get("rho_exchangeable", MAXSIM)
    means = [
        next(iter(shuffled.effects(bench, bench.queries, (MaxSim(),), ()).values())).mean() for shuffled in Shuffled.drawn(bench, 8, 250)
    ]
    low, high = scipy_stats.t.interval(0.95, 7, np.mean(means), scipy_stats.sem(means))
    assert (control.value, control.low, control.high) == pytest.approx((np.mean(means), low, high), abs=1e-6)
    assert len(set(means)) == 8
