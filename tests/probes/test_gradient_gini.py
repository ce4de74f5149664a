from __future__ import annotations

import numpy as np
import pytest
import torch

from lidiag import catalog, stats
from lidiag.errors import LidiagError
from lidiag.pooling import MaxSim, Mean, Softmax, TopK
from lidiag.probes._gradients import document_gradients, on_tangent, weights
from lidiag.probes.gradient_gini import _against_chance
from tests.probes.toy import gaussian, measure, toy_bench, unit

POOLINGS = [MaxSim(), TopK(1), TopK(4), TopK(40), Softmax(0.02), Softmax(0.1), Softmax(1), Mean()]
AXES = torch.eye(4)


def gini(queries, documents, relevance, poolings=("maxsim",), **more):
    return measure("gradient-gini", toy_bench(queries, documents, relevance), poolings=poolings, **more)


def value(found, name, pooling="maxsim"):
    return found.get(name, {"pooling": pooling}).value


def verdict(found):
    return next(finding.data["verdict"] for finding in found.findings if finding.name == "concentration")


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
@pytest.mark.parametrize("sizes", [(6, 30), (6, 3), (1, 1)])
def test_the_closed_form_is_what_autograd_finds(pooling, sizes):
    generator = torch.Generator().manual_seed(1)
    query, document = (gaussian(generator, size, 16) for size in sizes)
    document.requires_grad_()
    pooling.score(pooling.pool(query @ document.T)).sum().backward()
    assert document.grad is not None
    torch.testing.assert_close(document_gradients(pooling, query, document.detach()), document.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_what_is_left_on_the_tangent_is_the_gradient_through_the_normalisation(pooling):
    generator = torch.Generator().manual_seed(2)
    query, free = gaussian(generator, 5, 8), gaussian(generator, 12, 8).requires_grad_()
    document = torch.nn.functional.normalize(free, dim=1)
    pooling.score(pooling.pool(query @ document.T)).sum().backward()
    left = on_tangent(document_gradients(pooling, query, document.detach()), document.detach())
    assert free.grad is not None
    torch.testing.assert_close(left, free.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_a_common_rise_of_all_similarities_raises_phi_as_much(pooling):
    # d/dc phi(s + c) = sum_j w_j = 1 for every pooling here.
    rows = weights(pooling, torch.rand(7, 20, dtype=torch.float64))
    torch.testing.assert_close(rows.sum(1), torch.ones(7, dtype=torch.float64))


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_the_weights_of_many_pairs_are_those_of_each(pooling):
    pairs = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(weights(pooling, pairs), torch.stack([weights(pooling, pair) for pair in pairs]))
    wide = pairs[:, :2]
    torch.testing.assert_close(weights(pooling, wide), torch.stack([weights(pooling, pair) for pair in wide]))


def test_one_winner_of_four_by_hand():
    # Both query tokens choose vector 0, of 4: g = (|q1 + q2|, 0, 0, 0).
    query = unit([1, 0.1, 0, 0], [1, -0.1, 0, 0])
    found = gini([query], [AXES], {0: {0: 1}})
    assert value(found, "gini") == pytest.approx(3 / 4)
    assert value(found, "gini_paper") == pytest.approx(2 / 4)
    assert value(found, "zero_gradient_share") == 3 / 4
    assert value(found, "n_eff") == pytest.approx(1)
    assert value(found, "n_eff_share") == pytest.approx(1 / 2)
    assert value(found, "winners") == pytest.approx(1 / 2)


def test_winners_are_the_vectors_that_tokens_choose():
    # Tokens 1 and 2 choose vector 0 and token 3 vector 1; vectors 2 and 3 would each have had a token of their own.
    found = gini([unit([1, 0.1, 0, 0.2], [1, -0.1, 0.2, 0], [0, 1, 0, 0])], [AXES], {0: {0: 1}})
    assert value(found, "winners") == pytest.approx(2 / 3)


def test_every_vector_a_winner_by_hand():
    found = gini([AXES], [AXES], {0: {0: 1}})
    assert value(found, "gini") == pytest.approx(0)
    assert value(found, "gini_paper") == pytest.approx(-1 / 4)
    assert value(found, "winners") == 1
    assert value(found, "n_eff") == pytest.approx(4)


def test_the_mean_spreads_the_gradient_evenly():
    found = gini([unit([1, 2, 0, 0])], [AXES], {0: {0: 1}}, poolings=("mean",))
    assert value(found, "gini", "mean") == pytest.approx(0)
    assert value(found, "zero_gradient_share", "mean") == 0


def test_random_winners_have_no_excess_and_a_planted_hub_has():
    # Vectors without meaning: the winners are as good as drawn. A hub that wins every token takes all there is.
    generator = torch.Generator().manual_seed(3)
    queries, documents = ([gaussian(generator, size, 64) for _ in range(150)] for size in (12, 60))
    relevance = {q: {q: 1} for q in range(len(queries))}
    found = gini(queries, documents, relevance)
    chance = found.get("gini_excess", {"pooling": "maxsim"})
    assert chance.low < 0.02
    assert chance.high > -0.02
    assert verdict(found) == "none"
    assert value(found, "gini_null") == pytest.approx(1 - 12 / 60, abs=0.06)
    lift = torch.zeros(64)
    lift[0] = 3
    hubs = [torch.nn.functional.normalize(query + lift, dim=1) for query in queries]
    planted = [torch.cat((torch.nn.functional.normalize(lift, dim=0).unsqueeze(0), document[1:])) for document in documents]
    found = gini(hubs, planted, relevance)
    assert value(found, "gini_excess") > 0.9
    assert verdict(found) == "strong"


def test_the_pair_is_the_first_of_the_highest_grade_in_judgement_order():
    documents = [AXES[:1], AXES[:2], AXES[:3], AXES]
    found = gini([AXES[:1]], documents, {0: {3: 1, 2: 2, 1: 2, 0: 0}})
    assert value(found, "zero_gradient_share") == pytest.approx(2 / 3)


def test_an_empty_document_leaves_its_query_out_and_is_counted():
    found = gini([AXES[:2], AXES[:2]], [torch.empty(0, 4), AXES], {0: {0: 1}, 1: {1: 1}})
    assert found.get("gini", {"pooling": "maxsim"}).n == 1
    assert "1 of 2 queries are left out" in next(f.text for f in found.findings if f.name == "pairs")


def test_one_vector_has_no_choice_so_no_excess():
    found = gini([AXES[:2]], [AXES[:1]], {0: {0: 1}})
    assert value(found, "gini") == 0
    assert any(f.name == "gini_excess" and "was not measured" in f.text for f in found.findings)


def test_all_on_one_vector_is_all_the_excess_there_is_and_chance_is_none():
    tokens = gaussian(torch.Generator().manual_seed(0), 5, 8)
    null = _against_chance(0.5, tokens, 4, 30, np.random.default_rng(0))["gini_null"]
    for gini_paper, excess in ((1 - 1 / 4, 1), (null, 0), ((3 / 4 + null) / 2, 0.5)):
        found = _against_chance(gini_paper, tokens, 4, 30, np.random.default_rng(0))
        assert found == {"gini_null": null, "gini_excess": pytest.approx(excess)}


@pytest.mark.parametrize(("count", "correlation"), [(1, None), (2, 1), (5, 2)])
def test_what_is_said_holds_the_interval_and_how_the_gini_goes_with_the_lengths(count, correlation):
    generator = torch.Generator().manual_seed(6)
    queries = [gaussian(generator, 2 + q, 8) for q in range(count)]
    documents = [torch.empty(0, 8), *(gaussian(generator, 1 if q == 4 else 9 + 5 * (q * q % 4), 8) for q in range(count))]
    found = gini([queries[0], *queries], documents, {0: {0: 1}} | {q + 1: {q + 1: 1} for q in range(count)})
    (said,) = [finding for finding in found.findings if finding.name == "concentration"]
    values = np.array(next(held.values for held in found.per_query if held.name == "gini_paper")[1:])
    ratios = np.array([len(query) / len(document) for query, document in zip(queries, documents[1:], strict=True)])
    excess = found.get("gini_excess", {"pooling": "maxsim"})
    if correlation is None:
        assert said.data["correlation_with_tokens_over_vectors"] is None
        assert f"takes {excess.value:.3f}: cannot tell" in said.text
        return
    expected = np.corrcoef(ratios, values)[0, 1]
    assert said.data["correlation_with_tokens_over_vectors"] == pytest.approx(expected)
    assert abs(expected) == pytest.approx(1) if correlation == 1 else abs(expected) < 0.999
    assert f"takes {excess.value:.3f} ({excess.low:.3f} to {excess.high:.3f}): " in said.text


def test_the_null_is_seeded():
    bench = toy_bench(
        [gaussian(torch.Generator().manual_seed(4), 8, 16)], [gaussian(torch.Generator().manual_seed(5), 30, 16)], {0: {0: 1}}
    )
    first, again = (value(measure("gradient-gini", bench), "gini_null") for _ in range(2))
    assert first == again


def test_the_papers_formula_term_by_term():
    g = np.array([0.0, 2.0, 1.0, 5.0, 0.5])
    rising = np.sort(g)
    paper = 1 - 2 / (len(g) * g.sum()) * sum(rising[: j + 1].sum() for j in range(len(g)))
    assert float(stats.gini_paper(g)) == pytest.approx(paper)


def test_every_measurement_has_its_formula():
    found = gini([AXES[:2]], [AXES], {0: {0: 1}}, poolings=("maxsim", "topk(4)", "softmax(0.1)", "mean"))
    assert {m.name for m in found.measurements} == set(catalog.probe_class("gradient-gini").formulas)


def test_one_draw_is_enough():
    assert catalog.probe("gradient-gini", {"draws": 1})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"poolings": ("single",)}, "no token similarities"), ({"poolings": ()}, "at least one"), ({"draws": 0}, "draws = 0")],
)
def test_what_has_no_gradient_over_vectors_is_refused(parameters, message):
    with pytest.raises(LidiagError, match=message):
        catalog.probe("gradient-gini", parameters)
