"""Use of document vectors: by hand, a planted hub, and pruning judged on other queries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from lidiag import catalog
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.probes import _uses as uses
from tests.probes.toy import gaussian, measure, toy_bench

QUERIES, DIM = 40, 16


def topical(hub=0.0, seed=0):
    """Queries near their own document's first vectors; `hub` draws every query and one vector of each document together."""
    generator = torch.Generator().manual_seed(seed)
    topics = gaussian(generator, QUERIES, DIM)
    pole = gaussian(generator, 1, DIM)

    def near(topic, tokens):
        return torch.nn.functional.normalize(topics[topic] + 0.3 * torch.randn(tokens, DIM, generator=generator), dim=1)

    queries = [torch.nn.functional.normalize(near(q, 4) + hub * pole, dim=1) for q in range(QUERIES)]
    documents = [torch.cat((near(q, 3), gaussian(generator, 60, DIM))) for q in range(QUERIES)]
    if hub:
        documents[0][-3:] = pole
    return toy_bench(queries, documents, {q: {q: 1} for q in range(QUERIES)})


def test_a_vector_is_used_where_it_wins():
    # One document of three vectors; of 40 queries of one token each, 30 match the first, 10 the second, none the third.
    axes = torch.eye(3)
    bench = toy_bench([axes[:1]] * 30 + [axes[1:2]] * 10, [axes], {q: {0: 1} for q in range(40)})
    found = measure("token-use", bench, keep=(0.5,), curve=(1,))
    assert found.get("used_share", {}).value == pytest.approx(2 / 3)
    assert found.get("used_share_by_tokens", {"tokens": 1}).value == pytest.approx(1 / 3), "one token has one winner"
    assert found.get("wins_gini", {}).value == pytest.approx(np.abs(np.subtract.outer([30, 10, 0], [30, 10, 0])).sum() / (2 * 9 * 40 / 3))


def test_a_share_that_gives_a_whole_number_keeps_that_many_for_all_its_rounding():
    # 0.1 * 30 is a little above 3 in floating point.
    documents = MultiVectors.pack([torch.eye(30), torch.eye(30)[:20], torch.eye(30)[:1]])
    assert uses.most_used(documents, np.arange(51), 0.1).lengths.tolist() == [3, 2, 1]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(1, 12), st.integers(0, 2**31))
def test_rarefaction_is_the_mean_over_draws(wins, sample, seed):
    rng = np.random.default_rng(seed)
    # A column of 12 query tokens for each vector: it wins for the first so many of a random order.
    table = np.stack([rng.permutation(12) < count for count in wins])
    draws = np.array([table[:, rng.permutation(12)[:sample]].any(1).mean() for _ in range(400)])
    exact = uses.rarefied(np.array(wins), 12, sample)
    assert abs(draws.mean() - exact) <= 5 * (exact * (1 - exact)) ** 0.5 / 20 + 1e-9


def test_a_hub_is_found_and_topics_alone_are_cleared():
    planted = measure("token-use", topical(hub=3.0), keep=(0.5,))
    healthy = measure("token-use", topical(), keep=(0.5,))
    assert {f.data["verdict"] for f in planted.findings if f.name == "hubs"} <= {"shown", "strong"}
    assert {f.data["verdict"] for f in healthy.findings if f.name == "hubs"} <= {"none", "cannot tell"}
    assert planted.get("hub_skewness", {}).value > 2 * healthy.get("hub_skewness", {}).value


def test_pruning_by_use_beats_chance_where_few_vectors_matter():
    # Five queries on each of a dozen documents: what one half uses serves the other.
    generator = torch.Generator().manual_seed(1)
    topics = gaussian(generator, 12, DIM)
    queries = [torch.nn.functional.normalize(topics[q % 12] + 0.3 * torch.randn(4, DIM, generator=generator), dim=1) for q in range(60)]
    documents = [torch.cat((topics[d : d + 1].repeat(2, 1), 0.5 * gaussian(generator, 60, DIM))) for d in range(12)]
    found = measure("token-use", toy_bench(queries, documents, {q: {q % 12: 1} for q in range(60)}), keep=(0.25, 0.1))
    for keep in (0.25, 0.1):
        assert found.get("pruning_gain", {"keep": keep}).low > 0
        by_use, at_random = (found.get(f"pruned_ndcg_retained{how}", {"keep": keep}).value for how in ("", "_random"))
        assert by_use > at_random


