from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidiag.pooling import MaxSim, Mean, Single, Softmax, TopK
from lidiag.probes._growth_kernels import Lanes, aligned, totals
from lidiag.similarity import Needs, similarity_pass
from tests.probes.toy import gaussian, toy_bench

POOLINGS = [MaxSim(), TopK(1), TopK(3), TopK(4), Softmax(0.1), Softmax(1), Softmax(1e-3), Mean()]
GROWTH = (1, 2, 4, 8)
DIM = 8


def bench_of(documents, queries=1, seed=11):
    generator = torch.Generator().manual_seed(seed)
    asked = [gaussian(generator, 1 + i % 4, DIM) for i in range(queries)]
    return toy_bench(asked, [gaussian(generator, 1 + i * 5 % 13, DIM) for i in range(documents)], {q: {0: 1} for q in range(queries)})


def state_of(bench, pooling):
    (block,) = similarity_pass(bench.queries, bench.documents, Needs((pooling,), tokens=True))
    return block.state(pooling)


def grown(pooling, state, filler, chosen, growth=GROWTH):
    own, others = aligned(pooling, [Lanes.of(pooling, part, np.arange(len(part.n))) for part in (state, filler)])
    return totals(pooling, own, others, chosen, growth)


def merged(pooling, state, filler, chosen, growth=GROWTH):
    """The same by the pooling's own merge."""
    taken = 0
    for times in growth:
        for column in range(taken, times - 1):
            state = pooling.merge(state, filler.select(torch.from_numpy(chosen[:, column])))
        taken = max(taken, times - 1)
        yield pooling.score(state).double().sum(0).numpy()


def drawn(documents, fillers, most=7, seed=0):
    return np.random.default_rng(seed).integers(0, fillers, (documents, most))


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_merged_scores_are_those_of_the_longer_documents_scored_anew(pooling):
    bench, chosen = bench_of(24, queries=6), drawn(24, 24)
    scores = grown(pooling, state_of(bench, pooling), state_of(bench, pooling), chosen)
    for g, times in enumerate(GROWTH):
        longer = [torch.cat([bench.documents[d], *(bench.documents[int(i)] for i in chosen[d, : times - 1])]) for d in range(24)]
        anew = [pooling.score(pooling.pool((bench.queries.vectors @ vectors.T).double())).sum() for vectors in longer]
        assert scores[g] == pytest.approx(np.array(anew), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    pooling=st.one_of(
        st.sampled_from([MaxSim(), Mean()]), st.integers(1, 9).map(TopK), st.sampled_from([1e-3, 0.01, 0.1, 1.0, 30.0]).map(Softmax)
    ),
    documents=st.integers(1, 600),
    fillers=st.integers(1, 40),
    growth=st.sets(st.integers(2, 12), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_compiled_merges_agree_with_the_poolings_own(pooling, documents, fillers, growth, seed):
    state, filler = (state_of(bench_of(n, queries=3, seed=seed), pooling) for n in (documents, fillers))
    growth = (1, *sorted(growth))
    chosen = drawn(documents, fillers, growth[-1] - 1, seed)
    assert grown(pooling, state, filler, chosen, growth) == pytest.approx(
        np.stack(list(merged(pooling, state, filler, chosen, growth))), abs=1e-4
    )


@pytest.mark.parametrize(("temperature", "expected"), [(0.1, True), (1e-3, False)])
def test_masses_are_brought_to_one_maximum_where_they_stay_normal_numbers(temperature, expected):
    pooling = Softmax(temperature)
    sides = [Lanes.of(pooling, state_of(bench_of(n), pooling), np.arange(n)) for n in (30, 9)]
    masses = [side.parts.copy() for side in sides]
    found = aligned(pooling, sides)
    assert [side.aligned for side in found] == [expected] * 2
    top = np.maximum(*(parts[0].max(1) for parts in masses))[:, None]
    for side, parts in zip(found, masses, strict=True):
        factor = np.exp((parts[0] - top) / temperature) if expected else 1
        assert side.parts[1:] == pytest.approx(parts[1:] * factor, rel=1e-5)


def test_only_the_documents_asked_for_are_laid_out():
    bench = bench_of(20, queries=4)
    (block,) = similarity_pass(bench.queries, bench.documents, Needs((TopK(4),), tokens=True))
    state = block.state_of(TopK(4), 2)
    chosen = np.array([3, 4, 11, 19])
    lanes = Lanes.of(TopK(4), state, chosen)
    assert np.array_equal(lanes.parts, state.values[:, chosen].movedim(-1, 0).numpy())
    assert lanes.n.tolist() == bench.lengths[chosen].tolist()


def test_a_scoring_without_states_has_no_lanes():
    with pytest.raises(TypeError, match="single has no compiled merge"):
        Lanes.of(Single(), None, np.arange(1))


def test_documents_that_owe_their_whole_score_to_one_filler_are_tied():
    bench, pooling = bench_of(24, queries=6), MaxSim()
    best = torch.nn.functional.normalize(bench.queries.vectors.sum(0, keepdim=True)).repeat(3, 1) * 9
    state = state_of(bench, pooling)
    (block,) = similarity_pass(bench.queries, type(bench.documents).pack([best]), Needs((pooling,), tokens=True))
    winners = block.state(pooling).maximum[:, 0] >= 1  # tokens for which no other vector can be nearer
    assert winners.any()
    own, filler = (type(part)(part.n, part.maximum[winners]) for part in (state, block.state(pooling)))
    scores = grown(pooling, own, filler, np.zeros((24, 1), dtype=np.int64), (1, 2))
    assert len(set(scores[0])) > 1
    assert len(set(scores[1])) == 1
