"""A process that runs again and again holds no more than before."""

from __future__ import annotations

import pytest

from tests.soak.run import State, growth, soak


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIDIAG_CACHE", str(tmp_path / "cache"))


def test_a_few_runs_leave_no_file_and_no_thread_open(tmp_path):
    *_, before, _, _, after = soak(6, tmp_path)
    assert (after.files, after.threads) == (before.files, before.threads)
    assert after.memory - before.memory < 20


@pytest.mark.slow
def test_two_hundred_runs_take_no_more_memory_than_a_few(tmp_path):
    states = list(soak(200, tmp_path))
    assert {(state.files, state.threads) for state in states[2:]} == {(states[2].files, states[2].threads)}
    assert growth(states) < 2  # MiB per 100 runs
    assert states[-1].memory - states[9].memory < 20


def test_growth_is_the_slope_per_hundred_runs():
    assert growth([State(i, 700 + 0.05 * i, 6, 2) for i in range(1, 201)]) == pytest.approx(5)
    assert growth([State(i, 700.0, 6, 2) for i in range(1, 201)]) == pytest.approx(0)
