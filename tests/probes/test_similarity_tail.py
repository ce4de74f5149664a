from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from lidiag import catalog, stats
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.probes._tail import Pool, pools, seen
from lidiag.probes._within import best_weight, centred, drawn_again, folds, held_out_auc, left_out, with_choice
from lidiag.probes.similarity_tail import _add_ranks, _add_weight, _say_verdict
from tests.probes.toy import gaussian, measure, toy_bench, unit

AXIS = unit([1, 0, 0])


def document(*similarities: float) -> torch.Tensor:
    """Vectors with those similarities to AXIS."""
    s = torch.tensor(similarities)
    return torch.stack((s, (1 - s**2).sqrt(), torch.zeros(len(s))), 1)


def planted(first, tail, *, queries=30, documents=40, vectors=12):
    """A bench of one-token queries, each relevant to its own document and two more.

    `first(relevant, noise)` gives a document's best similarity and `tail(relevant, noise, first)` the others' level, with
    noise from a standard normal; each query has its own axis, so that its documents are seen by it alone.
    """
    rng = np.random.default_rng(0)
    axes = torch.eye(queries + 1)
    items, relevance = [], {}
    for q in range(queries):
        relevance[q] = {}
        for d in range(documents):
            relevant = d < 3
            best = first(relevant, rng.standard_normal())
            level = tail(relevant, rng.standard_normal(), best)
            s = torch.tensor([best, *(level - 0.001 * j for j in range(vectors - 1))], dtype=torch.float32)
            items.append(s.unsqueeze(1) * axes[q] + (1 - s**2).sqrt().unsqueeze(1) * axes[-1])
            if relevant:
                relevance[q][len(items) - 1] = 1
    return toy_bench([axes[q : q + 1] for q in range(queries)], items, relevance)


def measured(bench, pool=40, **more):
    return measure("similarity-tail", bench, pool=pool, **more)


def test_a_tail_that_carries_all_the_signal_is_found():
    # The best similarity is noise; relevant documents match on at the other ranks.
    found = measured(planted(lambda _, noise: 0.9 + 0.01 * noise, lambda relevant, noise, _: 0.5 + 0.2 * relevant + 0.01 * noise))
    gain = found.get("tail_gain", {})
    assert gain.value == pytest.approx(0.5, abs=0.1)
    assert found.get("rank_auc", {"rank": "2-4"}).value == 1
    assert found.get("tail_weight", {}).low > 0
    assert found.get("tail_weight_gain", {}).low > 0
    assert next(f.data["verdict"] for f in found.findings if f.name == "tail") == "strong"
    control = found.get("tail_gain_permuted", {})
    assert control.low <= 0 <= control.high


def test_a_tail_that_carries_none_adds_nothing():
    found = measured(planted(lambda relevant, noise: 0.8 + 0.1 * relevant + 0.005 * noise, lambda _, noise, __: 0.4 + 0.05 * noise))
    assert found.get("rank_auc", {"rank": "1"}).value == 1
    assert found.get("tail_gain", {}).value == pytest.approx(0, abs=1e-3)
    best = found.get("topk_ndcg", {"k": 1})
    assert (best.value, best.high) == (1, 1)
    assert best.low > 0.8  # a share, so that 30 of 30 have an interval, too
    # rank 1 alone is as good as any weight of the tail, so the weight is 0
    assert (found.get("tail_weight", {}).value, found.get("tail_weight_gain", {}).value) == (0, 0)


def test_a_tail_that_carries_none_beside_a_noisy_first_rank_is_within_chance():
    found = measured(
        planted(lambda relevant, noise: 0.8 + 0.02 * relevant + 0.02 * noise, lambda _, noise, __: 0.4 + 0.05 * noise, queries=80)
    )
    gain = found.get("tail_gain", {})
    assert gain.low < 0.01
    assert abs(gain.value) < 0.02
    assert next(f.data["verdict"] for f in found.findings if f.name == "tail") in {"none", "cannot tell"}


