"""`dir:PATH`: a file tree on disk → its encoded records.

In: a path. Out: records, the directory's own at `/`, in no particular order. One process reads small trees; large ones are shared out
between processes, one for each core, directory by directory (`reading.DirectoryReader` is what each of them does). What cannot be read is
told to the caller, by default as InputError: a baseline with gaps is none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NoReturn

from intact.model.digest import SHA256, Algorithms
from intact.model.entry import display_path
from intact.model.errors import InputError
from intact.model.hashing import SLOW

from .reading import MAX_ENTRIES, Batch, DirectoryReader

MAX_PROCESSES = 8
ALONE_ENTRIES = 4_000
"""Up to here one process is done before others would have begun."""

Unreadable = Callable[[bytes, str], None]
"""Told the path inside the tree and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """How far a walk is."""

    entries: int
    bytes_hashed: int


def walk_directory(
    path: str,
    *,
    algorithms: Algorithms = SHA256,
    unreadable: Unreadable | None = None,
    progress: Callable[[Walked], None] = lambda _: None,
    processes: int | None = None,
) -> Iterator[bytes]:
    """The records of the tree at `path`, by at most `processes`; by default one for each core.

    Raises InputError if it is no directory; what cannot be read inside goes to `unreadable`.
    """

    def refuse(inside: bytes, reason: str) -> NoReturn:
        raise InputError(f"dir:{path}: {display_path(inside)}: {reason}", code="Unreadable", hint="root can read everything")

    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"dir:{path}: {error.strerror}", code="NoSuchImage") from None
    cores = min(len(os.sched_getaffinity(0)), MAX_PROCESSES)
    entries = size = 0
    try:
        for batch in _read_all(root, algorithms, processes or cores):
            for inside, reason in batch.unreadable:
                (unreadable or refuse)(inside, reason)
            entries += len(batch.records)
            size += batch.bytes_hashed
            if entries > MAX_ENTRIES:
                raise InputError(f"the tree has more than {MAX_ENTRIES} entries", code="TooManyEntries")
            yield from batch.records
            progress(Walked(entries=entries, bytes_hashed=size))
    finally:
        os.close(root)


def _read_all(root: int, algorithms: Algorithms, processes: int) -> Iterator[Batch]:
    waiting, entries = [b""], 0
    alone = 0 if SLOW.intersection(algorithms.names) else ALONE_ENTRIES
    with closing(DirectoryReader(root, algorithms)) as reader:
        yield Batch(records=[reader.read_root()])
        while waiting and (processes == 1 or entries < alone):
            batch = reader.read(waiting)
            waiting = batch.rest
            entries += len(batch.records)
            yield batch
        if waiting:
            from .sharing import share_out  # not loaded where nothing is shared

            yield from share_out(waiting, reader, root, algorithms, processes - 1)
