"""What differs in one container now, for people to read: each difference with what its content says."""

from __future__ import annotations

from dataclasses import dataclass

from .container import Container
from .digest import Digest
from .entry import Entry
from .finding import Change
from .layer import Grade
from .observation import Scope, Unobserved
from .process import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownDifference:
    """One path that is not as the image says.

    `level` is empty where the default rules are silent. `was` and `now` say what kind of content it had and has; `changed_at`
    is when the node's kernel last noted a change of it (st_ctime, Unix seconds), 0 where nothing is left to ask. `text` are the lines of a
    unified difference, without secrets; where there are none, `untold` says why. `process` is who did it, where somebody heard.
    """

    path: bytes
    change: Change
    fields: tuple[str, ...] = ()
    expected: Entry | None
    actual: Entry | None
    scope: Scope
    level: str = ""
    rule: str = ""
    was: str = ""
    now: str = ""
    changed_at: float = 0.0
    process: str = ""
    writer: Writer | None = None
    text: tuple[str, ...] = ()
    untold: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """All of one container, the gravest first. `left_out` counts the differences beyond the bound; `unobserved` is what could not be
    looked at: a container of which nothing could, says why there, and has no baseline. `has_secrets`: they were asked for, and nothing was
    redacted."""

    container: Container
    baseline_root: Digest | None
    grade: Grade | None
    at: float
    differences: tuple[ShownDifference, ...] = ()
    unobserved: tuple[Unobserved, ...] = ()
    left_out: int = 0
    silent: int = 0
    """Differences that the default rules are silent about, where they were not asked for; also those that were counted and not listed."""
    has_secrets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownContainers:
    """What one node shows of the containers it was asked for."""

    containers: tuple[Shown, ...]
