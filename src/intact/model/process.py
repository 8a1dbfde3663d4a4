"""A process that changed something, as far as that is certain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """A process from which another descends. `executable` is empty where it is not known."""

    pid: int
    executable: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who changed a path.

    `pid` is the host's. `executable` is the program's path as the process sees it. `name` is what the program was called by when it began:
    a script's name, or a link's. `arguments` are what the process says of itself, and empty where it had exited before anybody could ask.
    `parents` are those it descends from, the nearest first, at most four. `uid` is the user as the container sees it, None where that is
    not known. `started_at` is in Unix seconds. `is_inside` says whether it ran in the container's own file system, None where that is not
    known.
    """

    pid: int
    executable: bytes
    name: bytes = b""
    arguments: tuple[bytes, ...] = ()
    parents: tuple[Ancestor, ...] = ()
    uid: int | None = None
    started_at: float = 0.0
    has_exited: bool = False
    is_inside: bool | None = None
