"""What is wrong with a workload, what is decided about it, and what came of that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .finding import Finding, Level
from .layer import Grade
from .observation import Scope
from .policy import ActionKind, Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What owns the containers: a Deployment, a bare Pod, … or a Container on a host without Kubernetes. `uid` is the object's."""

    kind: str
    namespace: str
    name: str
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What the controller knows of a pod from the Kubernetes API, joined to what a node says of its containers."""

    uid: str
    namespace: str
    name: str
    node: str
    labels: tuple[tuple[str, str], ...]
    workload: Workload
    revision: str = ""
    """The pod template hash, or another name of the revision; empty where the workload has none."""
    template: str = ""
    """The hash of the template that the pod was made from, of whatever kind its controller is; empty where there is none."""
    is_ready: bool | None = None
    """None where nobody knows."""
    ready_since: float = 0.0
    """Since when it is ready, or is not, by its node's clock: in whole seconds, cut down. 0 where nobody knows."""
    is_probed: bool = True
    """Whether a probe says when it is ready, and not the start of its containers alone."""
    is_ending: bool = False
    """Kubernetes takes it away, or has done so."""


class IncidentState(StrEnum):
    OPEN = "Open"
    ACTING = "Acting"
    RESOLVED = "Resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSummary:
    """One path in an incident, over all its pods: what a person reads first."""

    path: bytes
    change: str
    level: Level
    expected: str
    """`sha256:… 0644 0:0`, or `-`."""
    actual: str
    first_seen: float
    pods: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One counted finding, as an incident remembers it: enough to judge cause and thresholds."""

    finding_id: str
    path: bytes
    change: str
    level: Level
    pod_uid: str
    pod: str
    node: str
    revision: str
    at: float
    """When the look that found it began, Unix seconds."""
    actual: str
    expected: str = "-"
    rule: str = ""
    scope: Scope = Scope.DRIFT
    grade: Grade = Grade.FIRST_SEEN
    signature: str = ""
    """The same for the same drift in another container; empty where that cannot be said (a file nobody read)."""
    started_at: float = 0.0
    """When the container started, Unix seconds; 0 where nobody knows."""
    image_key: str = ""
    baseline_root: str = ""
    """Which baseline it differs from: the image's config digest, and the root; empty where nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One decided action of an incident: `name` is the Remediation's, `state` a `Phase`; `pod_uid` whom it is for, empty for the workload;
    `refused` the guard rail that forbade it."""

    name: str
    action: ActionKind
    at: float
    revision: str
    state: str
    pod_uid: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """One pod in which something was found, and when last."""

    pod_uid: str
    pod: str
    node: str
    revision: str
    last_seen: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """A baseline that findings were told against: the image's config digest (empty where nobody knows it), the root, and how far it was to
    be trusted."""

    key: str
    root: str
    grade: Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """Something that the controller itself holds against a subject, and that no file of a container shows: nodes that disagree about an
    image, an image that nobody signed. It stands until whoever holds it says that it does not any more.

    `subject` is what it is about: a Node, an Image in a namespace. `key` tells the matters of one subject apart, and is the same as long
    as it is about the same. `at` is when it began to stand, in Unix seconds.
    """

    subject: Workload
    key: str
    cause: Cause
    level: Level
    text: str
    """One sentence for people, with all the evidence."""
    at: float = 0.0
    nodes: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """All that is wrong with one workload from the first finding until it is intact again. At most one is open per workload. It may also
    be about a node or an image: then `matters` say what, and there are no findings.

    `seen` holds the strongest findings, at most `decide.reducer.MAX_SEEN`. `counted` are the short ids of all findings counted so far, at
    most `MAX_COUNTED`; there `count` stops, so it then means "at least". `affected` holds every pod, at most `MAX_AFFECTED`.
    `matters` are those that stand, or stood last, the gravest first, at most `decide.reducer.MAX_MATTERS`; `matter_count` counts all.
    `alerted_level` and `alerted_causes` are what people were told already.
    """

    id: str
    workload: Workload
    state: IncidentState
    cause: Cause
    level: Level
    first_seen: float
    last_seen: float
    count: int = 0
    seen: tuple[Seen, ...] = ()
    taken: tuple[Taken, ...] = ()
    policy: str = ""
    explanation: str = ""
    counted: tuple[str, ...] = ()
    affected: tuple[Affected, ...] = ()
    alerted_level: Level | None = None
    alerted_causes: tuple[Cause, ...] = ()
    matters: tuple[Matter, ...] = ()
    matter_count: int = 0

    @property
    def pods(self) -> tuple[str, ...]:
        return tuple(sorted({a.pod for a in self.affected}.union(*(m.pods for m in self.matters))))

    @property
    def against(self) -> tuple[Against, ...]:
        """The baselines of the findings that are remembered, the least trusted first."""
        grades: dict[tuple[str, str], Grade] = {}
        for one in self.seen:
            place = one.image_key, one.baseline_root
            grades[place] = min(one.grade, grades.get(place, one.grade))
        made = (Against(key=key, root=root, grade=grade) for (key, root), grade in grades.items())
        return tuple(sorted(made, key=lambda a: (a.grade, a.key, a.root)))

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(sorted({a.node for a in self.affected}.union(*(m.nodes for m in self.matters))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A finding joined with what the controller knows of its pod: what `decide` works on."""

    finding: Finding
    pod: PodFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One thing to do, or not to do and why. `name` is deterministic: the same decision made twice is one Remediation."""

    name: str
    incident_id: str
    action: ActionKind
    workload: Workload
    pod: PodFacts | None
    reason: str
    policy: str
    at: float
    to: str = ""
    """For RollBack: `LastKnownGood` or `Previous`."""
    target: str = ""
    """For RollBack: `RevisionRecord.name` of the revision chosen."""
    refused: str = ""
    """Not empty: the guard rail that forbids the action. A refused decision is recorded and told, never carried out."""


class Phase(StrEnum):
    """The life of a Remediation."""

    PROPOSED = "Proposed"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    VERIFIED = "Verified"
    FAILED = "Failed"
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a decision."""

    decision: Decision
    phase: Phase
    message: str
    at: float
    revision: str = ""
    """For RollBack: the revision (template hash) rolled back to."""
