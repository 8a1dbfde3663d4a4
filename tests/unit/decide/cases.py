"""A workload, its pods and what was found in them, for the tests of the reducer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from intact.model.digest import Digest
from intact.model.entry import Entry
from intact.model.facts import NoTarget, PodState, WorkloadFacts
from intact.model.finding import Change, Difference, Finding, Level
from intact.model.incident import Decision, Incident, Outcome, Phase, PodFacts, Reported, Workload
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.policy import ActionKind, Cause, Condition, Corroboration, Guard, Mode, Policy, Response, RollbackTo
from intact.model.revision import RevisionRecord
from tests.unit.trees import CONTAINER, file

WEB = Workload(kind="Deployment", namespace="shop", name="web", uid="w1")
TARGET = RevisionRecord(
    workload=WEB, name="web-1", uid="rs1", hash="h1", number=1, images=(("web", "r/web@sha256:" + "a" * 64),), first_seen=0.0
)  # fmt: skip
ENFORCE = Policy(name="web", namespace="shop", mode=Mode.ENFORCE)
WISH = replace(
    ENFORCE,
    respond=(Response(when=Condition(level=Level.MEDIUM), do=(ActionKind.ROLL_BACK,)),),
    guard=Guard(corroboration=Corroboration.REPORTER),
)
"""Any unauthorised change of an image file rolls the Deployment back."""


def rule(do: ActionKind, *, level: Level = Level.MEDIUM, causes: tuple[Cause, ...] = (), count: int = 1, within_s: float = 0.0) -> Response:
    return Response(when=Condition(causes=causes, level=level, count=count, within_s=within_s), do=(do,))


def pod(name: str, node: str = "n1", revision: str = "h2", *, intact_at: float | None = None, ready: bool = True) -> PodState:
    return PodState(uid=f"uid-{name}", name=name, node=node, revision=revision, intact_at=intact_at, ready=ready)


def facts(*pods: PodState, **more: object) -> WorkloadFacts:
    every = pods or (pod("a"), pod("b", "n2"))
    base = WorkloadFacts(
        workload=WEB,
        ready=sum(p.ready for p in every),
        desired=len(every),
        revision="h2",
        pods=every,
        targets=((RollbackTo.LAST_KNOWN_GOOD, TARGET), (RollbackTo.PREVIOUS, NoTarget(reason="none"))),
        own_namespace="intact-system",
    )
    return replace(base, **more)  # type: ignore[arg-type]


def found(
    where: PodState,
    *,
    path: bytes = b"/usr/share/nginx/html/shell.php",
    level: Level = Level.HIGH,
    at: float = 1000.0,
    content: bytes = b"<?php",
    scope: Scope = Scope.DRIFT,
    grade: Grade = Grade.VERIFIED,
    rule_id: str = "code-added",
    started_at: float = 50.0,
    change: Change = Change.ADDED,
    actual: Entry | None = None,
    workload: Workload = WEB,
) -> Reported:
    container = replace(CONTAINER, id=f"container-of-{where.name}", started_at=started_at)
    return Reported(
        finding=Finding(
            container=container,
            difference=Difference(path=path, change=change, expected=None, actual=actual or file(path, content)),
            level=level, rule=rule_id, scope=scope, baseline_root=Digest.of(b"root"), grade=grade, observed_at=at,
        ),
        pod=PodFacts(
            uid=where.uid, namespace="shop", name=where.name, node=where.node, labels=(), workload=workload, revision=where.revision
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Told:
    """Decisions sorted by what they are."""

    alerts: tuple[Decision, ...]
    acts: tuple[Decision, ...]
    refused: tuple[Decision, ...]


def sort(decisions: tuple[Decision, ...]) -> Told:
    alerts = tuple(d for d in decisions if d.action is ActionKind.ALERT)
    others = [d for d in decisions if d.action is not ActionKind.ALERT]
    return Told(alerts, tuple(d for d in others if not d.refused), tuple(d for d in others if d.refused))


def opened(incident: Incident | None) -> Incident:
    assert incident is not None
    return incident


def outcome(decision: Decision, phase: Phase, at: float) -> Outcome:
    return Outcome(decision=decision, phase=phase, message="", at=at)
