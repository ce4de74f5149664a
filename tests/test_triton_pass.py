from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidiag import similarity
from lidiag.multivector import MultiVectors
from lidiag.pooling import MaxSim, Mean, Softmax, TopK
from lidiag.similarity import Needs, similarity_pass
from lidiag.triton_pass import COLUMNS, LARGEST_K, ROWS, TritonPass, _starts
from tests.gpu import triton_device

POOLINGS = (MaxSim(argmax=True), MaxSim(), TopK(1), TopK(4), Softmax(0.02), Softmax(1), Mean())


def unit_rows(lengths, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return MultiVectors.pack([torch.nn.functional.normalize(torch.randn(n, dim, generator=generator), dim=-1) for n in lengths])


def passed(queries, documents, poolings=POOLINGS, prefixes=(), document_tokens=10_000):
    engine = TritonPass(documents, poolings, prefixes, keep=True, document_tokens=document_tokens, device=triton_device())
    return engine.pool(queries.vectors, queries.offsets)


def agree(actual, queries, documents, prefix=None):
    """Hold scores and states to the definitions of the poolings in float64."""
    (scores, states), lengths = actual, queries.lengths.tolist()
    for pooling in POOLINGS:
        for j, document in enumerate(documents):
            expected = pooling.pool(queries.vectors.double() @ document[:prefix].double().T)
            sums = torch.stack([values.sum() for values in pooling.score(expected).split(lengths)])
            torch.testing.assert_close(scores[pooling][:, j].double(), sums, rtol=1e-6, atol=1e-5)
            kept = vars(states[pooling].select(torch.tensor([j]))) if states else {}
            for name, value in kept.items():
                if value is not None:
                    reference = getattr(expected, name)
                    torch.testing.assert_close(value.squeeze(-1 if name == "n" else 1).to(reference.dtype), reference, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 3, 24, 96, 128, 320])
def test_every_width_of_vector_gives_the_scores_and_states_of_the_definitions(dim):
    queries, documents = unit_rows([5, 0, 1], dim), unit_rows([0, 1, 7, COLUMNS, COLUMNS + 1, 0], dim, seed=1)
    agree(passed(queries, documents)[None], queries, documents)


def test_more_tokens_than_a_tile_on_both_sides_and_several_blocks_change_nothing():
    queries, documents = unit_rows([ROWS - 2, 4, ROWS], 16), unit_rows([3, 2 * COLUMNS + 5, 1, 40], 16, seed=1)
    agree(passed(queries, documents, document_tokens=50)[None], queries, documents)


def test_prefixes_score_the_documents_cut_there_and_keep_no_states():
    queries, documents = unit_rows([3, 2], 8), unit_rows([0, 1, 5, COLUMNS + 9], 8, seed=1)
    parts = passed(queries, documents, prefixes=(1, 5, COLUMNS + 1))
    for prefix in (1, 5, COLUMNS + 1):
        assert parts[prefix][1] == {}
        agree(parts[prefix], queries, documents, prefix)
    agree(parts[None], queries, documents)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(0, COLUMNS + 6), min_size=1, max_size=4),
    tokens=st.integers(1, 20),
    seed=st.integers(0, 1000),
    coarse=st.booleans(),
)
def test_the_kernel_agrees_with_the_definition_of_every_pooling(lengths, tokens, seed, coarse):
    # Against unit vectors a similarity is a coordinate of the document's vector: exact, so both sides see the same numbers.
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-1, 1, (sum(lengths), tokens))
    rows = np.round(rows * 4) / 4 if coarse else rows  # ties
    documents = MultiVectors.pack(list(torch.from_numpy(rows.astype(np.float32)).split(lengths)))
    scores, states = passed(MultiVectors.pack([torch.eye(tokens)]), documents)[None]
    for pooling in POOLINGS:
        expected = [pooling.pool(document.T.double()) for document in documents]
        sums = torch.stack([pooling.score(state).sum() for state in expected])
        torch.testing.assert_close(scores[pooling][0].double(), sums, rtol=1e-6, atol=1e-5)
        for name, value in vars(states[pooling]).items():
            if value is not None:
                reference = torch.stack([getattr(state, name) for state in expected], 0 if name == "n" else 1)
                exact = name in ("argmax", "maximum", "values", "n")
                torch.testing.assert_close(value.to(reference.dtype), reference, rtol=0 if exact else 1e-6, atol=0 if exact else 1e-5)


def test_of_equal_similarities_the_first_position_wins_in_and_across_tiles():
    document = torch.tensor([[0.5, 0.0]]).repeat(3 * COLUMNS, 1)
    document[[2, 9, COLUMNS, 2 * COLUMNS]] = torch.tensor([1.0, 0.0])
    document[[COLUMNS + 3, COLUMNS + 4, 2 * COLUMNS + 1], 1] = 2.0
    _, states = passed(MultiVectors.pack([torch.eye(2)]), MultiVectors.pack([document]))[None]
    assert states[MaxSim(argmax=True)].argmax.flatten().tolist() == [2, COLUMNS + 3]


