"""The synthetic world: its parts by hand, and what training in it must show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidiag import catalog
from lidiag.errors import LidiagError
from lidiag.pooling import MaxSim
from lidiag.probes import _routing_world as world
from tests.probes.toy import measure, toy_bench, unit


@pytest.fixture(scope="module")
def bench():
    return toy_bench([unit([1, 0])], [unit([1, 0])], {0: {0: 1}})


@pytest.fixture(scope="module")
def small(bench):
    return measure("synthetic-routing", bench, m=32, lengths=(16, 32), epochs=4, seeds=2)


def _drawn(m: int, *, hard: bool) -> tuple[torch.Tensor, world.World]:
    generator = torch.Generator().manual_seed(0)
    concepts = world.concepts(generator)
    return concepts, world.World.draw(200, m, hard=hard, concepts=concepts, generator=generator)


def test_a_positive_holds_support_patches_of_its_query_and_a_hard_negative_fewer_and_a_spike():
    concepts, drawn = _drawn(64, hard=True)
    of_query = (drawn.queries @ concepts.T).argmax(-1)

    def shared(documents: torch.Tensor) -> float:
        of_document = (documents @ concepts.T).argmax(-1)
        return float(np.mean([np.isin(d, q).sum() for d, q in zip(of_document.numpy(), of_query.numpy(), strict=True)]))

    assert drawn.negatives is not None
    by_chance = (64 - world.SUPPORT) * (1 - (1 - 1 / world.CONCEPTS) ** world.TOKENS)
    assert shared(drawn.positives) == pytest.approx(world.SUPPORT + by_chance, abs=0.5)
    assert shared(drawn.negatives[:, :-1]) < shared(drawn.positives) - 3
    spike = drawn.negatives[:, -1:]
    strongest = (spike @ drawn.queries.mT)[:, 0].sort(descending=True).values
    assert float(strongest[:, world.SPIKE - 1].mean()) > 0.3, "a spike is near several tokens of its query"


def test_every_vector_of_the_world_has_length_one():
    _, drawn = _drawn(32, hard=True)
    for part in (drawn.queries, drawn.documents):
        torch.testing.assert_close(part.norm(dim=-1), torch.ones(part.shape[:-1]))


def test_training_finds_the_own_document_more_often_than_chance():
    concepts, training = _drawn(16, hard=False)
    encoder = world.train(MaxSim(), training, 10, torch.Generator().manual_seed(1), lambda epoch, encoder: None)
    held_out = world.World.draw(64, 16, hard=False, concepts=concepts, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        scores = world.batch_scores(world.encode(encoder, held_out.queries), world.encode(encoder, held_out.documents), MaxSim())
    assert float((scores.argmax(1) == torch.arange(64)).float().mean()) > 10 / 64


def test_the_maximum_concentrates_the_gradient_and_softmax_spreads_it(small):
    gini = [small.get("gini_paper", {"pooling": pooling}).value for pooling in ("maxsim", "topk(4)", "softmax(1)")]
    assert gini == sorted(gini, reverse=True)


def test_the_length_that_was_trained_on_is_the_same_evaluated_and_anew(small):
    for pooling in ("maxsim", "topk(4)", "softmax(1)"):
        at = {"pooling": pooling, "m": 32}
        assert small.get("R@1_by_length", at).value == small.get("R@1_by_length_evaluated", at).value
        assert small.get("R@1_by_length", at).value == small.get("R@1", {"pooling": pooling}).value


def test_a_slope_is_the_rise_of_the_logit_between_two_lengths(small):
    values = {m: small.get("R@1_by_length_easy", {"pooling": "maxsim", "m": m}) for m in (16, 32)}
    slope = small.get("slope_easy", {"pooling": "maxsim"})
    # The mean over seeds of a difference of logits lies near the difference of the logits of the means.
    logit = {m: np.log(v.value / (1 - v.value)) for m, v in values.items()}
    assert slope.value == pytest.approx(logit[32] - logit[16], abs=0.1)
    assert slope.n == 2


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(bench):
    few = {"m": 16, "lengths": (16, 32), "epochs": 1, "seeds": 2, "retrained": False, "poolings": ("maxsim", "topk(4)")}
    first, again = (measure("synthetic-routing", bench, **few).measurements for _ in range(2))
    other = measure("synthetic-routing", toy_bench([unit([1, 0])], [unit([1, 0])], {0: {0: 1}}, seed=1), **few).measurements
    assert first == again
    assert first != other


def test_without_retraining_no_length_is_said_to_be_trained_anew(bench):
    found = measure("synthetic-routing", bench, m=16, lengths=(16, 32), epochs=1, seeds=2, retrained=False, poolings=("maxsim", "topk(4)"))
    names = {m.name for m in found.measurements}
    assert {"R@1_by_length_evaluated", "slope_evaluated", "slope_difference_easy_evaluated"} <= names
    assert not {"R@1_by_length", "slope", "slope_easy"} & names


@pytest.mark.parametrize("wrong", [{"poolings": ("single", "maxsim")}, {"seeds": 1}, {"lengths": (2,)}, {"poolings": ("maxsim",)}])
def test_what_cannot_be_measured_is_refused(wrong):
    with pytest.raises(LidiagError):
        catalog.probe("synthetic-routing", wrong)
