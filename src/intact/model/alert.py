"""What people are told: one alert, ready to be sent to any place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .finding import Level
from .incident import Workload


class AlertKind(StrEnum):
    OPENED = "IncidentOpened"
    RAISED = "IncidentRaised"
    """The level rose or the cause became another."""
    ACTION = "Action"
    """Something was decided, done, proven, or refused."""
    RESOLVED = "IncidentResolved"
    FORGED = "ForgedReport"
    """A node spoke of what is not its own."""
    BLIND = "CoverageLost"
    """A container that was seen cannot be looked at any more, or a node reports nothing."""
    SUPPRESSED = "AlertsSuppressed"
    """Alerts that a rate limit kept back, as a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPath:
    """One path that differs: `expected` and `actual` read `sha256:… 0644 0:0`, or `-`; `process` is empty where nobody knows."""

    path: bytes
    change: str
    level: Level
    expected: str
    actual: str
    pod: str
    node: str
    container: str
    process: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """`id` is made from what is told, so that telling it twice is one alert. `paths` are the gravest first, `paths_total` counts all.
    `action` is empty where nothing was decided; `phase` is what became of it. `suppressed` counts alerts kept back before this one."""

    id: str
    kind: AlertKind
    at: float
    level: Level
    summary: str
    """One sentence for people, in plain text without control characters."""
    incident_id: str = ""
    workload: Workload | None = None
    cause: str = ""
    explanation: str = ""
    policy: str = ""
    first_seen: float = 0.0
    count: int = 0
    pods: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    paths: tuple[AlertPath, ...] = ()
    paths_total: int = 0
    action: str = ""
    phase: str = ""
    reason: str = ""
    suppressed: int = 0
    grade: str = ""
    """How far the least trusted baseline behind it is to be trusted; empty where no finding is."""
    baselines: tuple[str, ...] = ()
    """The config digests of the images whose baselines it was told against."""
