"""What was read of files before, so that an unchanged file costs one stat.

In: a file's stat and what was read. Out: the same again while the stat is the same. A file that had changed within the last minute when it
was read is read again: a store through a shared mapping into a page that is already dirty leaves the stat as it was until the kernel has
written the page back. ctime cannot be set from a container; inode numbers are reused at once and are never a key alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar

from intact.model.digest import Algorithms
from intact.observe.ports import Content

HOT_NS = 60 * 10**9
_LARGEST_ATTRIBUTES = 512
"""Longer ones are read again: one block on a disk can hold those of thousands of files, and memory could not."""
HEAD_BYTES = 16
"""So many first bytes of a file are remembered."""

T = TypeVar("T")

Attributes = tuple[tuple[tuple[bytes, bytes], ...], tuple[tuple[bytes, bytes], ...]]
"""The compared attributes and overlayfs's own."""


def identify(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """What stays the same as long as a file does: device, inode, size, mtime and ctime in ns."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(slots=True)
class KnownFiles:
    """A bounded memory of files; the oldest is forgotten first."""

    limit: int = 50_000
    clock_ns: Callable[[], int] = time.time_ns
    _attributes: dict[Hashable, tuple[tuple[int, ...], Attributes]] = field(default_factory=dict)
    _contents: dict[Hashable, tuple[tuple[int, ...], Content]] = field(default_factory=dict)
    _heads: dict[Hashable, tuple[tuple[int, ...], bytes]] = field(default_factory=dict)
    _keeping: threading.Lock = field(default_factory=threading.Lock)

    def attributes(self, identity: tuple[int, int, int, int, int]) -> Attributes | None:
        held = self._attributes.get(identity[:2])
        return held[1] if held and held[0] == identity else None

    def content(self, identity: tuple[int, int, int, int, int], algorithms: Algorithms) -> Content | None:
        held = self._contents.get((*identity[:2], algorithms))
        return held[1] if held and held[0] == identity else None

    def head(self, identity: tuple[int, int, int, int, int]) -> bytes | None:
        held = self._heads.get(identity[:2])
        return held[1] if held and held[0] == identity else None

    def keep_head(self, identity: tuple[int, int, int, int, int], head: bytes) -> None:
        """`head`: the first `HEAD_BYTES`, or what there is."""
        if self._is_cold(identity):
            with self._keeping:
                _keep(self._heads, identity[:2], identity, head, self.limit)

    def keep_attributes(self, identity: tuple[int, int, int, int, int], attributes: Attributes) -> None:
        if self._is_cold(identity) and sum(len(value) for both in attributes for _, value in both) <= _LARGEST_ATTRIBUTES:
            with self._keeping:
                _keep(self._attributes, identity[:2], identity, attributes, self.limit)

    def keep_content(self, identity: tuple[int, int, int, int, int], algorithms: Algorithms, content: Content) -> None:
        if self._is_cold(identity):
            with self._keeping:
                _keep(self._contents, (*identity[:2], algorithms), identity, content, self.limit)

    def _is_cold(self, identity: tuple[int, int, int, int, int]) -> bool:
        return self.clock_ns() - identity[4] > HOT_NS


def _keep(held: dict[Hashable, tuple[tuple[int, ...], T]], key: Hashable, identity: tuple[int, ...], value: T, limit: int) -> None:
    held.pop(key, None)
    while len(held) >= limit:
        del held[next(iter(held))]
    held[key] = identity, value
