from __future__ import annotations

import itertools
import math
import statistics

import ir_measures
import numpy as np
import pytest
import torch
from ir_measures import AP, RR, R, nDCG

from lidiag import catalog
from lidiag.errors import LidiagError
from lidiag.similarity import Tiling
from tests.probes.toy import gaussian, measure, toy_bench

MAXSIM = {"pooling": "maxsim"}
QUERY = torch.tensor([[1.0, 0.0]])


def scored(*scores):
    """Documents of one vector each that get these scores from QUERY."""
    return [torch.tensor([[score, 0.0]]) for score in scores]


def value(found, name, at=None):
    return found.get(name, at or MAXSIM).value


def said(found, name):
    return next(finding for finding in found.findings if finding.name == name)


def test_metrics_by_hand_with_linear_gains():
    bench = toy_bench([QUERY], scored(0.9, 0.8, 0.7, 0.6), {0: {1: 4, 3: 1}})
    found = measure("retrieval", bench, poolings=["maxsim"])
    dcg = 4 / math.log2(3) + 1 / math.log2(5)
    assert value(found, "nDCG@10") == pytest.approx(dcg / (4 + 1 / math.log2(3)))
    assert value(found, "R@1") == 0
    assert value(found, "R@10") == value(found, "R@100") == 1
    assert value(found, "RR@10") == 1 / 2
    assert value(found, "AP") == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert value(found, "judged@10") == 2 / 4


def test_equals_ir_measures_on_the_plain_scores_of_a_random_collection():
    generator, numbers = torch.Generator().manual_seed(1), np.random.default_rng(1)
    queries = [gaussian(generator, 1 + i % 5, 8) for i in range(20)]
    documents = [gaussian(generator, 1 + i % 9, 8) for i in range(150)]
    relevance = {q: {int(d): int(numbers.integers(0, 4)) for d in numbers.choice(150, 12, replace=False)} | {q: 2} for q in range(20)}
    bench = toy_bench(queries, documents, relevance)
    found = measure("retrieval", bench)
    exact = {f"q{q}": {f"d{d}": float((queries[q] @ documents[d].T).amax(1).sum()) for d in range(150)} for q in range(20)}
    wanted = ir_measures.calc_aggregate([nDCG @ 10, R @ 1, R @ 10, R @ 100, RR @ 10, AP], bench.dataset.relevance, exact)
    assert {str(name): value(found, str(name)) for name in wanted} == pytest.approx({str(name): v for name, v in wanted.items()})
    assert said(found, "ties").data == {"queries": {"maxsim": {}, "topk(4)": {}, "softmax(0.1)": {}, "softmax(1)": {}}}


def test_blocks_of_queries_change_no_value():

    generator = torch.Generator().manual_seed(2)
    parts = [gaussian(generator, 3, 8) for _ in range(7)], [gaussian(generator, 5, 8) for _ in range(30)]
    relevance = {q: {q: 1, q + 7: 2} for q in range(7)}
    whole = measure("retrieval", toy_bench(*parts, relevance))
    blocks = measure("retrieval", toy_bench(*parts, relevance, tiling=Tiling(query_tokens=6)))
    assert whole.measurements == blocks.measurements


def test_equal_scores_are_ranked_by_falling_id_and_said():
    bench = toy_bench([QUERY, QUERY], scored(0.5, 0.5, 0.1), {0: {0: 1}, 1: {1: 1}})
    found = measure("retrieval", bench, poolings=["maxsim"])
    by_query = {item.name: item.values for item in found.per_query}
    assert by_query["R@1"].tolist() == [0, 1]
    assert said(found, "ties").data == {"queries": {"maxsim": {"1": 2, "10": 2, "100": 2}}}
    assert "falling document id" in said(found, "ties").text


def test_scores_one_rounding_apart_are_no_tie():
    high = torch.nextafter(torch.tensor(0.5), torch.tensor(1.0)).item()
    found = measure("retrieval", toy_bench([QUERY], scored(high, 0.5), {0: {0: 1}}), poolings=["maxsim"])
    assert value(found, "R@1") == 1
    assert said(found, "ties").data == {"queries": {"maxsim": {}}}


def test_an_empty_document_is_ranked_behind_negative_scores_and_counted():
    documents = [torch.zeros(0, 2), *scored(-0.9, -1.0)]
    found = measure("retrieval", toy_bench([QUERY], documents, {0: {0: 1}}))
    for pooling in ("maxsim", "topk(4)", "softmax(0.1)", "softmax(1)"):
        assert value(found, "RR@10", {"pooling": pooling}) == pytest.approx(1 / 3)
    assert said(found, "empty documents").data == {"count": 1}


