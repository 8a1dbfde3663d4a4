"""What a container's writable layer holds, counted without Intact: the overlay's upper directory beside the read-only ones below it.

In: the overlay's directories as the machine sees them. Out: counts, as `added/modified/metadata/deleted/copied up and identical`.
"""

from __future__ import annotations

import filecmp
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Counts:
    """Entries of every type; `size_bytes` is that of added and modified regular files."""

    added: int = 0
    modified: int = 0
    metadata: int = 0
    deleted: int = 0
    identical: int = 0
    size_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.added}/{self.modified}/{self.metadata}/{self.deleted}/{self.identical}"


def count_upper(upper: Path, lowers: Sequence[Path]) -> Counts:
    """The service goes on meanwhile: what vanishes under our eyes is not counted."""
    counts = Counts()
    for path, status in _walk(upper):
        name = path.relative_to(upper)
        below = _find_below(name, lowers)
        try:
            _count(counts, path, status, below)
        except FileNotFoundError:
            continue
    return counts


def _count(counts: Counts, path: Path, status: os.stat_result, below: Path | None) -> None:
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        counts.deleted += below is not None
        return
    if below is None:
        counts.added += 1
        counts.size_bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
        return
    before = below.lstat()
    same_metadata = (before.st_mode, before.st_uid, before.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
    if stat.S_ISREG(status.st_mode) and not (stat.S_ISREG(before.st_mode) and filecmp.cmp(path, below, shallow=False)):
        counts.modified += 1
        counts.size_bytes += status.st_size
    elif stat.S_ISLNK(status.st_mode) and not (stat.S_ISLNK(before.st_mode) and os.readlink(path) == os.readlink(below)):
        counts.modified += 1
    elif not same_metadata:
        counts.metadata += 1
    elif not stat.S_ISDIR(status.st_mode):
        counts.identical += 1


def _walk(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        children = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for child in children:
        try:
            status = child.lstat()
        except FileNotFoundError:
            continue
        yield child, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(child)


def _find_below(name: Path, lowers: Sequence[Path]) -> Path | None:
    """The topmost read-only layer's entry, or None where there is none or a layer removed it."""
    for lower in lowers:
        path = lower / name
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return None if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0 else path
    return None
