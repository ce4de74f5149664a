"""Work on one query or block after another, one per thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[Result]:
    """Yield `work(item)` in the order of the items, on as many threads as torch may use, but no more than `most`.

    Torch's own threads would be woken and awaited for every small product: on a busy machine that takes ten times as long as
    the work. And as every item is computed by one thread, their number changes no byte.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(min(threads, most), initializer=torch.set_num_threads, initargs=(1,)) as workers:
            yield from workers.map(work, items)
    finally:
        torch.set_num_threads(threads)
