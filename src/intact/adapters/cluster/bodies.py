"""Model records as custom resources: what is shown of an incident, a remediation, a node, a baseline, and how much of it.

In: model records. Out: JSON objects of at most `MAX_BYTES`. Pure. What does not fit is left out from the end and counted, never cut
silently; the whole is in the controller's store and in the audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from intact.model.digest import Digest
from intact.model.entry import display_path
from intact.model.incident import Decision, Incident, IncidentState, Matter, Outcome, PathSummary, Phase, Taken, Workload
from intact.model.policy import ActionKind
from intact.model.seam import EXPECTED, Coverage, NodeStatus

from .kinds import BASELINE, INCIDENT, NODE, REMEDIATION, Kind

Body: TypeAlias = dict[str, Any]

MAX_BYTES = 16 * 1024
_ROOM_BYTES = 2048
"""What the API server adds: metadata, managed fields."""
MAX_PATHS = 20
MAX_NAMES = 20
MAX_ACTIONS = 10
MAX_MATTERS = 10
MAX_BASELINES = 5
MAX_SIGNERS = 8
MAX_WORKLOADS = 5
MAX_CONTAINERS = 150
MAX_GAPS = 5
MAX_SHOWN_BYTES = (1 << 63) - 1
_LAST_SECOND = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_RANK = {"Drifted": 0, "Unobserved": 1, "Pending": 2, EXPECTED: 3, "Intact": 4}


def incident_body(incident: Incident, paths: Sequence[PathSummary], namespace: str = "") -> Body:
    """`paths` are the gravest first; `namespace` is where it is shown, if not in that of its workload."""
    last = incident.taken[-1] if incident.taken else None
    resolved = incident.state is IncidentState.RESOLVED
    turned_at = incident.last_seen if resolved else incident.first_seen
    status: Body = {
        "state": incident.state.value,
        "cause": incident.cause.value,
        "level": incident.level.title,
        "action": f"{last.action.title} {last.state}" if last else "",
        "policy": incident.policy[:320],
        "explanation": incident.explanation[:2048],
        "firstSeen": instant(incident.first_seen),
        "lastSeen": instant(incident.last_seen),
        "count": incident.count,
        "podCount": len(incident.pods),
        "nodeCount": len(incident.nodes),
        "pods": list(incident.pods[:MAX_NAMES]),
        "nodes": list(incident.nodes[:MAX_NAMES]),
        "omittedPaths": max(0, incident.count - min(len(paths), MAX_PATHS)),
        "paths": [_path(p) for p in paths[:MAX_PATHS]],
        "grade": incident.against[0].grade.title if incident.against else "",
        "baselines": [{"key": one.key[:140], "root": one.root[:140], "grade": one.grade.title} for one in incident.against[:MAX_BASELINES]],
        "matters": [_matter(m) for m in incident.matters[:MAX_MATTERS]],
        "matterCount": incident.matter_count,
        "actions": [_action(t) for t in incident.taken[-MAX_ACTIONS:]],
        "conditions": [condition("Resolved", resolved, incident.state.value, "", instant(turned_at))],
    }
    body = _object(
        INCIDENT, incident.id, namespace or incident.workload.namespace, spec=_subject(incident.workload, "subject"), status=status
    )
    return _fit(body, "paths", "omittedPaths")


def remediation_body(decision: Decision) -> Body:
    """The lock: without a status."""
    spec = {
        "action": decision.action.title,
        "incident": decision.incident_id,
        "policy": decision.policy[:320],
        "reason": decision.reason[:2048],
        "decidedAt": instant(decision.at),
        **_subject(decision.workload, "target"),
    }
    if decision.to:
        spec["to"] = decision.to
    if decision.pod:
        spec["pod"] = {"name": decision.pod.name, "uid": decision.pod.uid, "node": decision.pod.node}
    body = _object(REMEDIATION, decision.name, decision.workload.namespace, spec=spec)
    body["metadata"]["annotations"] = {"kubernetes.io/change-cause": _change_cause(decision)}
    return body


def outcome_body(outcome: Outcome) -> Body:
    decision = outcome.decision
    verified = outcome.phase is Phase.VERIFIED
    status: Body = {
        "phase": outcome.phase.value,
        "message": outcome.message[:2048],
        "updatedAt": instant(outcome.at),
        "conditions": [condition("Verified", verified, outcome.phase.value, "", instant(outcome.at if verified else decision.at))],
    }
    if outcome.revision:
        status["revision"] = outcome.revision[:63]
    return _object(REMEDIATION, decision.name, decision.workload.namespace, status=status)


def node_body(status: NodeStatus) -> Body:
    counts = dict.fromkeys(_RANK, 0)
    for one in status.coverage:
        counts[one.verdict if one.verdict in counts else "Unobserved"] += 1
    listed = sorted(status.coverage, key=lambda c: (_RANK.get(c.verdict, 1), _container_name(c)))[:MAX_CONTAINERS]
    gaps = status.gaps[-MAX_GAPS:]
    shown: Body = {
        "heardAt": instant(status.heard_at),
        "tier": status.tier[:1024],
        **{verdict.lower(): count for verdict, count in counts.items()},
        "eventsLost": sum(g.events_lost for g in gaps),
        "omittedContainers": len(status.coverage) - len(listed),
        "containers": [_coverage(c) for c in listed],
        "gaps": [
            {"since": instant(g.since), "until": instant(g.until), "reason": g.reason[:256], "eventsLost": g.events_lost} for g in gaps
        ],
    }
    return _fit(_object(NODE, status.node, "", status=shown), "containers", "omittedContainers")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownBaseline:
    """What is shown of one image. `root`, `grade` and the rest are empty where there is no baseline. `pods` and `nodes` count where it
    runs, `workloads` names who runs it, all of them. `conditions` are (type, holds, reason, message, since when in Unix seconds)."""

    key: Digest
    root: Digest | None = None
    grade: str = ""
    algorithms: tuple[str, ...] = ()
    source: str = ""
    signers: tuple[str, ...] = ()
    platform: str = ""
    aliases: tuple[str, ...] = ()
    layers: int = 0
    entries: int = 0
    size_bytes: int = 0
    pods: int = 0
    nodes: int = 0
    workloads: tuple[str, ...] = ()
    conditions: tuple[tuple[str, bool, str, str, float], ...] = ()


def baseline_name(key: Digest) -> str:
    """The name of the one ImageBaseline of an image."""
    return str(key).replace(":", "-")


def baseline_body(shown: ShownBaseline) -> Body:
    status: Body = {
        "algorithm": shown.algorithms[0] if shown.algorithms else "",
        "algorithms": list(shown.algorithms),
        "entries": shown.entries,
        "bytes": shown.size_bytes,
        "layers": shown.layers,
        "source": shown.source[:1024],
        "signers": [signer[:140] for signer in shown.signers[:MAX_SIGNERS]],
        "platform": shown.platform[:64],
        "omittedAliases": max(0, len(shown.aliases) - MAX_NAMES),
        "aliases": [alias[:512] for alias in shown.aliases[:MAX_NAMES]],
        "pods": shown.pods,
        "nodes": shown.nodes,
        "omittedWorkloads": max(0, len(shown.workloads) - MAX_WORKLOADS),
        "workloads": [name[:320] for name in shown.workloads[:MAX_WORKLOADS]],
        "conditions": [condition(type, holds, reason, message, instant(since)) for type, holds, reason, message, since in shown.conditions],
    }
    if shown.root is not None:
        status |= {"root": str(shown.root), "grade": shown.grade}
    return _fit(_object(BASELINE, baseline_name(shown.key), "", spec={"key": str(shown.key)}, status=status), "aliases", "omittedAliases")


def condition(type: str, holds: bool, reason: str, message: str, since: str, *, generation: int = 0) -> Body:
    """A `metav1.Condition`; `since` is the RFC 3339 time when it last changed between True and False."""
    made: Body = {
        "type": type,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": message[:1024],
        "lastTransitionTime": since,
    }
    return made | ({"observedGeneration": generation} if generation else {})


def instant(at: float) -> str:
    """RFC 3339 in UTC, whole seconds, as `metav1.Time` has it; a time no calendar has (a node may claim any) becomes the nearest it has."""
    return datetime.fromtimestamp(min(max(at, 0.0), _LAST_SECOND), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _object(kind: Kind, name: str, namespace: str, *, spec: Body | None = None, status: Body | None = None) -> Body:
    body: Body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}}
    if namespace:
        body["metadata"]["namespace"] = namespace
    if spec is not None:
        body["spec"] = spec
    if status is not None:
        body["status"] = status
    return body


def _subject(workload: Workload, column: str) -> Body:
    reference = {"kind": workload.kind, "name": workload.name[:253], "uid": workload.uid}
    return {column: f"{workload.kind}/{workload.name}"[:320], "workload": reference}


def _change_cause(decision: Decision) -> str:
    match decision.action:
        case ActionKind.ROLL_BACK:
            what = f"rolled back to {decision.target or decision.to}"
        case ActionKind.RESTART_POD:
            what = f"pod {decision.pod.name if decision.pod else ''} replaced"
        case _:
            what = "alert only"
    return f"Intact: {what}: {decision.reason}"[:1024]


def _path(path: PathSummary) -> Body:
    return {
        "path": display_path(path.path, 240),
        "change": path.change,
        "level": path.level.title,
        "expected": path.expected[:512],
        "actual": path.actual[:512],
        "firstSeen": instant(path.first_seen),
        "pods": len(path.pods),
    }


def _matter(matter: Matter) -> Body:
    shown = {"about": matter.key[:256], "level": matter.level.title, "text": matter.text[:768], "since": instant(matter.at)}
    return shown | ({"nodes": [node[:253] for node in matter.nodes[:MAX_NAMES]]} if matter.nodes else {})


def _action(taken: Taken) -> Body:
    return {"name": taken.name, "action": taken.action.title, "state": taken.state[:64], "at": instant(taken.at)}


def _coverage(coverage: Coverage) -> Body:
    shown: Body = {
        "container": _container_name(coverage)[:400],
        "verdict": coverage.verdict if coverage.verdict in _RANK else "Unobserved",
        "grade": coverage.grade[:32],
    }
    if coverage.container.pod:
        shown["podUID"] = coverage.container.pod.uid
    if coverage.baseline_root:
        shown["baseline"] = str(coverage.baseline_root)[:140]
    if coverage.verified_at:
        shown["verifiedAt"] = instant(coverage.verified_at)
    if coverage.layers_verified_at:
        shown["layersVerifiedAt"] = instant(coverage.layers_verified_at)
    if coverage.layers_unverified_bytes is not None:
        shown["layersUnverifiedBytes"] = min(max(0, coverage.layers_unverified_bytes), MAX_SHOWN_BYTES)
    if coverage.reason:
        shown["reason"] = coverage.reason[:256]
    return shown


def _container_name(coverage: Coverage) -> str:
    pod = coverage.container.pod
    return f"{pod.namespace}/{pod.name}/{coverage.container.name}" if pod else coverage.container.name


def _fit(body: Body, trimmed: str, counter: str) -> Body:
    """Drops entries from the end of the status' list `trimmed` until the object fits, and counts them in `counter`."""
    status = body["status"]
    limit = MAX_BYTES - _ROOM_BYTES
    size: Callable[[Any], int] = lambda value: len(msgspec.json.encode(value))  # noqa: E731
    excess = size(body) - limit
    while excess > 0 and status[trimmed]:
        excess -= size(status[trimmed].pop()) + 1
        status[counter] += 1
    return body
