"""The proof: an action counts as `Verified` only when the new pods were observed intact. Pure.

In: what was done, the workload's pods now, and what was seen of them. Out: an `Outcome`, further on or still waiting. Never takes silence
for health: a container nobody looked at, or that could not be looked at, keeps the proof open until the deadline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from intact.model.finding import State, Verdict
from intact.model.incident import Outcome, Phase
from intact.model.observation import Scope
from intact.model.policy import ActionKind

from .ports import PodState

DEADLINE_S = 600.0


def verify(
    outcome: Outcome,
    pods: Iterable[PodState],
    verdicts: Mapping[str, tuple[Verdict, ...]],
    *,
    wanted: int,
    acted_at: float,
    now: float,
    deadline_s: float = DEADLINE_S,
) -> Outcome:
    """Where a Running or Succeeded `outcome` stands at `now`; the same object if nothing changed.

    `pods` are all pods of the workload, `verdicts` what was seen by pod uid (any order), `wanted` the number of pods the workload asks
    for, `acted_at` when the action was carried out.

    1. The old pods are gone: the restarted one, or all that are not of the target revision. 2. Enough new ones are ready: Succeeded.
    3. None of them drifted: else it failed, the cause is elsewhere. 4. Every container of them was seen intact after it started:
    Verified. 5. Past the deadline it failed, saying what was missing.
    """
    if outcome.phase not in (Phase.RUNNING, Phase.SUCCEEDED):
        return outcome
    alive = [p for p in pods if not p.finished]
    old = [p for p in alive if _is_old(outcome, p)]
    new = [p for p in alive if _is_new(outcome, p, acted_at)]
    # 3
    for pod in new:
        if drifted := _drifted(pod, verdicts.get(pod.uid, ()), acted_at):
            return _next(outcome, Phase.FAILED, f"the new pod {pod.name} differs from its image too: {drifted}", now)
    # 1, 2, 4
    needed = min(1, wanted) if outcome.decision.action is ActionKind.RESTART_POD else wanted
    ready = [p for p in new if p.ready and not p.terminating]
    if old:
        phase, lacking = Phase.RUNNING, f"{len(old)} old pods are still there ({old[0].name})"
    elif len(ready) < needed:
        phase, lacking = Phase.RUNNING, f"{len(ready)} of {needed} new pods are ready"
    else:
        reasons = {p.name: why for p in ready if (why := _unproven(p, verdicts.get(p.uid, ()), acted_at))}
        if len(ready) - len(reasons) >= needed and needed > 0:
            return _next(outcome, Phase.VERIFIED, f"{len(ready) - len(reasons)} new pods are ready and were seen intact", now)
        phase, lacking = Phase.SUCCEEDED, next((f"{name}: {why}" for name, why in reasons.items()), "the workload wants no pods")
    # 5
    if now - acted_at >= deadline_s:
        return _next(outcome, Phase.FAILED, f"not proven after {now - acted_at:.0f} s: {lacking}", now)
    if phase is outcome.phase:
        return outcome
    return _next(outcome, phase, lacking, now)


def _is_old(outcome: Outcome, pod: PodState) -> bool:
    match outcome.decision.action:
        case ActionKind.ROLL_BACK:
            return pod.revision != outcome.revision
        case ActionKind.RESTART_POD:
            return outcome.decision.pod is not None and pod.uid == outcome.decision.pod.uid
        case ActionKind.ALERT:
            return False
        case _:
            assert_never(outcome.decision.action)


def _is_new(outcome: Outcome, pod: PodState, acted_at: float) -> bool:
    if _is_old(outcome, pod):
        return False
    if outcome.decision.action is ActionKind.ROLL_BACK:
        return True
    # Kubernetes' creation times are whole seconds.
    return pod.created_at >= int(acted_at)


def _drifted(pod: PodState, seen: tuple[Verdict, ...], acted_at: float) -> str:
    for verdict in _latest(pod, seen, acted_at):
        if verdict.state is State.DRIFTED:
            return f"container {verdict.container.name}"
    return ""


def _unproven(pod: PodState, seen: tuple[Verdict, ...], acted_at: float) -> str:
    """What keeps the pod from being proven intact; empty if nothing does."""
    latest = _latest(pod, seen, acted_at)
    for container in pod.containers:
        # A look at the layers, or at what runs, says nothing about what the container wrote.
        states = {v.state for v in latest if v.container.name == container.name and v.scope in (Scope.DRIFT, Scope.TREE)}
        if not states:
            return f"container {container.name} was not looked at yet"
        if State.UNOBSERVED in states:
            return f"container {container.name} could not be looked at"
    return "" if pod.containers else "no container of it is known"


def _latest(pod: PodState, seen: tuple[Verdict, ...], acted_at: float) -> list[Verdict]:
    """The latest verdict on each container and scope, of looks after the action and after that container started."""
    started = {c.name: c.started_at or 0.0 for c in pod.containers}
    newest: dict[tuple[str, Scope], Verdict] = {}
    for verdict in sorted(seen, key=lambda v: v.at):
        name = verdict.container.name
        if verdict.at >= max(acted_at, started.get(name, 0.0)):
            newest[name, verdict.scope] = verdict
    return list(newest.values())


def _next(outcome: Outcome, phase: Phase, message: str, now: float) -> Outcome:
    return replace(outcome, phase=phase, message=message, at=now)
