import numpy as np
import pytest

from lidiag.ranking import on_common_queries, pseudo_values, ranks
from lidiag.samples import Sample
from lidiag.stats import sign_flip_p
from lidiag.stats.many import sign_flip_ps


def sample(values, base=None, clusters=None, queries=None):
    queries = queries or [f"q{i}" for i in range(len(values))]
    return Sample(np.array(queries, dtype=object), np.array(values, float), None if base is None else np.array(base, float), clusters)


def test_pseudo_values_of_a_mean_are_the_values():
    assert pseudo_values(sample([1.0, 2.0, 6.0])).tolist() == [1.0, 2.0, 6.0]


def test_pseudo_values_of_a_ratio_have_the_ratio_as_mean():
    # 1/2 + ([1, 2] - 1/2 * [4, 2]) / 3 = [1/6, 5/6]
    assert pseudo_values(sample([1, 2], base=[4, 2])) == pytest.approx([1 / 6, 5 / 6])


def test_queries_of_one_cluster_count_once():
    assert pseudo_values(sample([1, 3, 5, 7], clusters=np.array([0, 0, 1, 1]))) == pytest.approx([2.0, 6.0])


def test_samples_are_paired_by_name_and_not_by_place():
    a, b = on_common_queries([sample([1, 2, 3], queries=["x", "y", "z"]), sample([30, 10], queries=["z", "x"])])
    assert a.queries.tolist() == b.queries.tolist() == ["x", "z"]
    assert (a.values.tolist(), b.values.tolist()) == ([1, 3], [10, 30])


def test_models_that_cannot_be_told_apart_share_a_rank():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 1, 50)
    noise = rng.normal(0, 0.1, (50, 3))
    assert ranks(difficulty[:, None] + noise + [0.5, 0.0, 0.0]).tolist() == [1, 2, 2]
    assert ranks(difficulty[:, None] + noise + [0.5, 0.0, 0.0], falling=False).tolist() == [3, 1, 1]


def test_equal_models_rarely_get_different_ranks():
    rng = np.random.default_rng(1)
    split = [len(set(ranks(rng.normal(0, 1, (40, 5))).tolist())) > 1 for _ in range(400)]
    assert sum(split) <= 30  # 5 % of 400 is 20, and 30 is its 99 % limit


def test_identical_models_and_one_model_share_the_first_rank():
    assert ranks(np.ones((10, 3))).tolist() == [1, 1, 1]
    assert ranks(np.ones((10, 1))).tolist() == [1]


def test_many_sign_flips_agree_with_one_by_one():
    rng = np.random.default_rng(2)
    few = rng.normal(0.3, 1, (10, 4))
    exact = [sign_flip_p(few[:, i], rng=rng) for i in range(4)]
    assert sign_flip_ps(few, rng=rng) == pytest.approx(exact)
    many = rng.normal(0.1, 1, (80, 4))
    drawn = [sign_flip_p(many[:, i], rng=rng) for i in range(4)]
    assert sign_flip_ps(many, rng=rng) == pytest.approx(drawn, abs=0.02)
    assert sign_flip_ps(np.zeros((30, 1)), rng=rng).tolist() == [1.0]
