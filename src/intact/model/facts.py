"""What the controller knows of a workload when it decides, read from the cluster and from its own memory."""

from __future__ import annotations

from dataclasses import dataclass

from .incident import Matter, Seen, Taken, Workload
from .policy import RollbackTo
from .revision import RevisionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """One pod of the workload that exists now. `intact_at` is the start of the last look that found all its containers intact, or different
    only as expected (`decide.expect.is_clean`); None if there was none, or if a later look was not clean."""

    uid: str
    name: str
    node: str
    revision: str = ""
    ready: bool = True
    intact_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoTarget:
    """Why a workload has no revision to go back to."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFacts:
    """A workload at one moment.

    `pods` are all its pods that exist: a pod that is not here is gone. `ready` and `desired` are replicas. `revision` is the current pod
    template hash. `targets` says for each way of choosing what a rollback would go back to. `actions` are those taken for this workload
    in other incidents, at least as far back as the policy's period and cooldown; `recent` the findings of its earlier incidents, for
    thresholds and for drift that comes again. `rolled_back`: Intact rolled it back, and there was no new rollout since. `managed_by` names
    whoever would undo a change of its template (`Argo CD`, `Flux`, `Helm`), empty if nobody. `unobserved` says what was needed to tell the
    cause and could not be seen. `own_namespace` is Intact's. `matters` are what the controller itself holds against it now. `doubted`
    are the UIDs of pods whose node says of their image what others do not: its word on them moves no workload.
    """

    workload: Workload
    ready: int = 0
    desired: int = 0
    revision: str = ""
    paused: bool = False
    rolling_out: bool = False
    pods: tuple[PodState, ...] = ()
    targets: tuple[tuple[RollbackTo, RevisionRecord | NoTarget], ...] = ()
    actions: tuple[Taken, ...] = ()
    recent: tuple[Seen, ...] = ()
    rolled_back: bool = False
    managed_by: str = ""
    unobserved: tuple[str, ...] = ()
    own_namespace: str = ""
    matters: tuple[Matter, ...] = ()
    doubted: tuple[str, ...] = ()
