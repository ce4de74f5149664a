import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from lidiag import battery
from lidiag.battery import measure
from lidiag.errors import LidiagError
from lidiag.measurement import Skip
from lidiag.pooling import MaxSim, Mean, Single
from lidiag.similarity import Needs, Tiling, similarity_pass
from lidiag.watch import Silent
from tests.probes.toy import toy_bench


@pytest.fixture
def bench():
    torch.manual_seed(0)
    queries = [torch.randn(3, 8) for _ in range(4)]
    documents = [torch.randn(n, 8) for n in (2, 5, 1, 7)]
    return toy_bench(queries, documents, {i: {i: 1} for i in range(4)})


@dataclass(frozen=True)
class Scores:
    pooling: object = MaxSim()
    passes: int = 1
    raises: type[Exception] | None = None
    when: str = "block"

    name: ClassVar = "scores"
    version: ClassVar = 1
    question: ClassVar = "?"
    source: ClassVar = None
    formulas: ClassVar = {}
    primary: ClassVar = "mean_score"

    def measure(self, bench) -> Iterator:
        found = bench.findings()
        if self.raises and self.when == "start":
            raise self.raises("on purpose")
        for step in range(self.passes):
            values = np.full(len(bench), np.nan)
            while block := (yield Needs((self.pooling,))):
                if self.raises and self.when == "block":
                    raise self.raises("on purpose")
                values[block.queries.start : block.queries.stop] = block.scores(self.pooling).mean(1).numpy()
            found.mean("mean_score", {"pooling": repr(self.pooling), "pass": step}, values)
        if self.raises and self.when == "end":
            raise self.raises("on purpose")
        return found


def truth(bench, reduce):
    scores = [[float(reduce(q @ d.T).sum()) for d in bench.documents] for q in bench.queries]
    return np.mean(scores, axis=1)


def test_probes_share_one_pass_and_get_what_each_asked_for(bench, monkeypatch):
    passes = []
    real = battery.similarity_pass
    monkeypatch.setattr(battery, "similarity_pass", lambda *a, **k: passes.append(a[2]) or real(*a, **k))
    a, b = measure([Scores(), Scores(Mean())], bench, Silent())
    assert len(passes) == 1
    np.testing.assert_allclose(a.findings.per_query[0].values, truth(bench, lambda s: s.amax(1)), atol=1e-5)
    np.testing.assert_allclose(b.findings.per_query[0].values, truth(bench, lambda s: s.mean(1)), atol=1e-5)


def test_a_probe_may_ask_for_a_second_pass(bench):
    one, two = measure([Scores(), Scores(passes=2)], bench, Silent())
    assert (one.status, two.status) == ("passed", "passed")
    assert len(two.findings.measurements) == 2


@pytest.mark.parametrize("when", ["start", "block", "end"])
def test_a_probe_that_raises_is_broken_and_the_others_go_on(bench, when):
    broken, fine = measure([Scores(raises=ZeroDivisionError, when=when), Scores()], bench, Silent())
    assert (broken.status, fine.status) == ("broken", "passed")
    assert "ZeroDivisionError: on purpose" in broken.reason
    assert broken.findings.measurements == []


@pytest.mark.parametrize("when", ["start", "block", "end"])
def test_a_probe_that_does_not_apply_is_skipped_with_its_reason(bench, when):
    (skipped,) = measure([Scores(raises=Skip, when=when)], bench, Silent())
    assert (skipped.status, skipped.reason) == ("skipped", "on purpose")


def test_a_score_over_pooled_vectors_skips_a_model_without_them(bench):
    skipped, fine = measure([Scores(Single()), Scores()], bench, Silent())
    assert (skipped.status, fine.status) == ("skipped", "passed")
    assert "pooled vector" in skipped.reason


def test_a_probe_that_returns_nothing_is_broken(bench):
    @dataclass(frozen=True)
    class Nothing(Scores):
        def measure(self, bench):
            yield Needs((MaxSim(),))

    (broken,) = measure([Nothing()], bench, Silent())
    assert broken.status == "broken"


def test_an_interrupt_is_no_result(bench):
    with pytest.raises(KeyboardInterrupt):
        measure([Scores(raises=KeyboardInterrupt)], bench, Silent())


def test_what_a_person_can_mend_breaks_a_probe_without_a_traceback(bench, caplog):
    class FullError(LidiagError):
        def __init__(self, what="The disk is full."):
            super().__init__(what, "Free space.")

    broken, fine = measure([Scores(raises=FullError), Scores(Mean())], bench, Silent())
    assert (broken.status, broken.reason, fine.status) == ("broken", "on purpose Free space.", "passed")
    assert "Traceback" not in caplog.text


def test_a_block_is_forgotten_before_the_next_is_made(bench, monkeypatch):
    # A probe holds its block until it is given another one: two blocks of states would need room together.
    made = []

    def blocks(*arguments, **options):
        for block in similarity_pass(*arguments, **options):
            made.append(block)
            yield block
            assert not block.whole.totals
            assert not block.whole.states

    monkeypatch.setattr(battery, "similarity_pass", blocks)
    whole = measure([Scores()], bench, Silent())[0].findings
    assert len(made) == 1
    # 16 scores, with room for 4 and half as many more: three blocks.
    parts = measure([Scores()], dataclasses.replace(bench, tiling=Tiling(floats=4)), Silent())[0].findings
    assert len(made) == 1 + 3
    assert parts.measurements[0].value == whole.measurements[0].value
