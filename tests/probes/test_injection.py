from __future__ import annotations

import numpy as np
import torch

from lidiag.pooling import MaxSim, Softmax, TopK
from lidiag.probes import _injection
from lidiag.probes import _injection_kernels as kernels
from lidiag.probes._injection import Ranking
from lidiag.probes._quality import Judgements, Order
from lidiag.similarity import Needs, similarity_pass
from tests.probes.toy import gaussian, toy_bench

POOLINGS = (MaxSim(), TopK(2), Softmax(0.1))


def test_a_set_is_summed_up_over_those_that_get_it():
    scores = np.array([5, 4, 3, 2, 1], np.float32)
    part = np.array([kernels.FRIEND, kernels.FOE, kernels.FOE_OUTSIDE, kernels.FOE_OUTSIDE, kernels.EMPTY], np.uint8)
    gained = [[9, -1, 2, 1.5, 9], [0, 0, 0, 0, 0]]
    positive = [[9, 0, 2, 1.5, 9], [0, 0, 0, 0, 0]]
    share = [[0.25, 0.5, 0.125, 1, 9], [0, 0, 0, 0, 0]]
    after, sums = np.empty((2, 5), np.float32), np.zeros((2, 4))
    merged = np.array([gained, positive, share], np.float32)
    for some in (slice(0, 2), slice(2, 5)):  # part by part
        kernels.tally(
            scores[some],
            part[some],
            np.float32(3.5),
            np.ascontiguousarray(merged[..., some]),
            there := np.empty((2, 5), np.float32)[:, some].copy(),
            sums,
        )
        after[:, some] = there
    assert after.tolist() == [[5, 3, 5, 3.5, 1], [5, 4, 3, 2, 1]]
    assert sums.tolist() == [[3.5, 1.625, 0.25, 1], [0, 0, 0, 0]]  # 3.5 only ties with the bar


def test_documents_in_parts_are_those_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    documents = [gaussian(generator, size, 4) for size in (3, 0, 2, 5, 0, 1, 4, 4, 2, 3, 0, 6, 2, 1, 3)]  # some are empty
    bench = toy_bench([gaussian(generator, 3, 4)], documents, {0: {1: 1, 3: 1, 6: 2}})
    (block,) = similarity_pass(bench.queries, bench.documents, Needs(POOLINGS, tokens=True))
    for pooling in POOLINGS:
        sets = pooling.pool(torch.randn(3, 4, 6, generator=generator))
        sets = type(sets)(**(vars(sets) | {"n": sets.n.expand(4)}))
        order, judgements = Order([document.id for document in bench.dataset.documents]), Judgements.of(bench, 0)
        ranking = Ranking.of(pooling, order, judgements, block.scores(pooling)[0], block.state_of(pooling, 0))
        whole = ranking.under(sets)
        monkeypatch.setattr(_injection, "_SCORES", 8)  # two documents of four sets
        np.testing.assert_allclose(ranking.under(sets), whole, rtol=1e-6)
        monkeypatch.undo()
