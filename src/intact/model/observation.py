"""What was seen of a container's files, and what could not be seen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .container import Container
from .entry import Entry


class Scope(StrEnum):
    """What silence about a path means."""

    DRIFT = "drift"
    """The writable layer was scanned: a path that is not mentioned is as the layers beneath say."""
    TREE = "tree"
    """The whole tree was walked: a path that is not mentioned does not exist."""
    LAYERS = "layers"
    """The read-only layers were read: as TREE, but of the image's own part of the tree."""
    LIVE = "live"
    """What runs and what is mounted was looked at: only what is mentioned is known to be other than the image and the container's
    configuration say."""


class Reading(StrEnum):
    """How much of a file that is not known to be the image's is worth reading."""

    NOTHING = "nothing"
    """Nobody will ask what it holds."""
    HEAD = "head"
    """Its first bytes; all of it if they are those of code."""
    WHOLE = "whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unobserved:
    """A path that could not be looked at, and why. Never the same as clean."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at one container between `started_at` and `finished_at` (Unix seconds).

    `present` holds what exists, `absent` the paths a whiteout removes, `opaque` the directories below which nothing of the layers beneath
    is visible (their own entry is in `present`). A regular file whose size already differs from the image's may come without a digest.
    `targets` are the mount targets of the container's own configuration. `runnable` names the added files whose first bytes are those of a
    program, a script or bytecode, where they were read. `unlisted` counts entries seen and left out because a bound bit;
    each such bound also stands in `unobserved`. `silent` counts added entries that were left out as no rule speaks for them.
    """

    container: Container
    scope: Scope
    present: tuple[Entry, ...] = ()
    absent: tuple[bytes, ...] = ()
    opaque: tuple[bytes, ...] = ()
    unobserved: tuple[Unobserved, ...] = ()
    targets: tuple[bytes, ...] = ()
    runnable: tuple[bytes, ...] = ()
    unlisted: int = 0
    silent: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