def test_density_is_corrected_by_a_negative_weight():
    # Dense documents have a high best match by nature: best = signal + level. Taking the level off brings the signal out.
    levels = {}

    def tail(_, noise, best):
        return 0.4 + (best - levels["signal"] - 0.6)

    def first(relevant, noise):
        levels["signal"] = 0.08 * relevant
        return 0.6 + levels["signal"] + 0.05 * noise

    found = measured(planted(first, tail))
    # At -1 only the signal is left; a little less may already rank as well.
    assert -1.3 < found.get("tail_weight", {}).value < -0.5
    assert found.get("tail_weight", {}).high < 0
    assert found.get("tail_weight_gain", {}).low > 0


def test_ranks_margins_and_topk_by_hand():
    # Two documents of the pool: four vectors, and one.
    bench = toy_bench([AXIS], [document(0.9, 0.6, 0.5, 0.4), document(0.7)], {0: {0: 1}})
    (pool,) = pools(bench, 10)
    (view,) = seen(bench, [pool], 4, (2, 3))
    rows = [pool.documents.tolist().index(d) for d in (0, 1)]
    similarity = view.similarity[rows]
    assert similarity[0, :2] == pytest.approx([0.9, 0.5], abs=1e-6)
    assert np.isnan(similarity[0, 2:]).all()
    assert similarity[1, 0] == pytest.approx(0.7, abs=1e-6)
    assert np.isnan(similarity[1, 1:]).all()
    spread = np.std([0.9, 0.6, 0.5, 0.4, 0.7])
    assert view.margin[rows[0]] == pytest.approx(0.3 / spread, rel=1e-4)
    assert np.isnan(view.margin[rows[1]])
    assert view.topk[rows[0]] == pytest.approx([0.9, 0.75, 2 / 3, 0.6], abs=1e-6)
    assert view.topk[rows[1]] == pytest.approx([0.7] * 4, abs=1e-6)
    assert view.tail[rows] == pytest.approx([0.55, 0.7], abs=1e-6)


def test_similarities_are_given_apart_for_relevant_documents_and_others():
    bench = toy_bench([AXIS], [document(0.9, 0.6), document(0.7, 0.5), document(0.5)], {0: {0: 1}})
    found, drawn = bench.findings(), pools(bench, 10)
    _add_ranks(found, drawn, list(seen(bench, drawn, 4, (2, 3))))
    by_rank = {(m.at["rank"], m.at["documents"]): m.value for m in found.measurements if m.name == "similarity"}
    assert by_rank == pytest.approx(
        {("1", "relevant"): 0.9, ("1", "non-relevant"): 0.6, ("2-4", "relevant"): 0.6, ("2-4", "non-relevant"): 0.5}, abs=1e-6
    )
    assert found.get("rank_auc", {"rank": "1"}).value == 1


def test_what_is_seen_is_what_sorting_all_similarities_gives():
    generator = torch.Generator().manual_seed(7)
    queries, documents = [gaussian(generator, n, 8) for n in (3, 5)], [gaussian(generator, n, 8) for n in range(1, 60, 4)]
    bench = toy_bench(queries, documents, {0: {0: 1}, 1: {1: 1}})
    drawn = pools(bench, 12)
    for query, pool, view in zip(queries, drawn, seen(bench, drawn, 16, (2, 40)), strict=True):
        for row, d in enumerate(pool.documents):
            ranked = -np.sort(-(query @ documents[d].T).double().numpy(), axis=1)
            for column, (start, end) in enumerate(((0, 1), (1, 4), (4, 16), (16, 32))):
                expected = ranked[:, start:end].mean() if ranked.shape[1] > start else np.nan
                np.testing.assert_allclose(view.similarity[row, column], expected, atol=1e-6)
            tail = ranked[:, 1:40] if ranked.shape[1] > 1 else ranked
            np.testing.assert_allclose(view.tail[row], tail.mean(1).sum(), atol=1e-5)
            np.testing.assert_allclose(view.topk[row], [ranked[:, :k].mean(1).sum() for k in range(1, 17)], atol=1e-5)


def test_ranks_to_32_are_seen_whatever_else_is_asked_for():
    # 40 similarities from 0.9 down in steps of 0.01: ranks 17 to 32 are 0.74 to 0.59.
    bench = toy_bench([AXIS], [document(*(0.9 - 0.01 * np.arange(40)).tolist())], {0: {0: 1}})
    (view,) = seen(bench, pools(bench, 1), 2, (2, 3))
    assert view.similarity[0] == pytest.approx([0.9, 0.88, 0.805, 0.665], abs=1e-6)


