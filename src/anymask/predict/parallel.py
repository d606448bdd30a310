"""Work in as many threads as torch would use, each with one.

Decoding a few prompts is many small operations, which two threads hardly share but two batches
share well: on two cores it is done in little more than half the time. What comes out does not
depend on the number of threads.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")


def in_parallel(work: Callable[[A], B], items: Iterable[A], device: torch.device) -> Iterator[B]:
    """Results in the order of the items; at most two a thread wait to be taken.

    On other devices than the CPU, and with one thread, it is a plain loop.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == 1:
                    # a thread's own number becomes that of threads begun later: put it back
                    torch.set_num_threads(threads)
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(threads)