def test_a_grade_below_zero_is_judged_and_not_relevant():
    found = measure("retrieval", toy_bench([QUERY], scored(0.9, 0.8), {0: {0: -1, 1: 1}}), poolings=["maxsim"])
    assert value(found, "RR@10") == 1 / 2
    assert value(found, "nDCG@10") == pytest.approx(1 / math.log2(3))
    assert value(found, "judged@10") == 1


def test_relevant_documents_beyond_the_depth_gain_nothing():
    documents = scored(*(1 - i / 1000 for i in range(150)))
    deep = measure("retrieval", toy_bench([QUERY], documents, {0: {119: 1}}), poolings=["maxsim"])
    cut = measure("retrieval", toy_bench([QUERY], documents, {0: {119: 1}}), poolings=["maxsim"], depth=100)
    assert value(deep, "AP") == pytest.approx(1 / 120)
    assert value(cut, "AP") == 0


def test_both_spellings_of_a_pooling_are_one_coordinate():
    found = measure("retrieval", toy_bench([QUERY], scored(0.9), {0: {0: 1}}), poolings=["softmax(1.0)", "softmax(1)"])
    assert {tuple(m.at.items()) for m in found.measurements if m.at} == {(("pooling", "softmax(1)"),)}


@pytest.mark.parametrize(("parameters", "said"), [({"poolings": ["maxsin"]}, "maxsin"), ({"depth": 10}, "depth 10")])
def test_parameters_that_make_no_sense_are_refused(parameters, said):
    with pytest.raises(LidiagError, match=said):
        catalog.probe("retrieval", parameters)


def test_every_measurement_has_its_formula():
    found = measure("retrieval", toy_bench([QUERY], scored(0.9), {0: {0: 1}}))
    assert {m.name for m in found.measurements} == set(catalog.probe_class("retrieval").formulas)


def test_chance_is_the_mean_over_all_orders_of_the_documents():
    documents = [torch.eye(4)[i : i + 1] for i in range(4)]
    bench = toy_bench([torch.eye(4)[:1], torch.eye(4)[1:2]], documents, {0: {0: 3, 1: 1}, 1: {2: 1, 3: 0}})
    found = measure(catalog.probe("retrieval", {"poolings": ["maxsim"]}), bench)

    def ndcg(gains):
        discounts = [1 / math.log2(rank + 2) for rank in range(4)]
        return sum(g * d for g, d in zip(gains, discounts, strict=True)) / sum(
            g * d for g, d in zip(sorted(gains, reverse=True), discounts, strict=True)
        )

    truth = [statistics.mean(ndcg(order) for order in itertools.permutations(gains)) for gains in ((3, 1, 0, 0), (0, 0, 1, 0))]
    per_query = next(item for item in found.per_query if item.name == "chance_nDCG@10")
    np.testing.assert_allclose(per_query.values, truth, rtol=1e-12)


def told_apart(*ranks):
    """What is said of rankings of twenty documents with query i's relevant one at ranks[i]."""
    documents = scored(*(1 - i / 20 for i in range(20)))
    found = measure(
        "retrieval", toy_bench([QUERY] * len(ranks), documents, {q: {r - 1: 1} for q, r in enumerate(ranks)}), poolings=["maxsim"]
    )
    return said(found, "quality")


def test_a_ranking_is_held_against_a_random_order():
    # By chance: the mean of 1 / log2(r + 1) over twenty ranks, 0 beyond the tenth: 0.227.
    assert told_apart(1, 2, 1, 2, 1).data["verdict"] == "shown"
    assert told_apart(*[15] * 20).data["verdict"] == "none"
    assert told_apart(1, 15, 20, 1, 15).data["verdict"] == "cannot tell"


def test_the_smallest_difference_that_would_show_is_that_of_the_paired_rankings():
    documents = [torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[0.5, 0.0]])]
    bench = toy_bench([QUERY] * 4, documents, {0: {0: 1}, 1: {0: 1}, 2: {1: 1}, 3: {0: 1, 1: 1}})
    found = measure("retrieval", bench, poolings=["maxsim", "mean"])
    # MaxSim puts document 0 first and Mean document 1: they differ by 1 - 1 / log2(3), twice up, once down, once not at all.
    step = 1 - 1 / math.log2(3)
    sd = np.std([step, step, -step, 0], ddof=1)
    assert said(found, "quality").data["detectable"] == pytest.approx({"mean": 2.8016 * sd / 2}, rel=1e-3)
    assert "0." in said(found, "quality").text.split("nDCG@10 from another ranking")[1]