def test_the_pools_mean_vectors_are_compared_by_direction():
    # The first document's two vectors cancel but for a tenth of AXIS; the second's only vector is off by 26 degrees.
    mixed = torch.tensor([[0.1, 0.99**0.5, 0.0], [0.1, -(0.99**0.5), 0.0]])
    (pool,) = pools(toy_bench([AXIS], [document(0.9), mixed], {0: {0: 1}}), 1)
    assert pool.documents.tolist() == [1]


def test_the_pool_is_drawn_by_mean_vectors_and_what_lies_outside_is_counted():
    # The relevant document has the best single match, but its mean points elsewhere.
    far = torch.cat((document(1.0), document(*[-0.9] * 9)))
    near = [document(0.5, 0.5) for _ in range(3)]
    bench = toy_bench([AXIS], [far, *near, torch.empty(0, 3)], {0: {0: 1, 1: 1}})
    (pool,) = pools(bench, 3)
    assert sorted(pool.documents.tolist()) == [1, 2, 3]
    assert pool.left_out == 1
    assert len(pools(bench, 10)[0].documents) == 4


@pytest.mark.parametrize(("relevant", "mixed"), [([True, False], True), ([True, True], False), ([False, False], False), ([], False)])
def test_a_pool_is_mixed_where_there_is_something_to_tell_apart(relevant, mixed):
    documents = np.arange(len(relevant))
    assert Pool(documents, np.array(relevant, dtype=bool), documents + 1, 0).mixed is mixed


def test_relevant_documents_outside_the_pools_are_said():
    bench = planted(lambda relevant, noise: 0.8 + 0.1 * relevant + 0.01 * noise, lambda _, noise, __: 0.4 + 0.1 * noise)
    whole, half = (next(f for f in measured(bench, pool=pool).findings if f.name == "pools") for pool in (1200, 20))
    assert whole.data == {"relevant": 90, "outside": 0, "queries_without": 0}
    # By the mean of mostly noise, about half of the 90 relevant documents lie in the better half.
    assert half.data["outside"] == pytest.approx(45, abs=20)


def test_queries_of_one_group_share_a_fold():
    groups = np.repeat(np.arange(12), 3)
    fold = folds(groups, 4, np.random.default_rng(0))
    assert all(len(set(fold[groups == group])) == 1 for group in range(12))
    assert np.bincount(fold).tolist() == [9, 9, 9, 9]


def test_weights_are_judged_on_queries_they_were_not_fitted_to():
    # In one fold the feature points the other way: a fit that saw the fold would not miss it so badly.
    rng = np.random.default_rng(0)
    relevant = [np.arange(40) < 10 for _ in range(40)]
    sign = np.where(np.arange(40) % 5 == 0, -1, 1)
    features = [centred(s * r[:, None] + 0.1 * rng.standard_normal((40, 1))) for r, s in zip(relevant, sign, strict=True)]
    auc = held_out_auc(features, relevant, np.arange(40) % 5)
    assert auc[sign == 1].min() > 0.99
    assert auc[sign == -1].max() < 0.01


def test_queries_are_judged_by_the_other_folds_alone_whatever_the_features_scale():
    # The two folds point in opposite ways, so that what was learned on one is all wrong on the other.
    rng = np.random.default_rng(0)
    relevant, fold = [np.arange(40) < 10 for _ in range(20)], np.arange(20) % 2
    sign = np.where(fold == 0, 1, -1)
    features = [centred(s * r[:, None] + 0.1 * rng.standard_normal((40, 1))) for r, s in zip(relevant, sign, strict=True)]
    assert held_out_auc(features, relevant, fold).max() < 0.01
    # Of two features only the second tells; in other units it tells as much.
    mixed = [np.hstack([rng.standard_normal((40, 1)), r[:, None] + 0.5 * rng.standard_normal((40, 1))]) for r in relevant]
    found, scaled = (held_out_auc([f * [1, scale] for f in mixed], relevant, fold) for scale in (1, 1e-4))
    assert found.mean() > 0.9
    np.testing.assert_allclose(scaled, found, atol=1e-3)


