"""Directories shared out between helper processes.

In: directories that are to be read. Out: batches, as they come. Each helper always has something to read as long as there is anything; what
it finds below is shared out again. When this ends, however it ends, no helper is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing

from intact.model.digest import Algorithms

from .helper import Helper
from .reading import Batch


def share_out(waiting: list[bytes], root: int, algorithms: Algorithms, processes: int) -> Iterator[Batch]:
    """What lies in and below the directories `waiting`, read by so many `processes`."""
    with ExitStack() as stack:
        idle = [stack.enter_context(closing(Helper(root, algorithms))) for _ in range(processes)]
        threads = stack.enter_context(ThreadPoolExecutor(processes, "helper"))
        for helper in idle:
            stack.callback(helper.kill)  # before the threads are waited for, should this end early
        busy: dict[Future[Batch], Helper] = {}
        while waiting or busy:
            while waiting and idle:
                share = max(1, len(waiting) // (2 * processes))
                waiting, given = waiting[:-share], waiting[-share:]
                helper = idle.pop()
                busy[threads.submit(helper.read, given)] = helper
            done, _ = wait(busy, return_when=FIRST_COMPLETED)
            for future in done:
                idle.append(busy.pop(future))
                batch = future.result()
                waiting += batch.rest
                yield batch