def test_vectors_are_chosen_by_queries_that_do_not_judge():
    """Every query has a document whose one good vector no other query uses: what other queries choose is of no use."""
    n = 40
    axes = torch.eye(n + 2)
    common, wrong = axes[n : n + 1], axes[n + 1 : n + 2]
    documents = [torch.cat((wrong, common, axes[q : q + 1])) for q in range(n)]
    queries = [torch.nn.functional.normalize(axes[q : q + 1] + 0.9 * common, dim=1) for q in range(n)]
    found = measure("token-use", toy_bench(queries, documents, {q: {q: 1} for q in range(n)}), keep=(1 / 3,))
    # Chosen and judged on the same queries the own vector would win; on others the common one does, and all documents tie.
    assert found.get("pruned_ndcg_retained", {"keep": 1 / 3}).value < 0.2


def test_every_document_keeps_a_vector_and_the_first_of_equals():
    documents = MultiVectors.pack([torch.arange(3.0).reshape(3, 1), torch.full((1, 1), 9.0), torch.zeros(0, 1)])
    kept = uses.most_used(documents, np.array([5, 7, 7, 0]), 0.4)
    assert kept.lengths.tolist() == [2, 1, 0]
    assert kept.vectors.flatten().tolist() == [1.0, 2.0, 9.0]
    assert uses.drawn(documents, 0.01, np.random.default_rng(0)).lengths.tolist() == [1, 1, 0]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(1, 20))
def test_rarefaction_is_the_hypergeometric_laws(wins, sample):
    misses = hypergeom.pmf(0, 12, wins, min(sample, 12))
    assert uses.rarefied(np.array(wins), 12, sample) == pytest.approx((1 - misses).mean(), abs=1e-12)


@pytest.mark.parametrize(("tokens", "most"), [(512, 2**15), (7, 64), (30, 500), (1, 4)])
def test_nearest_counts_equal_a_plain_sort(monkeypatch, tokens, most):
    monkeypatch.setattr(uses, "_QUERY_TOKENS", tokens)
    monkeypatch.setattr(uses, "_VECTORS", most)
    generator = torch.Generator().manual_seed(0)
    queries, vectors = gaussian(generator, 30, 8), gaussian(generator, 500, 8)
    vectors[0], vectors[-1] = queries[4], queries[5]  # the first and the last are the nearest of one token each
    owner = np.arange(30) % 3
    counts = uses.nearest_counts(queries, vectors, owner, 3)
    order = (queries @ vectors.T).argsort(1, descending=True)[:, :10]
    for group in range(3):
        by_hand = np.bincount(order[torch.from_numpy(owner == group)].flatten().numpy(), minlength=500)
        assert counts[group].tolist() == by_hand.tolist()


def test_of_fewer_vectors_than_ten_all_are_near():
    assert uses.nearest_counts(torch.eye(4)[:3], torch.eye(4), np.array([0, 0, 2]), 3).tolist() == [[2] * 4, [0] * 4, [1] * 4]


def test_too_few_queries_are_a_reason_to_skip():
    with pytest.raises(Skip, match="do not divide"):
        measure("token-use", toy_bench([torch.eye(2)[:1]] * 5, [torch.eye(2)], {q: {0: 1} for q in range(5)}))


@pytest.mark.parametrize("wrong", [{"keep": ()}, {"keep": (1.0,)}, {"tokens": 0}])
def test_what_counts_nothing_is_refused(wrong):
    with pytest.raises(LidiagError):
        catalog.probe("token-use", wrong)
