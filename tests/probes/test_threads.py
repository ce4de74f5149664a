from __future__ import annotations

import threading

import pytest
import torch

from lidiag.probes._threads import in_threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items_and_torch_keeps_its_threads(two_threads):
    assert list(in_threads(lambda item: (item, torch.get_num_threads()), range(50), 8)) == [(item, 1) for item in range(50)]
    assert torch.get_num_threads() == 2


def test_no_more_threads_than_are_asked_for(two_threads):
    assert len(set(in_threads(lambda _: threading.get_ident(), range(50), 1))) == 1


def test_an_error_comes_through_and_torch_keeps_its_threads(two_threads):
    def broken(item):
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        list(in_threads(broken, range(3), 8))
    assert torch.get_num_threads() == 2
