"""Rankings of whole collections: by hand, and in the order that trec_eval gives equal scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim, Mean
from lidiag.probes._order import WholeOrder
from lidiag.probes._rankings import Rankings, collection
from lidiag.similarity import Tiling
from tests.probes.toy import gaussian, toy_bench, unit

AXES = torch.eye(4)


def test_ndcg_of_every_scoring_is_worked_by_hand():
    # Query 0 looks along axis 0, query 1 along axis 1. By the maximum document 2 comes before document 0 (0.8 < 1), by the mean after it.
    documents = [unit([0.8, 0.6, 0, 0]), AXES[3:], torch.cat((AXES[:1], AXES[2:], AXES[2:]))]
    bench = toy_bench([AXES[:1], AXES[1:2]], documents, {0: {0: 1}, 1: {0: 2, 1: 1}}, tiling=Tiling(query_tokens=1))
    found = Rankings(bench, [0, 1, 2]).ndcg([0, 1], bench.queries, bench.documents, (MaxSim(), Mean()))
    second, third = 1 / math.log2(3), 1 / math.log2(4)
    # Query 1 gives documents 1 and 2 nothing: of equal scores the higher id comes first.
    reached = (2 + third) / (2 + second)
    np.testing.assert_allclose(found[MaxSim()], [second, reached])
    np.testing.assert_allclose(found[Mean()], [1, reached])


def test_rankings_of_a_part_of_a_collection_count_its_own_documents():
    documents = [AXES[:1], AXES[1:2], AXES[2:3], AXES[:1]]
    bench = toy_bench([AXES[:1], AXES[1:2]], documents, {0: {1: 1, 3: 1}, 1: {1: 1}})
    part = bench.documents.select([1, 3])
    found = Rankings(bench, [1, 3]).ndcg([1], bench.queries.select([1]), part, (MaxSim(),))
    assert found[MaxSim()].tolist() == [1]
    assert Rankings(bench, [1, 3]).of_scores(0, torch.tensor([[0.5, 0.2], [0.1, 0.9]])).tolist() == [1, 1]


def test_what_is_ranked_holds_all_that_is_judged_and_others_up_to_the_most():
    generator = torch.Generator().manual_seed(0)
    bench = toy_bench([gaussian(generator, 1, 4)] * 2, [gaussian(generator, 1, 4)] * 30, {0: {3: 1, 7: 0}, 1: {20: 1}})
    assert collection(bench, [0, 1], 30) == list(range(30))
    ten = collection(bench, [0, 1], 10)
    assert ten == sorted(set(ten))
    assert len(ten) == 10
    assert {3, 7, 20} < set(ten)
    assert collection(bench, [0], 2) == [3, 7]
    assert collection(bench, [0, 1], 1) == [3, 7, 20]
    assert len(collection(bench, [0, 1], 29)) == 29


def test_a_whole_order_is_by_score_and_then_by_falling_id():
    values, order = WholeOrder(["b", "a", "d", "c"]).rank(torch.tensor([[0.5, 0.9, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4]]))
    assert order.tolist() == [[1, 2, 3, 0], [3, 2, 1, 0]]
    assert values[0].tolist() == pytest.approx([0.9, 0.5, 0.5, 0.5])
    # more than a sort of few would keep in order by chance
    assert WholeOrder([f"{i:03}" for i in range(200)]).rank(torch.zeros(1, 200))[1][0].tolist() == list(range(200))[::-1]


def test_documents_that_are_not_packed_in_the_bench_are_not_looked_up():
    bench = toy_bench([AXES[:1]], [AXES[1:2], AXES[:1]], {0: {0: 1}})
    swapped = MultiVectors.pack([AXES[:1], AXES[1:2]])
    assert Rankings(bench, [0, 1]).ndcg([0], bench.queries, swapped, (MaxSim(),))[MaxSim()].tolist() == [1]
