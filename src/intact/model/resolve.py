"""Paths with the links of an image followed inside its root: what a process in the container is shown."""

from __future__ import annotations

from collections.abc import Callable

from .entry import Entry, Kind

MAX_LINKS = 40
"""path_resolution(7)."""


def resolve(path: bytes, find: Callable[[bytes], Entry | None]) -> bytes | None:
    """`path` with the image's links followed inside its root (path_resolution(7)); None after 40 links."""
    todo = [part for part in reversed(path.split(b"/")) if part]
    done: list[bytes] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == b".":
            continue
        if part == b"..":
            done = done[:-1]
            continue
        here = b"/" + b"/".join([*done, part])
        entry = find(here)
        if entry is None or entry.kind is not Kind.SYMLINK:
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            return None
        if entry.target.startswith(b"/"):
            done = []
        todo.extend(p for p in reversed(entry.target.split(b"/")) if p)
    return b"/" + b"/".join(done)
