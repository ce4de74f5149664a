"""Scores and lengths, query by query, against scipy's figures for the documents that count."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from lidiag.multivector import MultiVectors
from lidiag.pooling import Hybrid, MaxSim, Mean, Single
from lidiag.probes._lengths import Lengths, has_prefixes, mean, not_relevant, prefixes
from lidiag.similarity import Needs, similarity_pass
from tests.probes.toy import gaussian, toy_bench

LENGTHS = np.array([1, 2, 3, 4, 4, 7, 8, 8, 11, 16, 20, 1, 0])


@pytest.mark.parametrize(
    ("lengths", "longest", "expected"),
    [
        ([128] * 2 + [5] * 8, 128, (32, 64, 128)),  # a fifth reach it
        ([128] * 2 + [5] * 9, 128, ()),
        ([200] + [64] * 3 + [20] * 6, 128, (16, 32, 64)),
        ([16] * 10, 128, (4, 8, 16)),
        ([8] * 10, 128, (2, 4, 8)),
        ([8] * 10, 8, (2, 4, 8)),
        ([7] * 10, 128, ()),
        ([64] * 10, 4, ()),
        ([7] * 10, 7, ()),
    ],
)
def test_the_longest_prefix_is_one_that_a_fifth_of_the_documents_reach(lengths, longest, expected):
    found = prefixes(np.array(lengths), longest)
    assert found == expected
    assert all(isinstance(prefix, int) for prefix in found)


def test_a_score_with_a_vector_of_the_whole_document_has_no_prefixes():
    assert [has_prefixes(scoring) for scoring in (MaxSim(), Mean(), Single(), Hybrid(1, 1))] == [True, True, False, False]


def test_what_is_empty_or_relevant_to_the_query_does_not_count():
    documents = [torch.eye(2), torch.eye(2)[:1], torch.eye(2)[:1], torch.empty(0, 2)]
    bench = toy_bench([torch.eye(2)] * 3, documents, {0: {0: 1}, 1: {1: 2, 2: 0}, 2: {0: 1, 2: 1}})
    assert not_relevant(bench, range(1, 3)).tolist() == [[True, False, True, False], [False, True, False, False]]


def effects(cuts, pooling, mask):
    generator = torch.Generator().manual_seed(1)
    queries = MultiVectors.pack([gaussian(generator, tokens, 4) for tokens in (1, 3, 0, 2)])
    documents = MultiVectors.pack([gaussian(generator, int(length), 4) for length in LENGTHS])
    (block,) = similarity_pass(queries, documents, Needs((pooling,), prefixes=cuts))
    return block, queries.lengths.numpy(), Lengths(LENGTHS, cuts).effects(block, pooling, mask)


def masks():
    mask = np.tile(LENGTHS > 0, (4, 1))
    mask[0, [2, 10]] = mask[1, 6] = mask[3, :5] = False
    return mask


@pytest.mark.parametrize("pooling", [MaxSim(), Mean()], ids=repr)
def test_effects_are_scipys_over_the_documents_that_count(pooling):
    mask = masks()
    block, tokens, found = effects((2, 4, 8), pooling, mask)
    scores, cut = block.scores(pooling).double().numpy(), {p: block.prefixes[p].scores(pooling).double().numpy() for p in (2, 4, 8)}
    for q in (0, 1, 3):
        kept, reached = mask[q], {p: mask[q] & (p <= LENGTHS) for p in (2, 4, 8)}
        assert found["rho"][q] == pytest.approx(scipy_stats.spearmanr(scores[q, kept], LENGTHS[kept]).statistic)
        assert found["sd"][q] == pytest.approx(scores[q, kept].std(ddof=1))
        between = scipy_stats.linregress(np.log2(LENGTHS[reached[2]]), scores[q, reached[2]]).slope
        assert found["slope_between"][q] == pytest.approx(between / tokens[q])
        curves = np.stack([cut[p][q, reached[8]] for p in (2, 4, 8)])
        assert found["slope_within"][q] == pytest.approx(scipy_stats.linregress([1, 2, 3], curves.mean(1)).slope / tokens[q])
        topic = scipy_stats.spearmanr(cut[4][q, reached[4]], LENGTHS[reached[4]]).statistic
        assert found["rho_topic"][q] == pytest.approx(topic)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_counts_must_be_finite_and_one_that_does_not_need_not(bad):
    scores = torch.arange(8.0).reshape(2, 4)
    scores[1, 2] = bad
    block = SimpleNamespace(offsets=torch.tensor([0, 1, 2]), scores=lambda _: scores)
    mask = np.ones((2, 4), dtype=bool)
    with pytest.raises(ValueError, match="not finite"):
        Lengths(np.array([1, 2, 4, 8]), ()).effects(block, MaxSim(), mask)
    mask[1, 2] = False
    assert Lengths(np.array([1, 2, 4, 8]), ()).effects(block, MaxSim(), mask)["rho"] == pytest.approx(1)
    mask[1] = False
    assert np.isnan(Lengths(np.array([1, 2, 4, 8]), ()).effects(block, MaxSim(), mask)["rho"]).tolist() == [False, True]


def test_a_query_without_tokens_has_no_effect():
    _, _, found = effects((2, 4, 8), MaxSim(), masks())
    assert np.isnan([found[name][2] for name in ("rho", "sd", "rho_topic")]).all()
    assert (found["slope_between"][2], found["slope_within"][2]) == (0, 0)


def test_without_prefixes_all_documents_that_are_not_empty_count():
    mask = masks()
    block, tokens, found = effects((), MaxSim(), mask)
    assert found.keys() == {"rho", "sd", "slope_between"}
    scores = block.scores(MaxSim()).double().numpy()
    slope = scipy_stats.linregress(np.log2(LENGTHS[mask[1]]), scores[1, mask[1]]).slope
    assert found["slope_between"][1] == pytest.approx(slope / tokens[1])


def test_two_documents_have_a_spread_and_equal_scores_none():
    mask = np.zeros((4, len(LENGTHS)), dtype=bool)
    mask[:, [3, 9]] = True
    mask[1] = False
    block, _, found = effects((), MaxSim(), mask)
    scores = block.scores(MaxSim()).double().numpy()
    assert found["sd"][0] == pytest.approx(abs(scores[0, 3] - scores[0, 9]) / 2**0.5)
    assert np.isnan(found["sd"][[1, 2]]).all()


def test_a_mean_is_over_what_is_in_the_mask():
    values = np.array([[1.0, 2.0, 6.0], [np.inf, 3.0, -np.inf], [1.0, 1.0, 1.0]])
    mask = np.array([[True, False, True], [False, True, False], [False, False, False]])
    np.testing.assert_array_equal(mean(values, mask), [3.5, 3, np.nan])
