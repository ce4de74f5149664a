from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lidiag.errors import LidiagError
from lidiag.pooling import Hybrid, MaxSim, Mean, Pooling, Single, Softmax, SoftState, TopK, parse

POOLINGS: list[Pooling] = [MaxSim(), MaxSim(argmax=True), TopK(1), TopK(4), TopK(9), Softmax(0.02), Softmax(0.1), Softmax(1), Mean()]
QUERY_TOKENS = 3


@st.composite
def pieces(draw):
    """Two pieces of a document; a coarse grid of values makes ties common."""
    values = st.sampled_from([-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0])
    fine = st.floats(-1, 1, width=32)
    elements = draw(st.sampled_from([values, fine]))
    a, b = draw(st.integers(0, 12)), draw(st.integers(0, 12))
    return tuple(torch.from_numpy(draw(arrays(np.float32, (QUERY_TOKENS, m), elements=elements))) for m in (a, b))


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6, check_dtype=False)


def brute_score(pooling, row):
    """The score of one query token from its definition, in float64."""
    row = np.asarray(row, dtype=np.float64)
    if len(row) == 0:
        return -math.inf
    if isinstance(pooling, MaxSim):
        return row.max()
    if isinstance(pooling, TopK):
        return np.sort(row)[::-1][: pooling.k].mean()
    if isinstance(pooling, Softmax):
        weights = np.exp((row - row.max()) / pooling.t)
        return (weights * row).sum() / weights.sum()
    return row.mean()


def brute_share(pooling, original, part):
    """The part's share of the weight, from its definition: on a tie the original's token comes first."""
    both = np.concatenate((original, part)).astype(np.float64)
    if len(both) == 0:
        return 0.0
    is_part = np.arange(len(both)) >= len(original)
    if isinstance(pooling, MaxSim):
        return float(is_part[int(both.argmax())])
    if isinstance(pooling, TopK):
        return is_part[np.argsort(-both, kind="stable")[: pooling.k]].mean()
    weights = np.exp((both - both.max()) / pooling.t) if isinstance(pooling, Softmax) else np.ones(len(both))
    return weights[is_part].sum() / weights.sum()


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda p: repr(p) + str(getattr(p, "argmax", "")))
@settings(max_examples=60, deadline=None)
@given(data=pieces())
def test_merging_the_states_of_two_pieces_gives_the_state_of_the_whole(pooling, data):
    a, b = data
    merged, whole = pooling.merge(pooling.pool(a), pooling.pool(b)), pooling.pool(torch.cat((a, b), -1))
    assert vars(merged).keys() == vars(whole).keys()
    for name, value in vars(whole).items():
        if value is not None:
            close(getattr(merged, name), value)
    close(pooling.score(merged), pooling.score(whole))


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda p: repr(p) + str(getattr(p, "argmax", "")))
@settings(max_examples=60, deadline=None)
@given(data=pieces())
def test_score_and_share_follow_their_definitions(pooling, data):
    original, part = data
    states = pooling.pool(original), pooling.pool(part)
    close(pooling.score(states[0]), torch.tensor([brute_score(pooling, row) for row in original.numpy()]))
    expected = [brute_share(pooling, a, b) for a, b in zip(original.numpy(), part.numpy(), strict=True)]
    close(pooling.share(*states), torch.tensor(expected))


def test_the_argmax_of_the_second_piece_is_shifted_and_a_tie_stays_with_the_first():
    a, b = torch.tensor([[0.1, 0.9], [0.5, 0.2], [0.1, 0.2]]), torch.tensor([[0.3, 0.4], [0.1, 0.5], [0.3, 0.1]])
    maxsim = MaxSim(argmax=True)
    assert maxsim.merge(maxsim.pool(a), maxsim.pool(b)).argmax.tolist() == [1, 0, 2]


def test_an_empty_document_has_no_argmax_and_scores_minus_infinity():
    empty = torch.empty(2, 0)
    assert MaxSim(argmax=True).pool(empty).argmax.tolist() == [-1, -1]
    for pooling in POOLINGS:
        assert pooling.score(pooling.pool(empty)).tolist() == [-math.inf] * 2


