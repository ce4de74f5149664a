"""Projection heads: their algebra by hand, and what training them must show."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lidiag import catalog
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from lidiag.probes import _heads as heads
from lidiag.probes import _spectrum as spectra
from tests.probes.toy import gaussian, measure, toy_bench

STATES, DIM, QUERIES = 12, 6, 60


def states_bench():
    """States whose first half says what matters; the model's own vectors are drawn from it by an unknown line."""
    generator = torch.Generator().manual_seed(0)
    topics = gaussian(generator, QUERIES, STATES // 2)

    def states(topic, tokens):
        signal = topics[topic] + 0.2 * torch.randn(tokens, STATES // 2, generator=generator)
        return torch.cat((signal, torch.randn(tokens, STATES // 2, generator=generator)), 1)

    of = {"query": [states(q, 4) for q in range(QUERIES)], "document": [states(q, 12) for q in range(QUERIES)]}
    line = torch.randn(STATES, DIM, generator=generator)
    own = {side: [nn.functional.normalize(item @ line, dim=1) for item in items] for side, items in of.items()}
    bench = toy_bench(own["query"], own["document"], {q: {q: 1} for q in range(QUERIES)})

    def encode_states(side, items, layer):
        assert layer == -1
        names = [item.id for item in items] if side == "document" else [f"d{query.split()[1]}" for query in items]
        return MultiVectors.pack([of[side][int(name[1:])] for name in names])

    return dataclasses.replace(bench, encode_states=encode_states)


@pytest.fixture(scope="module")
def found():
    return measure(
        "projection-heads", states_bench(), steps=80, seeds=3, batch=8, heads=("linear", "ffn(2,2,identity,residual)", "glu(1,sigmoid)")
    )


def test_training_a_line_finds_what_matters(found):
    chance = sum(1 / np.log2(rank + 2) for rank in range(10)) / QUERIES
    assert found.get("nDCG@10", {"head": "linear"}).low > chance


def test_gains_are_paired_and_every_rival_stands_there(found):
    value = {head: found.get("nDCG@10", {"head": head}).value for head in ("linear", "ffn(2,2,identity,residual)", "glu(1,sigmoid)")}
    for head in ("ffn(2,2,identity,residual)", "glu(1,sigmoid)"):
        gain = found.get("nDCG@10_gain", {"head": head, "than": "linear"})
        assert gain.value == pytest.approx(value[head] - value["linear"])
    same = found.get("nDCG@10", {"head": "linear, same start as ffn(2,2,identity,residual)"}).value
    gain = found.get("nDCG@10_gain", {"head": "ffn(2,2,identity,residual)", "than": "linear, same start"})
    assert gain.value == pytest.approx(value["ffn(2,2,identity,residual)"] - same)
    assert not any(m.at.get("than") == "linear, same start" and m.at["head"].startswith("glu") for m in found.measurements)


def test_a_head_without_a_bend_is_one_matrix(found):
    assert found.get("collapsed_difference", {"head": "ffn(2,2,identity,residual)"}).value == pytest.approx(0, abs=1e-9)


def test_significance_is_said_in_words(found):
    said = [f for f in found.findings if f.name == "head"]
    assert len(said) == 3
    assert all("significant at 5 %" in f.text and "verdict" in f.data for f in said)


def test_distillation_comes_nearer_to_the_model(found):
    few = {"steps": 40, "seeds": 2, "batch": 8}
    distilled = measure("projection-heads", states_bench(), loss="distillation", **few)
    own = distilled.get("nDCG@10", {"head": "own"})
    assert abs(distilled.get("nDCG@10", {"head": "linear"}).value - own.value) < 0.3


def test_a_model_without_states_is_skipped():
    bench = toy_bench([torch.eye(2)[:1]] * 60, [torch.eye(2)[:1]] * 60, {q: {q: 1} for q in range(60)})
    with pytest.raises(Skip, match="no states"):
        measure("projection-heads", bench)


HEADS = st.one_of(
    st.just("linear"),
    st.builds(
        lambda depth, rho, act, res: f"ffn({depth},{rho},{act}{',residual' * res})",
        st.integers(2, 4), st.integers(1, 3), st.sampled_from(sorted(heads.ACTIVATIONS)), st.booleans(),
    ),
    st.builds(lambda rho, gate, res: f"glu({rho},{gate}{',residual' * res})", st.integers(1, 3), st.sampled_from(sorted(heads.ACTIVATIONS)), st.booleans()),
)  # fmt: skip


@given(HEADS)
def test_a_head_prints_as_it_is_read_and_has_the_right_shape(text):
    head = heads.parse(text)
    assert str(head) == text
    network = head.make(STATES, DIM, torch.Generator().manual_seed(0))
    assert network(torch.randn(5, STATES)).shape == (5, DIM)
    if head.is_linear:
        x, y = torch.randn(2, 5, STATES)
        torch.testing.assert_close(network(x + 2 * y), network(x) + 2 * network(y), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(x @ heads.collapsed(network, STATES), network(x).detach(), atol=1e-4, rtol=1e-4)


def test_a_residual_head_begins_as_its_input_plus_what_it_adds():
    network = heads.parse("ffn(2,2,relu,residual)").make(3, 2, torch.Generator().manual_seed(0))
    x = torch.randn(4, 3)
    by_hand = (torch.nn.functional.pad(x, (0, 3)) + torch.relu(x @ network.layers[0].weight.T)) @ network.last.weight.T
    torch.testing.assert_close(network(x), by_hand)


def test_a_gated_unit_by_hand():
    network = heads.parse("glu(2,sigmoid)").make(3, 2, torch.Generator().manual_seed(0))
    x = torch.randn(4, 3)
    by_hand = ((x @ network.layers[0].weight.T) * torch.sigmoid(x @ network.gates[0].weight.T)) @ network.last.weight.T
    torch.testing.assert_close(network(x), by_hand)


@pytest.mark.parametrize(
    "wrong", ["line", "ffn", "ffn(1,2,relu)", "ffn(2,2,tanh)", "glu(0,relu)", "linear(residual)", "ffn(2,2,relu,residual,residual)"]
)
def test_what_names_no_head_is_refused(wrong):
    with pytest.raises(LidiagError, match="no projection head"):
        heads.parse(wrong)


@pytest.mark.parametrize("wrong", [{"heads": ("linear",)}, {"heads": ("linear", "x")}, {"loss": "mse"}, {"steps": 0}])
def test_a_study_without_a_comparison_is_refused(wrong):
    with pytest.raises(LidiagError):
        catalog.probe("projection-heads", wrong)


def test_the_spectrum_of_a_line_is_that_of_its_matrix():
    matrix = torch.diag(torch.tensor([3.0, 1.0, 1.0]))
    found = spectra.spectrum(heads.from_matrix(matrix), torch.randn(200, 3))
    p = np.array([9, 1, 1]) / 11
    assert found["sigma_1_share"] == pytest.approx(9 / 11)
    assert found["effective_rank"] == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_a_peak_by_hand():
    query = torch.tensor([[1.0, 0.0]])
    document = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0]])
    values = np.array([1.0, 0.0, 0.5])
    assert spectra.peak(query, document) == pytest.approx((1 - 0.5) / values.std(ddof=1))
    assert np.isnan(spectra.peak(query, document[:1]))