def test_missing_features_lie_at_the_mean():
    assert centred(np.array([[1.0, np.nan], [3.0, 4.0]])).tolist() == [[-1, 0], [1, 0]]
    assert centred(np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 4.0]])).tolist() == [[-2, -1], [0, 0], [2, 1]]


def test_of_equally_good_weights_the_one_nearest_0_is_taken():
    grid = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    assert best_weight(np.array([[0.3, 0.3, 0.3, 0.3, 0.2], [0.1, 0.3, 0.2, 0.3, 0.3]]), grid).tolist() == [2, 1]


def test_whole_groups_are_resampled():
    times = drawn_again(np.array([0, 0, 1, 1]), 500, np.random.default_rng(0))
    means = times @ np.array([[1.0], [1.0], [5.0], [5.0]]) / times.sum(1)[:, None]
    assert set(np.unique(means).tolist()) == {1.0, 3.0, 5.0}


def test_a_signal_at_ranks_2_to_4_alone_is_found():
    found = measured(
        planted(lambda _, noise: 0.9 + 0.01 * noise, lambda relevant, noise, _: 0.5 + 0.2 * relevant + 0.01 * noise, vectors=4, queries=12)
    )
    assert found.get("tail_gain", {}).value == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    ("gain", "control", "word"),
    [
        ((0.06, 0.1), (-0.01, 0.01), "strong"),
        ((0.02, 0.04), (-0.01, 0.0), "shown"),
        ((-0.01, 0.01), (0.0, 0.01), "none"),
        ((-0.01, 0.04), (None, None), "cannot tell"),
        ((0.02, 0.04), (None, None), "shown"),
        ((0.06, 0.1), (0.001, 0.02), "cannot tell"),  # a permuted tail that adds something: no verdict
        ((0.06, 0.1), (-0.02, -0.001), "cannot tell"),
    ],
)
def test_the_word_follows_from_the_gain_if_its_control_holds(gain, control, word):
    found = toy_bench([AXIS], [document(0.5)], {0: {0: 1}}).findings()
    for name, (low, high) in (("tail_gain", gain), ("tail_gain_permuted", control)):
        why = "one unit shows no spread" if low is None else None
        found.number(name, {}, 0.0 if low is None else (low + high) / 2, low=low, high=high, n=40, unit_of_n="queries", no_interval=why)
    _say_verdict(found, 0.8)
    (said,) = found.findings
    holds = control[0] is None or control[0] <= 0 <= control[1]
    assert said.data == {"verdict": word, "control_holds": holds}
    assert ("no verdict" in said.text) != holds
    assert f"AUC 0.800 without them, {sum(gain) / 2:+.4f} ({gain[0]:+.4f} to {gain[1]:+.4f}) with them" in said.text
    assert said.text.count("permuted +0.0000.") == (control[0] is None)


def at_weights(*rows):
    """Qualities (rows, weights) of 0.5 but for the given ones {weight: quality}; the grid has 81 weights from -2 to 2."""
    table = np.full((len(rows), 81), 0.5)
    for row, known in zip(table, rows, strict=True):
        for weight, quality in known.items():
            row[round((weight + 2) / 0.05)] = quality
    return table


def test_a_weight_is_judged_on_queries_that_had_no_part_in_its_choice():
    # Three pairs of queries, whose favourites are -1, 1 and 0.5; without the first pair the best is 1, without either of the others -1.
    weighed = at_weights(*[{-1: 0.9, 1: 0.4}] * 2, *[{-1: 0.7, 1: 0.8}] * 2, *[{0.5: 0.7}] * 2)
    found = toy_bench([AXIS] * 6, [document(0.5)], {q: {0: 1} for q in range(6)}).findings()
    _add_weight(found, weighed, np.arange(6), np.array([[0, 0, 1, 1, 1, 1], [1, 1, 0, 0, 1, 1], [1, 1, 1, 1, 0, 0]]))
    assert found.get("tail_weight_gain", {}).value == pytest.approx(np.mean([-0.1, -0.1, 0.2, 0.2, 0, 0]))
    assert found.get("tail_weight", {}).value == pytest.approx(-1)
    assert found.findings[0].data == {"b": pytest.approx(-1)}


