from __future__ import annotations

from functools import partialmethod

import numpy as np
import pytest
import torch

from lidiag.fused import FusedPass
from lidiag.multivector import MultiVectors
from lidiag.pooling import Hybrid, MaxSim, Mean, Single, Softmax, TopK
from lidiag.similarity import Needs, Tiling, similarity_pass
from lidiag.triton_pass import TritonPass
from tests.gpu import triton_device

POOLINGS = (MaxSim(), MaxSim(argmax=True), TopK(4), TopK(11), Softmax(0.1), Softmax(1), Mean())
PREFIXES = (1, 6, 16)
NAMES = [repr(p) + str(getattr(p, "argmax", "")) for p in POOLINGS]


def unit_rows(generator, lengths, dim=16, *, shift=0.0):
    items = [torch.nn.functional.normalize(torch.randn(n, dim, generator=generator) + shift, dim=-1) for n in lengths]
    return MultiVectors.pack(items)


def ragged(seed=0, *, negative=False):
    """Queries and documents of many lengths, 0 among them; `negative` makes every similarity negative."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    queries = unit_rows(generator, [5, 1, 8, 3, 0, 12, 4], shift=3.0 if negative else 0.0)
    lengths = [0, 1, 2, 40, 0, *rng.integers(1, 40, 25).tolist(), 150, 7, 7, 7]
    return queries, unit_rows(generator, lengths, shift=-3.0 if negative else 0.0)


def one_token(pooling, similarities):
    """The definition of a pooling in float64, for one query token."""
    if len(similarities) == 0:
        return -np.inf
    if isinstance(pooling, MaxSim):
        return similarities.max()
    if isinstance(pooling, TopK):
        return np.sort(similarities)[::-1][: pooling.k].mean()
    if isinstance(pooling, Softmax):
        weights = np.exp((similarities - similarities.max()) / pooling.t)
        return (weights * similarities).sum() / weights.sum()
    return similarities.mean()


def double_loop(pooling, queries, documents, prefix=None):
    """Scores by two loops in float64."""
    scores = np.zeros((len(queries), len(documents)))
    for i, query in enumerate(queries):
        for j, document in enumerate(documents):
            similarities = query.double().numpy() @ document.double().numpy()[:prefix].T
            scores[i, j] = sum(one_token(pooling, row) for row in similarities)
    return torch.from_numpy(scores)


def close(actual, expected, atol=1e-5):
    torch.testing.assert_close(actual.double(), expected.double(), rtol=1e-6, atol=atol)


def all_scores(blocks, scoring, prefix=None):
    return torch.cat([(block if prefix is None else block.prefixes[prefix]).scores(scoring) for block in blocks])


@pytest.fixture(params=["fused", "eager", "triton"])
def engine(request, monkeypatch):
    """Every way to make a pass: compiled kernels, plain torch as on other devices, and the kernel for a GPU."""
    if request.param == "eager":
        monkeypatch.setattr(FusedPass, "knows", lambda _: False)
    elif request.param == "triton":
        if triton_device() == "cpu" and request.node.callspec.params.get("tiling"):
            pytest.skip("many small blocks take minutes in Triton's interpreter; tests/test_triton_pass.py has a few")
        here = type("Here", (TritonPass,), {"__init__": partialmethod(TritonPass.__init__, device=triton_device())})
        monkeypatch.setattr("lidiag.similarity.FusedPass", here)


SMALL = Tiling(query_tokens=9, document_tokens=32)  # several blocks on both sides, and a document longer than a block


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("negative", [False, True], ids=["mixed", "all-negative"])
@pytest.mark.parametrize("tiling", [None, SMALL], ids=["one-block", "small-blocks"])
def test_scores_equal_a_double_loop_in_float64(negative, tiling):
    queries, documents = ragged(negative=negative)
    blocks = list(similarity_pass(queries, documents, Needs(POOLINGS, prefixes=PREFIXES), tiling=tiling))
    assert [i for block in blocks for i in block.queries] == list(range(len(queries)))
    for pooling in POOLINGS:
        close(all_scores(blocks, pooling), double_loop(pooling, queries, documents))
        for prefix in PREFIXES:
            close(all_scores(blocks, pooling, prefix), double_loop(pooling, queries, documents, prefix))


def test_prefixes_in_any_order_change_no_bit_of_a_score_or_state():
    queries, documents = ragged()
    poolings = (*POOLINGS, MaxSim(argmax=True))
    ((alone,), (beside,), (mixed,)) = (
        list(similarity_pass(queries, documents, Needs(poolings, tokens=True, prefixes=prefixes)))
        for prefixes in ((), (2, 4, 8), (8, 3, 2))
    )
    for pooling in poolings:
        for other in (beside, mixed):
            assert torch.equal(alone.scores(pooling), other.scores(pooling))
            state = vars(other.state(pooling))
            assert all(part is None or torch.equal(part, state[name]) for name, part in vars(alone.state(pooling)).items())
        for prefix in (2, 8):
            cut = similarity_pass(queries, documents.heads(prefix), Needs(poolings))
            assert torch.equal(beside.prefixes[prefix].scores(pooling), next(cut).scores(pooling))
            assert torch.equal(beside.prefixes[prefix].scores(pooling), mixed.prefixes[prefix].scores(pooling))


def test_all_similarities_negative_means_no_score_is_zero():
    queries, documents = ragged(negative=True)
    (block,) = similarity_pass(queries, documents, Needs((MaxSim(),)))
    tokens = queries.lengths > 0
    assert bool((block.scores(MaxSim())[tokens] < 0).all())


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("tiling", [None, SMALL], ids=["one-block", "small-blocks"])
def test_states_stand_in_the_documents_order_with_one_row_per_query_token(tiling):
    queries, documents = ragged()
    needs = Needs(POOLINGS, tokens=True, prefixes=(6,))
    for block in similarity_pass(queries, documents, needs, tiling=tiling):
        chosen = queries.select(block.queries)
        assert torch.equal(block.offsets, chosen.offsets)
        for pooling in POOLINGS:
            state = block.state(pooling)
            assert torch.equal(state.n, documents.lengths)
            for j, document in enumerate(documents):
                expected = pooling.pool(chosen.vectors @ document.T)
                for name, value in vars(state.select(torch.tensor([j]))).items():
                    if name != "n" and value is not None:
                        close(value.squeeze(1), getattr(expected, name))


@pytest.mark.usefixtures("engine")
def test_states_score_to_the_block_s_scores():
    queries, documents = ragged()
    (block,) = similarity_pass(queries, documents, Needs(POOLINGS, tokens=True))
    for pooling in POOLINGS:
        values = pooling.score(block.state(pooling))
        for i, (start, end) in enumerate(zip(block.offsets[:-1], block.offsets[1:], strict=True)):
            close(values[start:end].sum(0), block.scores(pooling)[i])


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("pooling", [MaxSim(), MaxSim(argmax=True), TopK(4)], ids=["maxsim", "argmax", "topk(4)"])
def test_a_querys_own_state_is_cut_out_of_its_blocks(pooling):
    queries, documents = ragged()
    for block in similarity_pass(queries, documents, Needs((pooling,), tokens=True), tiling=SMALL):
        for row, query in enumerate(block.queries):
            state = block.state_of(pooling, row)
            assert torch.equal(state.n, documents.lengths)
            assert len(state.select(torch.tensor([0])).n) == 1
            close(pooling.score(state).sum(0), block.scores(pooling)[row])
            assert (vars(state).get("argmax") is None) == (pooling != MaxSim(argmax=True))
            assert len(pooling.score(state)) == queries.lengths[query]


@pytest.mark.usefixtures("engine")
def test_a_tie_gives_the_first_position_as_argmax():
    document = torch.eye(4)[[2, 0, 1, 0, 2]]
    queries = MultiVectors.pack([torch.eye(4)[:3]])
    (block,) = similarity_pass(queries, MultiVectors.pack([document]), Needs((MaxSim(argmax=True),), tokens=True))
    assert block.state(MaxSim(argmax=True)).argmax.flatten().tolist() == [1, 2, 0]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("tiling", [Tiling(1, 1), Tiling(7, 33), Tiling(64, 8), Tiling(4096, 4096)])
def test_block_sizes_change_nothing_beyond_rounding(tiling):
    queries, documents = ragged(3)
    needs = Needs(POOLINGS, prefixes=PREFIXES)
    usual, other = (list(similarity_pass(queries, documents, needs, tiling=t)) for t in (None, tiling))
    for pooling in POOLINGS:
        close(all_scores(other, pooling), all_scores(usual, pooling))
        for prefix in PREFIXES:
            close(all_scores(other, pooling, prefix), all_scores(usual, pooling, prefix))


@pytest.mark.usefixtures("engine")
def test_the_same_plan_gives_the_same_bytes():
    queries, documents = ragged(4)
    needs = Needs(POOLINGS, tokens=True)
    (first,), (second,) = (list(similarity_pass(queries, documents, needs)) for _ in range(2))
    for pooling in POOLINGS:
        assert torch.equal(first.scores(pooling), second.scores(pooling))
        for name, value in vars(first.state(pooling)).items():
            assert value is None or torch.equal(value, getattr(second.state(pooling), name))


@pytest.mark.usefixtures("engine")
def test_an_empty_document_scores_minus_infinity_and_a_query_without_tokens_zero():
    queries = MultiVectors.pack([torch.ones(2, 3), torch.empty(0, 3)])
    documents = MultiVectors.pack([torch.empty(0, 3), torch.ones(1, 3)])
    (block,) = similarity_pass(queries, documents, Needs(POOLINGS))
    for pooling in POOLINGS:
        assert block.scores(pooling)[0, 0] == -torch.inf
        assert block.scores(pooling)[0, 1] == 6
        assert block.scores(pooling)[1].tolist() == [0, 0]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("tokens", [False, True])
def test_no_documents_and_no_queries_give_empty_results(tokens):
    queries, documents = ragged()
    needs = Needs(POOLINGS, tokens=tokens, prefixes=(4,))
    (block,) = similarity_pass(queries, documents.select([]), needs)
    for pooling in POOLINGS:
        assert block.scores(pooling).shape == (len(queries), 0)
        assert block.prefixes[4].scores(pooling).shape == (len(queries), 0)
        if tokens:
            assert pooling.score(block.state(pooling)).shape == (len(queries.vectors), 0)
    assert list(similarity_pass(queries.select([]), documents, needs)) == []
    (block,) = similarity_pass(queries.select([4]), documents, needs)  # a lone query without tokens
    assert block.scores(MaxSim()).shape == (1, len(documents))


def with_pooled(vectors, pooled):
    return MultiVectors(vectors.vectors, vectors.offsets, torch.tensor(pooled))


@pytest.mark.usefixtures("engine")
def test_single_and_hybrid_scores_worked_by_hand():
    query = with_pooled(MultiVectors.pack([torch.tensor([[1.0, 0.0], [0.0, 1.0]])]), [[3.0, 4.0]])
    documents = MultiVectors.pack([torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.empty(0, 2), torch.tensor([[-1.0, 0.0]])])
    documents = with_pooled(documents, [[2.0, 0.0], [0.0, 1.0], [-3.0, -4.0]])
    late, hybrid = MaxSim(), Hybrid(0.5, 2)
    (block,) = similarity_pass(query, documents, Needs((late, Single(), hybrid)))
    assert block.scores(Single())[0].tolist() == pytest.approx([0.6, 0.8, -1.0])
    assert block.scores(late)[0].tolist() == pytest.approx([1.8, -np.inf, -1.0])
    # half the cosine plus twice the mean over the two query tokens
    assert block.scores(hybrid)[0].tolist() == pytest.approx([0.3 + 1.8, -np.inf, -0.5 - 1.0])


@pytest.mark.usefixtures("engine")
def test_a_document_whose_pooled_vector_is_zero_has_no_single_score():
    query = with_pooled(MultiVectors.pack([torch.tensor([[1.0, 0.0]])]), [[1.0, 0.0]])
    documents = MultiVectors.pack([torch.tensor([[-1.0, 0.0]]), torch.empty(0, 2)])
    documents = with_pooled(documents, [[-1.0, 0.0], [0.0, 0.0]])
    (block,) = similarity_pass(query, documents, Needs((Single(), Hybrid(0, 1))))
    assert block.scores(Single())[0].tolist() == pytest.approx([-1.0, -np.inf])
    assert block.scores(Hybrid(0, 1))[0].tolist() == pytest.approx([-1.0, -np.inf])


def test_a_hybrid_score_alone_brings_its_own_maxsim():
    queries, documents = ragged()
    queries = with_pooled(queries, torch.ones(len(queries), 2).tolist())
    documents = with_pooled(documents, torch.ones(len(documents), 2).tolist())
    (block,) = similarity_pass(queries, documents, Needs((Hybrid(0, 1),)))
    means = double_loop(MaxSim(), queries, documents) / queries.lengths.clamp(min=1).unsqueeze(1)
    close(block.scores(Hybrid(0, 1)), means)


def test_sides_that_do_not_fit_are_refused():
    queries, documents = ragged()
    with pytest.raises(ValueError, match="query vectors have 16 dimensions and document vectors 8"):
        next(similarity_pass(queries, MultiVectors.pack([torch.ones(2, 8)]), Needs((MaxSim(),))))
    pooled_queries, pooled_documents = (with_pooled(side, torch.ones(len(side), 2).tolist()) for side in (queries, documents))
    for sides in ((queries, documents), (pooled_queries, documents), (queries, pooled_documents)):
        with pytest.raises(ValueError, match="single needs pooled vectors"):
            next(similarity_pass(*sides, Needs((Single(),))))


def test_half_precision_vectors_are_scored_in_fp32():
    queries, documents = ragged()
    half = MultiVectors(documents.vectors.half(), documents.offsets)
    (block,) = similarity_pass(queries, half, Needs((MaxSim(),)))
    close(block.scores(MaxSim()), double_loop(MaxSim(), queries, half))


def test_kept_states_bound_the_queries_of_a_block():
    queries, documents = ragged()
    budget = 4 * len(documents) * 12  # twelve tokens of a pooling that keeps four floats
    blocks = list(similarity_pass(queries, documents, Needs((TopK(4),), tokens=True), tiling=Tiling(floats=budget)))
    assert len(blocks) > 1
    assert all(block.offsets[-2] <= 12 for block in blocks)  # but for the query that reaches the bound


def test_scores_bound_the_queries_of_a_block_where_no_states_are_kept():
    documents = unit_rows(torch.Generator().manual_seed(0), [1] * 1000)
    queries = unit_rows(torch.Generator().manual_seed(1), [1] * 64)
    blocks = list(similarity_pass(queries, documents, Needs((MaxSim(),)), tiling=Tiling(floats=8 * 1000)))
    assert [len(block.queries) for block in blocks] == [8] * 8


def test_blocks_of_queries_are_as_many_as_needed_and_nearly_equal():
    documents = unit_rows(torch.Generator().manual_seed(0), [1] * 10)
    queries = unit_rows(torch.Generator().manual_seed(1), [2] * 65)
    # 16 tokens are 8 queries: 65 take 9 blocks, and no block of one query alone is left
    sizes = [len(block.queries) for block in similarity_pass(queries, documents, Needs((MaxSim(),)), tiling=Tiling(query_tokens=16))]
    assert len(sizes) == 9
    assert set(sizes) == {7, 8}


def test_blocks_are_larger_where_a_call_costs_more_than_its_work():
    assert Tiling.on("cpu") == Tiling.on(torch.device("cpu")) == Tiling()
    assert Tiling.on("cuda").document_tokens >= 100 * Tiling().document_tokens


def test_the_number_of_threads_changes_no_byte():
    queries, documents = ragged(5)
    threads = torch.get_num_threads()
    passes = []
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            passes.append(next(similarity_pass(queries, documents, Needs(POOLINGS, tokens=True), tiling=Tiling(document_tokens=16))))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    for pooling in POOLINGS:
        assert torch.equal(passes[0].scores(pooling), passes[1].scores(pooling))
        assert all(
            a is None or torch.equal(a, getattr(passes[1].state(pooling), name)) for name, a in vars(passes[0].state(pooling)).items()
        )


def test_a_fault_within_the_pass_stops_it_and_gives_the_threads_back(monkeypatch):
    queries, documents = ragged()
    threads = torch.get_num_threads()

    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("lidiag.kernels.pool", broken)
    with pytest.raises(MemoryError, match="no room"):
        next(similarity_pass(queries, documents, Needs((MaxSim(),)), tiling=SMALL))
    assert torch.get_num_threads() == threads


def test_advance_is_told_every_query_token():
    queries, documents = ragged()
    told = []
    list(similarity_pass(queries, documents, Needs((MaxSim(),)), tiling=SMALL, advance=told.append))
    assert sum(told) == len(queries.vectors)


def test_the_union_of_needs_serves_all_and_asks_nothing_twice():
    union = Needs.union([Needs((MaxSim(), TopK(4)), prefixes=(64, 32)), Needs((TopK(4), Mean()), tokens=True, prefixes=(32,))])
    assert union == Needs((MaxSim(), TopK(4), Mean()), tokens=True, prefixes=(32, 64))