def test_the_largest_values_are_kept_with_their_duplicates_from_every_tile():
    values = torch.zeros(3 * COLUMNS)
    values[[1, COLUMNS, 3 * COLUMNS - 1]] = torch.tensor([3.0, 5.0, 5.0])
    poolings = (TopK(2), TopK(LARGEST_K))
    scores, states = passed(MultiVectors.pack([torch.ones(1, 1)]), MultiVectors.pack([values.unsqueeze(1)]), poolings)[None]
    assert states[TopK(2)].values.flatten().tolist() == [5, 5]
    assert states[TopK(LARGEST_K)].values.flatten().tolist() == [5, 5, 3, *[0] * (LARGEST_K - 3)]
    assert scores[TopK(LARGEST_K)].item() == 13 / LARGEST_K


def test_a_maximum_that_rises_from_tile_to_tile_rescales_the_softmax():
    similarities = torch.linspace(-1, 1, 5 * COLUMNS)
    scores, _ = passed(MultiVectors.pack([torch.ones(1, 1)]), MultiVectors.pack([similarities.unsqueeze(1)]), (Softmax(0.01), Softmax(1)))[
        None
    ]
    for pooling in (Softmax(0.01), Softmax(1)):
        weights = (similarities.double() / pooling.t).softmax(0)
        assert scores[pooling].item() == pytest.approx(float(weights @ similarities.double()), abs=1e-6)


def test_long_sums_keep_fp32_precision():
    document = torch.full((20_000, 1), 0.1)
    _, states = passed(MultiVectors.pack([torch.ones(1, 1)]), MultiVectors.pack([document]), (Mean(), Softmax(1)))[None]
    assert states[Mean()].total.item() == pytest.approx(float(np.float32(0.1)) * 20_000, rel=1e-6)
    assert states[Softmax(1)].weighted.item() == pytest.approx(float(np.float32(0.1)) * 20_000, rel=1e-6)


def test_what_the_kernel_does_not_compute_it_does_not_claim_to_know(monkeypatch):
    triton_device()
    assert TritonPass.knows(POOLINGS)
    assert not TritonPass.knows([MaxSim(), TopK(LARGEST_K + 1)])
    monkeypatch.setattr("lidiag.triton_pass.find_spec", lambda _: None)
    assert not TritonPass.knows([MaxSim()])


@pytest.mark.parametrize("error", [RuntimeError("Failed to find C compiler"), subprocess.CalledProcessError(1, "gcc")], ids=repr)
def test_where_triton_cannot_start_a_warning_says_why(monkeypatch, caplog, error):
    device = triton_device()

    def broken(*_):
        raise error

    _starts.cache_clear()
    assert TritonPass.starts(device)
    assert not caplog.records
    _starts.cache_clear()
    monkeypatch.setattr(TritonPass, "_launch", broken)
    assert not TritonPass.starts(device)
    assert not TritonPass.starts(device)
    (record,) = caplog.records
    assert str(error) in record.getMessage()
    _starts.cache_clear()


@pytest.mark.parametrize(
    ("known", "starts", "chosen"), [(True, True, "TritonPass"), (False, True, "EagerPass"), (True, False, "EagerPass")]
)
def test_a_gpu_gets_the_kernel_where_it_starts_and_knows_every_pooling_else_plain_torch(monkeypatch, known, starts, chosen):
    class ChosenError(Exception):
        pass

    def refuse(name):
        def start(*_, device, **__):
            raise ChosenError(f"{name} on {device}")

        return start

    for name in ("TritonPass", "EagerPass"):
        monkeypatch.setattr(similarity, name, refuse(name))
    similarity.TritonPass.knows, similarity.TritonPass.starts = lambda _: known, lambda _: starts
    with pytest.raises(ChosenError, match=f"{chosen} on cuda:0"):
        next(similarity_pass(unit_rows([1], 2), unit_rows([1], 2), Needs((MaxSim(),)), device="cuda:0"))


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from lidiag.triton_kernels import pool
from lidiag.triton_pass import COLUMNS, DEPTH, ROWS

pointers = dict.fromkeys(["queries", "documents", "scales", "planes"], "*fp32") | dict.fromkeys(["starts", "ends", "positions"], "*i64")
sizes = dict.fromkeys(["tokens", "count", "dim"], "i32")
options = {"k": 4, "temperatures": 2, "mean": True, "argmax": True, "places": 4, "slots": 2}
constants = options | {"rows": ROWS, "columns": COLUMNS, "depth": DEPTH}
source = triton.compiler.ASTSource(pool, pointers | sizes | dict.fromkeys(constants, "constexpr"), constants)
compiled = triton.compile(source, GPUTarget("cuda", 80, 32), {"num_warps": 8, "enable_fp_fusion": True})
print(len(compiled.asm["cubin"]) > 0, "fma.rn.f32" in compiled.asm["ptx"], "tf32" in compiled.asm["ptx"])
"""


def test_the_kernel_compiles_to_full_fp32_for_a_gpu_that_need_not_be_there(tmp_path):
    triton_device()
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["True", "True", "False"], done.stderr
