from __future__ import annotations

import math

import ir_measures
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidiag.probes._quality import Judgements, Order
from tests.probes.toy import gaussian, toy_bench


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-math.inf, -2.5, -1e-30, -0.0, 0.0, 0.25, 0.5, 0.5 + 2**-24, 3.0]), min_size=1, max_size=30),
    seed=st.integers(0, 9),
)
def test_the_order_is_by_score_and_then_by_falling_id(scores, seed):
    ids = [str(i) for i in torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed)).tolist()]
    expected = sorted(sorted(range(len(ids)), key=ids.__getitem__, reverse=True), key=lambda i: -scores[i])[:10]
    assert Order(ids).first(torch.tensor(scores)).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(documents=st.integers(1, 200), levels=st.integers(1, 200), seed=st.integers(0, 99))
def test_many_rankings_at_once_are_those_of_a_stable_sort(documents, levels, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-levels, levels, (2, 3, documents), generator=generator) / 8
    by_id = sorted(range(documents), key=str, reverse=True)
    order = scores[..., by_id].sort(dim=-1, descending=True, stable=True).indices
    assert torch.equal(Order([str(i) for i in range(documents)]).first(scores), torch.tensor(by_id)[order][..., :10])


def test_a_layout_that_is_not_contiguous_is_ranked_alike():
    scores = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
    order = Order([str(i) for i in range(30)])
    assert torch.equal(order.first(scores.T), order.first(scores.T.contiguous()))


def test_recall_and_ndcg_of_many_rankings_are_ir_measures_figures():
    generator = torch.Generator().manual_seed(3)
    documents = [gaussian(generator, 2, 4) for _ in range(40)]
    bench = toy_bench([gaussian(generator, 2, 4)], documents, {0: {3: 2, 8: 1, 9: 4, 11: 0, 12: -1, 30: 1}})
    scores = torch.randint(0, 12, (25, 40), generator=generator).float()
    judgements, first = Judgements.of(bench, 0), Order([d.id for d in bench.dataset.documents]).first(scores)
    qrels = {"q": {f"d{d}": max(0, grade) for d, grade in bench.grades[0].items()}}
    for row, recall, ndcg in zip(scores.tolist(), judgements.recall(first), judgements.ndcg(first), strict=True):
        ranking = {"q": {f"d{i}": score for i, score in enumerate(row)}}
        peer = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.R @ 10], qrels, ranking)
        assert ndcg == pytest.approx(peer[ir_measures.nDCG @ 10], abs=1e-6)
        assert recall == pytest.approx(peer[ir_measures.R @ 10], abs=1e-6)


def test_floats_that_are_next_to_each_other_are_told_apart():
    up = 0.5 + 2**-24
    assert Order([str(i) for i in range(6)]).first(torch.tensor([up, 0.5, -0.5, -up, 0.5, up])).tolist() == [5, 0, 4, 1, 2, 3]


def test_rankings_in_any_layout_have_the_same_figures():
    bench = toy_bench([torch.eye(1)], [torch.eye(1)] * 20, {0: {1: 2, 4: 1, 7: 3}})
    judgements, first = Judgements.of(bench, 0), torch.rand(3, 4, 20, generator=torch.Generator().manual_seed(0)).argsort(-1)[..., :10]
    for figure in (judgements.recall, judgements.ndcg):
        assert figure(first).tolist() == [[figure(ranking).item() for ranking in row] for row in first]


def test_recall_is_over_ten_where_more_documents_are_relevant_than_ten_places_hold():
    bench = toy_bench([torch.eye(1)], [torch.eye(1)] * 20, {0: dict.fromkeys(range(12), 1)})
    assert Judgements.of(bench, 0).recall(torch.arange(10)) == 1
    assert Judgements.of(bench, 0).recall(torch.arange(5, 15)) == pytest.approx(0.7)