@pytest.mark.parametrize(
    ("favourites", "reach", "sense"),
    [
        ((-1, -0.75), (-1.25, -0.75), "a correction for density, which TopK cannot make"),
        ((1, 0.75), (0.75, 1.25), "a reward for further matches"),
        ((0.5, -0.5), (-0.5, 1.5), "no clear sign"),
        ((1.5, 0.5), (0.5, 2), "a reward for further matches"),
        ((0, 0), (0, 0), "no clear sign"),
    ],
)
def test_the_weights_sense_is_that_of_its_interval_around_it(favourites, reach, sense):
    # Three queries prefer the first weight and one the second; half of the draws hold that one alone.
    most, one = favourites
    found = toy_bench([AXIS] * 4, [document(0.5)], {q: {0: 1} for q in range(4)}).findings()
    times = np.repeat([[1, 1, 1, 0], [0, 0, 0, 1]], 50, axis=0)
    _add_weight(found, at_weights(*[{most: 0.9}] * 3, {one: 0.9}), np.arange(4), times)
    weight = found.get("tail_weight", {})
    assert weight.value == pytest.approx(most)
    assert (weight.low, weight.high) == (pytest.approx(reach[0]), pytest.approx(reach[1]))
    assert f"; {sense}) changes nDCG@10" in found.findings[0].text


def test_two_queries_a_fold_are_needed():
    with pytest.raises(Skip, match=r"only 9 independent queries .* 5 folds take 10"):
        measured(planted(lambda *_: 0.9, lambda *_: 0.5, queries=9, documents=5, vectors=3))


def test_too_few_queries_are_skipped_with_the_reason():
    bench = planted(lambda *_: 0.9, lambda *_: 0.5, queries=4)
    with pytest.raises(Skip, match="only 4 independent queries"):
        measured(bench)


def test_two_documents_two_folds_and_one_rank_are_enough():
    assert catalog.probe("similarity-tail", {"pool": 2, "folds": 2, "k": 1, "tail": (2, 2)})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tail": (2, 3, 4)}, "no ranks"),
        ({"pool": 1}, "pool = 1"),
        ({"folds": 1}, "folds = 1"),
        ({"k": 0}, "k = 0"),
        ({"tail": (1, 4)}, "no ranks"),
        ({"tail": (5, 4)}, "no ranks"),
    ],
)
def test_what_gives_no_comparison_is_refused(parameters, message):
    with pytest.raises(LidiagError, match=message):
        catalog.probe("similarity-tail", parameters)


def test_every_measurement_has_its_formula():
    found = measured(planted(lambda r, noise: 0.8 + 0.05 * r + 0.05 * noise, lambda *_: 0.4, vectors=40, documents=20), pool=20)
    assert {m.name for m in found.measurements} == set(catalog.probe_class("similarity-tail").formulas)


CHANGE = np.array([[0.4, 0.0, -0.4], [0.2, 0.0, -0.1], [-0.3, 0.0, 0.5]])  # (queries, weights)


def test_a_querys_gain_is_its_mean_over_the_draws_without_it():
    times, chosen = np.array([[2, 1, 0], [3, 0, 0], [0, 1, 2], [0, 3, 0]]), np.array([0, 0, 2, 0])
    held, pull = left_out(CHANGE, chosen, times)
    # Query 0 is not in draws 2 and 3, query 1 not in 1, query 2 not in 0, 1 and 3.
    assert held == pytest.approx([(-0.4 + 0.4) / 2, 0.2, -0.3])
    # Only query 0 saw weights that differ, by 0.4 from their mean; it is one query of three, and these are two draws.
    assert pull == pytest.approx([0, 0, -0.4 / 2 / 3, 0.4 / 2 / 3])


