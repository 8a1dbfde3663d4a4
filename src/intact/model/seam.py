"""The one seam between node and cluster: reports up, plan and commands down. `run` has its two adapters."""

from __future__ import annotations

from dataclasses import dataclass

from .container import Container
from .digest import Digest
from .encoding import VERSION
from .finding import Change, Level, State, Verdict

EXPECTED = "Expected"
"""The cluster's word on a container that its node calls drifted: all that differs is expected, and nobody is alarmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time in which the node could not watch, or events that were lost: always followed by a full rescan, never silent."""

    since: float
    until: float
    reason: str
    events_lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the node says of one of its containers: how it is watched, and if not, why."""

    container: Container
    verdict: str
    """`Intact`, `Drifted`, `Unobserved` or `Pending`, as the node says; `EXPECTED` where it says `Drifted`, and the cluster knows why."""
    baseline_root: Digest | None
    grade: str
    verified_at: float
    layers_verified_at: float
    reason: str = ""
    algorithms: str = "sha256"
    """By what the files of the baseline are known, as `str(Algorithms)`: roots over others are not comparable."""
    table_version: int = VERSION
    """Of the encoding that the root is over: while an update goes round, nodes have roots of different versions."""
    layers_unverified_bytes: int | None = None
    """How much of its read-only layers has still to be read, or could not be: not since something touched them, or for a day. 0 when all
    was; None where nobody knows."""

    @property
    def differs(self) -> bool:
        """Whether its node says that it differs from its image, be that expected or not."""
        return self.verdict in (State.DRIFTED.value, EXPECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutcome:
    command_id: str
    succeeded: bool
    message: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One message up. `id` makes sending it twice harmless; verdicts carry the findings. `coverage` is of all containers of the node, None
    where this message does not speak of that."""

    id: str
    node: str
    at: float
    verdicts: tuple[Verdict, ...] = ()
    coverage: tuple[Coverage, ...] | None = None
    gaps: tuple[Gap, ...] = ()
    outcomes: tuple[CommandOutcome, ...] = ()
    tier: str = ""
    """How the node hears of changes: `A` (every write), `B`, `C` (timed walks only), or the reason why it hears nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLevel:
    """What differences at `paths`, gitignore patterns, are worth though the default rules only count them; at `Info` they stay counted.
    `changes` are those that are meant, empty for all; from `until` on, in Unix seconds, it says nothing."""

    paths: tuple[str, ...]
    level: Level
    changes: tuple[Change, ...] = ()
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlan:
    """How to watch one pod: compiled from policy, so that the node needs to know no policy."""

    pod_uid: str
    """On a host without Kubernetes, the id of the one container that is meant."""
    watched: bool = True
    realtime: bool = True
    interval_s: float = 60.0
    volumes: bool = False
    """Whether programs that run from volumes are told, and not only counted, and those that came there are searched for."""
    levels: tuple[PlannedLevel, ...] = ()
    """What is told besides what the default rules tell; the last one that matches decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a node watches: `etag` names this version. A pod that is not in the plan yet is watched as the defaults say."""

    etag: str
    pods: tuple[PodPlan, ...] = ()
    default: PodPlan = PodPlan(pod_uid="")
    withdrawn: tuple[Digest, ...] = ()
    """Roots of baselines that the cluster gave out and stands for no more: what was compared with them is obtained anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An order to one node: today, look at a pod's containers now, all of it. Never carried out after `expires_at`."""

    id: str
    node: str
    kind: str
    """`Rescan`."""
    pod_uid: str
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentIdentity:
    """Who speaks on the cluster's side of the seam, as proven by its token and by nothing else."""

    node: str
    pod_uid: str
    service_account: str
    """`system:serviceaccount:NAMESPACE:NAME`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What the cluster last heard from one node. `coverage` is the node's word on each of its containers."""

    node: str
    heard_at: float
    tier: str
    coverage: tuple[Coverage, ...] = ()
    gaps: tuple[Gap, ...] = ()
