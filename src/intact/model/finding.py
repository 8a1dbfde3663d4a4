"""Differences between a baseline and an observation, and the findings that are worth telling."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from .container import Container
from .digest import Digest
from .entry import Entry, describe, display_path
from .layer import Grade
from .observation import Scope, Unobserved
from .process import Writer

MAX_REASON = 400
"""Characters of a reason that people are shown."""


class Change(StrEnum):
    """The kinds of difference; where several hold, the first in this order is the one named. The last two are of scope LIVE alone."""

    ADDED = "Added"
    DELETED = "Deleted"
    TYPE = "Type"
    MODIFIED = "Modified"
    METADATA = "Metadata"
    UNREAD = "Unread"
    """Not known to differ: type and size are the image's, but nobody read the content. `judge` says Unobserved, never clean."""
    EXECUTED = "Executed"
    """A process runs or maps what is not the image's, or runs where the container's own processes do not."""
    MOUNTED = "Mounted"
    """Something is mounted over the path that the container's configuration does not mount there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One path that is not as the image says. `fields` names what differs, in this order: `type content size mode uid gid xattrs
    target device`; `unread` where equal content was not shown; and of a single read-only layer `whiteout` and `opaque`, where it no longer
    removes what it removed, or removes what it did not (`expected` and `actual` of a whiteout are None)."""

    path: bytes
    change: Change
    expected: Entry | None
    actual: Entry | None
    fields: tuple[str, ...] = ()
    reason: str = ""
    """Why the content was not read, where that is known; of what is executed or mounted, what it is."""


def describe_actual(difference: Difference) -> str:
    """What is there now, in one line for people; of what is mounted or in memory alone, what that is."""
    if difference.actual is None and difference.reason:
        return display_path(difference.reason.encode("utf-8", "backslashreplace"), MAX_REASON)
    return describe(difference.actual)


class Level(IntEnum):
    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def title(self) -> str:
        return self.name.title()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A difference judged: `rule` names the default rule that spoke, `level` what it says before any policy.

    `scope` tells whether the writable layer, the read-only layers, or what runs and is mounted differs. `observed_at` is when the look
    began; `process` is who did it where that is known, `exited` where it is not, empty where nobody looked.
    """

    container: Container
    difference: Difference
    level: Level
    rule: str
    scope: Scope
    baseline_root: Digest
    grade: Grade
    observed_at: float
    process: str = ""
    changed_at: float = 0.0
    """When it was made, by the node's clock and what no container can set; of what is gone, no earlier than it went. 0: nobody knows."""
    placed_at: float = 0.0
    """No earlier than the directories above it that the image does not have were put there: that of one moves with each name that is added
    to it, too. 0 where there is none."""
    lines: Digest | None = None
    """Of a small text: of the set of its lines, the same whatever their order and however often they occur."""
    writer: Writer | None = None
    """What is known of who did it; None where nobody was heard, or nobody can be named. `process` says the same in one line."""

    @property
    def id(self) -> str:
        """The same difference of the same container has the same id, so that it can be told any number of times and counts once."""
        d = self.difference
        state = d.actual and (d.actual.kind.value, d.actual.mode, d.actual.uid, d.actual.gid, d.actual.size_bytes, str(d.actual.digest),
                              d.actual.target, d.actual.device, d.actual.xattrs)  # fmt: skip
        live = (self.rule, d.reason) if self.scope is Scope.LIVE else ()
        text = repr(("finding v1", self.container.id, d.path, d.change.value, state, self.scope.value, *live))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """Differences that are told as a number: `count` paths like `pattern`, silent by rule `rule`."""

    pattern: str
    rule: str
    count: int


class State(StrEnum):
    """The verdict on a container."""

    INTACT = "Intact"
    DRIFTED = "Drifted"
    UNOBSERVED = "Unobserved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one comparison says of one container, clean or not. `unobserved` is what kept it from being complete."""

    container: Container
    state: State
    scope: Scope
    findings: tuple[Finding, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    unobserved: tuple[Unobserved, ...] = ()
    baseline_root: Digest | None = None
    grade: Grade | None = None
    untold: int = 0
    """Findings beyond the bound of one verdict; `aggregates` counts them by rule."""
    compared: int = 0
    """Paths compared."""
    at: float = 0.0