def _exact(p):
    """The expected gain, query by query, where three queries are drawn with probabilities p; and all 27 draws."""
    draws = np.array([np.bincount(drawn, minlength=3) for drawn in itertools.product(range(3), repeat=3)])
    chance = np.array([math.prod(p[q] for q in drawn) for drawn in itertools.product(range(3), repeat=3)])
    chosen = best_weight(draws @ CHANGE, np.array([-1.0, 0.0, 1.0]))
    without = (draws == 0) * chance[:, None]
    return float(p @ ((CHANGE[:, chosen].T * without).sum(0) / without.sum(0))), draws, chosen


def test_what_a_query_adds_is_the_derivative_by_its_chance_of_being_drawn():
    even = np.full(3, 1 / 3)
    mean, draws, chosen = _exact(even)
    step = 1e-6
    slopes = [(_exact((1 - step) * even + step * np.eye(3)[q])[0] - mean) / step for q in range(3)]
    assert np.ptp(slopes) > 0.1
    # All draws, each many times over: nothing about them is left to chance.
    often = np.tile(draws, (5000, 1))
    values = with_choice(*left_out(CHANGE, np.tile(chosen, 5000), often), often, np.arange(3))
    assert values - mean == pytest.approx(slopes, abs=1e-3)
    assert values.mean() == pytest.approx(mean)


def test_a_choice_that_never_differs_adds_no_spread():
    times = drawn_again(np.arange(3), 50, np.random.default_rng(0))
    held, pull = left_out(CHANGE, np.zeros(50, dtype=np.int64), times)
    assert held == pytest.approx(CHANGE[:, 0])
    assert with_choice(held, pull, times, np.arange(3)) == pytest.approx(CHANGE[:, 0])


def test_few_draws_add_no_spread_by_chance():
    # All queries gain alike from either weight: whatever the draws choose, it moves nothing but by chance.
    rng = np.random.default_rng(0)
    times = drawn_again(np.arange(400), 200, rng)
    change = rng.standard_normal((400, 2))
    held, pull = left_out(change, rng.integers(2, size=200), times)
    assert with_choice(held, pull, times, np.arange(400)).std() == pytest.approx(held.std(), rel=0.1)
    assert (400 * pull @ (times - 1)).std() > held.std()


def test_where_chance_explains_more_than_the_choice_adds_the_spread_is_that_of_the_queries():
    held, pull, times = np.array([1.0, 2.0, 4.0, 7.0]), np.array([10.0, -10.0]), np.array([[2, 1, 1, 0], [1, 1, 1, 1]])
    # The choice moves queries by 4 * 10 * (1, 0, 0, -1), and two draws that pull by 10 would move them by more.
    values = with_choice(held, pull, times, np.arange(4))
    assert values.var(ddof=1) == pytest.approx(7)
    own = held - 3.5 + np.array([40, 0, 0, -40])
    assert values - 3.5 == pytest.approx(own * np.sqrt(7 / own.var(ddof=1)))


def test_queries_of_one_group_add_what_the_group_does():
    # Each of three queries stands twice, as a group: their totals are those of three queries alone.
    groups = np.array([0, 0, 1, 1, 2, 2])
    _, draws, chosen = _exact(np.full(3, 1 / 3))
    alone = with_choice(*left_out(CHANGE, chosen, draws), draws, np.arange(3))
    times = draws[:, groups]
    twice = with_choice(*left_out(CHANGE[groups], chosen, times), times, groups)
    assert twice == pytest.approx(alone[groups])


def test_the_interval_holds_what_other_queries_would_gain():
    # Two of nine weights are better on average, by less than the queries differ.
    rng, grid, truth, held = np.random.default_rng(1), np.linspace(-1, 1, 9), [], []
    for _ in range(300):
        change = 0.1 * rng.standard_normal((40, 9)) + np.where(grid > 0.6, 0.03, 0)
        change[:, 4] = 0
        times = drawn_again(np.arange(40), 300, rng)
        chosen = best_weight(times @ change, grid)
        estimate = stats.mean_interval(with_choice(*left_out(change, chosen, times), times, np.arange(40)))
        truth.append(estimate.value)
        held.append((estimate.low, estimate.high))
    low, high = np.array(held).T
    assert 0.91 < ((low <= np.mean(truth)) & (np.mean(truth) <= high)).mean() < 0.985