def test_an_empty_document_spoils_no_gradient_of_another():
    mass, weighted = torch.tensor([0.0, 2.0], requires_grad=True), torch.tensor([0.0, 1.0], requires_grad=True)
    Softmax(1).score(SoftState(torch.tensor([0, 2]), torch.tensor([-math.inf, 0.5]), mass, weighted))[1].backward()
    assert weighted.grad.tolist() == [0, 0.5]
    assert mass.grad.tolist() == [0, -0.25]


def test_topk_divides_by_the_tokens_that_exist():
    assert TopK(4).score(TopK(4).pool(torch.tensor([[0.6, 0.2]]))).item() == pytest.approx(0.4)


def test_softmax_is_the_weighted_mean_and_not_logsumexp():
    # weights 1 : e^-1 over similarities 0.3 and 0.2 at temperature 0.1
    expected = (0.3 + 0.2 * math.exp(-1)) / (1 + math.exp(-1))
    assert Softmax(0.1).score(Softmax(0.1).pool(torch.tensor([[0.2, 0.3]]))).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("many", [4, 5, 8])
def test_states_broadcast_when_one_injected_piece_meets_many_documents(many):
    documents, injected = torch.rand(3, many, 7), torch.rand(3, 1, 4)
    for pooling in POOLINGS:
        merged = pooling.merge(pooling.pool(documents), pooling.pool(injected))
        whole = pooling.pool(torch.cat((documents, injected.expand(3, many, 4)), -1))
        close(pooling.score(merged), pooling.score(whole))
        assert pooling.share(pooling.pool(documents), pooling.pool(injected)).shape == (3, many)


def test_states_of_documents_of_one_length_are_chosen_as_others_are():
    documents, chosen = torch.rand(3, 5, 7), torch.tensor([4, 0, 4])
    for pooling in POOLINGS:
        picked, expected = pooling.pool(documents).select(chosen), pooling.pool(documents[:, chosen])
        for name, value in vars(expected).items():
            assert value is None or torch.equal(getattr(picked, name), value)


@pytest.mark.parametrize(
    "scoring", [MaxSim(), TopK(4), Softmax(0.1), Softmax(1), Mean(), Single(), Hybrid(1, 1), Hybrid(0.25, 2)], ids=repr
)
def test_every_scoring_prints_as_text_that_reads_back(scoring):
    assert parse(repr(scoring)) == scoring


@pytest.mark.parametrize(
    ("text", "printed"),
    [("softmax(1.0)", "softmax(1)"), ("Softmax( .10 )", "softmax(0.1)"), ("maxsim()", "maxsim"), ("hybrid(1.0, 1)", "hybrid(1,1)")],
)
def test_both_spellings_of_a_number_parse(text, printed):
    assert repr(parse(text)) == printed


@pytest.mark.parametrize(
    "text",
    ["maxsum", "topk", "topk(0)", "topk(2.5)", "topk(1,2)", "softmax(0)", "softmax(-1)", "softmax(inf)", "softmax(nan)", "topk(4", ""],
)
def test_what_names_no_pooling_is_refused_with_what_is_known(text):
    with pytest.raises(LidiagError, match=r"Known:|Write "):
        parse(text)


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda p: repr(p) + str(getattr(p, "argmax", "")))
@pytest.mark.parametrize("tokens", [0, 3, 20])
def test_states_stay_on_the_device_of_the_similarities(pooling, tokens):
    # "meta" holds no numbers, and refuses to be mixed with another device as a GPU does.
    state = pooling.pool(torch.empty(5, 6, tokens, device="meta"))
    part = pooling.pool(torch.empty(5, 6, 2, device="meta"))
    for result in (pooling.score(state), pooling.share(state, part), *vars(pooling.merge(state, part)).values()):
        assert result is None or result.device.type == "meta"
