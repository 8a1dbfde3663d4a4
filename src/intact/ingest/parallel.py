"""Several layers of an image read at once, each from its own connection: their tables in the image's order, whatever came first.

1. At most `workers` are read at a time; each streams, so that memory does not grow with the size of a layer.
2. What a layer may keep in memory (`Limits.record_bytes`) is shared between them. One that needs more than its share is read again, alone.
3. The first error, in the image's order, is the one that counts; it ends the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from intact.model.errors import InputError
from intact.model.layer import LayerTable

from .limits import Limits

Read = Callable[[int, Limits, Callable[[], None]], LayerTable]
"""(index of a layer, its limits, what to call now and then) → its table."""


class _Ended(Exception):
    """Another layer failed."""


def read_layers(indexes: list[int], read: Read, *, workers: int, limits: Limits) -> Mapping[int, LayerTable]:
    """The tables of the layers `indexes`, by index. Raises what `read` raises."""
    workers = min(workers, len(indexes))
    if workers <= 1:
        return {index: read(index, limits, lambda: None) for index in indexes}
    ended = threading.Event()

    def check() -> None:
        if ended.is_set():
            raise _Ended

    share = replace(limits, record_bytes=limits.record_bytes // workers)  # 2

    def read_share(index: int) -> LayerTable | None:
        check()
        try:
            return read(index, share, check)
        except InputError as error:
            if error.code == "TooLarge":
                return None
            ended.set()
            raise
        except BaseException:
            ended.set()
            raise

    tables: dict[int, LayerTable] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="layer") as pool:  # 1
        futures: dict[int, Future[LayerTable | None]] = {index: pool.submit(read_share, index) for index in indexes}
        try:
            for future in futures.values():
                future.exception()
        except BaseException:  # interrupted
            ended.set()
            pool.shutdown(cancel_futures=True)
            raise
    failed = [error for future in futures.values() if (error := future.exception()) is not None]
    for error in failed:  # 3
        if not isinstance(error, _Ended):
            raise error
    for index, future in futures.items():
        tables[index] = future.result() or read(index, limits, lambda: None)
    return tables
