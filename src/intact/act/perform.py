"""Carrying a decision out through the `Actuator`, and telling what came of it.

In: a decision that was claimed. Out: an `Outcome` (Running, Failed or Refused), or `Later` when it is to be tried again. Calling it again
for the same decision does nothing twice. Never forces: what a disruption budget forbids is tried until the deadline and then has failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from intact.model.errors import PermanentError
from intact.model.incident import Decision, Outcome, Phase
from intact.model.policy import ActionKind
from intact.model.revision import RevisionRecord

from .plan import AlreadyDone, AlreadyGone, Refused, SetTemplate, plan_restart, plan_rollback
from .ports import Actuator, Blocked, Changed, Done, Gone

EVICTION_DEADLINE_S = 300.0
"""How long an eviction that a disruption budget forbids is tried again, from the decision on."""
EVICTION_RETRY_S = 10.0
MAX_PATCHES = 5
REVISION_WAIT_S = 20.0
"""How long the Deployment's controller may take to make the ReplicaSet of a new template."""
POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Not done yet: call again after `after_s` seconds."""

    after_s: float
    message: str


def perform(
    decision: Decision,
    actuator: Actuator,
    *,
    record: RevisionRecord | None,
    now: float,
    wait: Callable[[float], object],
) -> Outcome | Later:
    """Does what `decision` says. `record` is what is remembered of the revision a RollBack goes to; `wait` sleeps for seconds.

    Raises TemporaryError: then call again.
    """
    if decision.refused:
        return _outcome(decision, Phase.REFUSED, decision.refused, now)
    try:
        match decision.action:
            case ActionKind.ALERT:
                return _outcome(decision, Phase.VERIFIED, "people were told; nothing else was asked for", now)
            case ActionKind.RESTART_POD:
                return _restart(decision, actuator, now)
            case ActionKind.ROLL_BACK:
                return _roll_back(decision, actuator, record, now, wait)
            case _:
                assert_never(decision.action)
    except PermanentError as error:
        return _outcome(decision, Phase.FAILED, str(error), now)


def _restart(decision: Decision, actuator: Actuator, now: float) -> Outcome | Later:
    pod = decision.pod
    step = plan_restart(decision, actuator.read_pod(pod.namespace, pod.name) if pod else None)
    match step:
        case Refused():
            return _outcome(decision, Phase.REFUSED, step.reason, now)
        case AlreadyGone():
            return _outcome(decision, Phase.RUNNING, "the pod is gone already", now)
    answer = actuator.evict_pod(step.pod.namespace, step.pod.name, step.pod.uid)
    match answer:
        case Done():
            return _outcome(decision, Phase.RUNNING, f"pod {step.pod.name} was evicted", now)
        case Gone():
            return _outcome(decision, Phase.RUNNING, "the pod is gone already", now)
        case Blocked():
            budget = f"PodDisruptionBudget {answer.budget}" if answer.budget else "a PodDisruptionBudget"
            message = f"{budget} does not allow pod {step.pod.name} to be evicted: {answer.message}"
            if now - decision.at >= EVICTION_DEADLINE_S:
                return _outcome(decision, Phase.FAILED, f"{message}; tried for {now - decision.at:.0f} s", now)
            return Later(after_s=EVICTION_RETRY_S, message=message)
        case _:
            assert_never(answer)


def _roll_back(
    decision: Decision,
    actuator: Actuator,
    record: RevisionRecord | None,
    now: float,
    wait: Callable[[float], object],
) -> Outcome | Later:
    """1. Plan on the state as it is now. 2. Everything the target needs exists. 3. Patch, if the state is still that one; else from 1.
    4. Wait for the ReplicaSet, so that the outcome names the revision whose pods will prove it."""
    workload = decision.workload
    went: SetTemplate | None = None
    for _ in range(MAX_PATCHES):
        # 1
        deployment = actuator.read_deployment(workload.namespace, workload.name) if workload.kind == "Deployment" else None
        step = plan_rollback(decision, deployment, record)
        match step:
            case Refused():
                return _outcome(decision, Phase.REFUSED, step.reason, now)
            case AlreadyDone():
                return _outcome(decision, Phase.RUNNING, f"{workload} is back at revision {step.revision}", now, step.revision)
        # 2
        if missing := _missing(step, actuator, workload.namespace):
            return _outcome(decision, Phase.REFUSED, missing, now)
        # 3
        answer = actuator.patch_deployment_template(
            workload.namespace,
            workload.name,
            uid=step.deployment.uid,
            resource_version=step.deployment.resource_version,
            template=step.template,
        )
        if not isinstance(answer, Changed):
            went = step
            break
        wait(POLL_S)
    if went is None:
        return Later(after_s=EVICTION_RETRY_S, message=f"{workload} changes faster than it can be patched")
    # 4
    told = f"{workload} goes back to revision {went.target.number} ({went.target.name}), images pinned by digest"
    for _ in range(int(REVISION_WAIT_S / POLL_S)):
        deployment = actuator.read_deployment(workload.namespace, workload.name)
        current = deployment.current if deployment is not None and deployment.template == went.template else None
        if current is not None:
            return _outcome(decision, Phase.RUNNING, told, now, current.hash)
        wait(POLL_S)
    return Later(after_s=EVICTION_RETRY_S, message=f"{told}; its ReplicaSet is not there yet")


def _missing(step: SetTemplate, actuator: Actuator, namespace: str) -> str:
    """Why the target's pods would not start, or empty. What the running revision needs as well is known to be there."""
    for reference in step.references:
        found = actuator.exists(namespace, reference)
        if found is None and reference not in step.shared:
            return f"revision {step.target.number} needs {reference.kind} {reference.name}, and whether it exists may not be looked at"
        if found is False:
            return f"revision {step.target.number} needs {reference.kind} {reference.name}, which does not exist"
    return ""


def _outcome(decision: Decision, phase: Phase, message: str, now: float, revision: str = "") -> Outcome:
    return Outcome(decision=decision, phase=phase, message=message, at=now, revision=revision)
