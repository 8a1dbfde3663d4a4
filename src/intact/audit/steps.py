"""Every step worth recording, as a leaf: one function a step. Pure; `now` is the recorder's clock, never the reporting node's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from intact.model.container import Container
from intact.model.counted import Counted
from intact.model.digest import Digest
from intact.model.entry import Entry
from intact.model.finding import Finding, Level, Verdict
from intact.model.incident import Decision, Incident, IncidentState, Matter, Outcome, PodFacts, Workload
from intact.model.layer import Grade
from intact.model.seam import Gap
from intact.model.start import StartProfile

from .record import MAX_BODY_BYTES, Leaf, LeafKind, format_time, measure_body, write_bytes, write_integer, write_text

MAX_LISTED = 100
"""How many items of a list stand in one leaf; their number always does."""
SHORT = 512
"""The bound on a text that occurs many times in one leaf; Kubernetes' own names are shorter."""


def record_finding(finding: Finding, *, workload: Workload | None, incident: str, now: float) -> Leaf:
    """One difference, with what was expected and what was found."""
    difference = finding.difference
    body = {
        **_container(finding.container),
        "id": finding.id,
        "path": write_bytes(difference.path),
        "change": difference.change.value,
        "fields": [write_text(name, SHORT) for name in difference.fields[:MAX_LISTED]],
        **({"reason": write_text(difference.reason)} if difference.reason else {}),
        "expected": _entry(difference.expected),
        "actual": _entry(difference.actual),
        "level": finding.level.title,
        "rule": write_text(finding.rule),
        "scope": finding.scope.value,
        "baseline_root": str(finding.baseline_root),
        "grade": finding.grade.title,
        "observed_at": format_time(finding.observed_at),
        "process": write_text(finding.process),
    }
    return _leaf(LeafKind.FINDING, now, body, node=finding.container.node, workload=workload, incident=incident)


def record_verdict(verdict: Verdict, *, workload: Workload | None, now: float, stands_for: int = 1, since: float = 0.0) -> Leaf:
    """One comparison that was not clean; each of its findings has a leaf of its own, and is named here by its id. `stands_for` more than
    one: it is the last of so many since `since`, of which the others have no leaf."""
    body = {
        **_container(verdict.container),
        "state": verdict.state.value,
        "scope": verdict.scope.value,
        "findings": [finding.id for finding in verdict.findings[:MAX_LISTED]],
        "findings_count": len(verdict.findings),
        "aggregates": [
            {"pattern": write_text(a.pattern, SHORT), "rule": write_text(a.rule, SHORT), "count": write_integer(a.count)}
            for a in verdict.aggregates[:MAX_LISTED]
        ],
        "aggregates_count": len(verdict.aggregates),
        "unobserved": [
            {"path": write_bytes(u.path, SHORT), "reason": write_text(u.reason, SHORT)} for u in verdict.unobserved[:MAX_LISTED]
        ],
        "unobserved_count": len(verdict.unobserved),
        "baseline_root": _optional(verdict.baseline_root),
        "grade": verdict.grade.title if verdict.grade is not None else None,
        "compared": write_integer(verdict.compared),
        "observed_at": format_time(verdict.at),
        **({"stands_for": stands_for, "since": format_time(since)} if stands_for > 1 else {}),
    }
    return _leaf(LeafKind.VERDICT, now, body, node=verdict.container.node, workload=workload)


def record_clean(node: str, verdicts: Sequence[Verdict], *, since: float, looks: int, now: float) -> Leaf:
    """The last clean verdict of each container of `node` in the interval from `since` to `now`; `looks` counts all of them."""
    containers = [
        {
            **_container(verdict.container),
            "scope": verdict.scope.value,
            "baseline_root": _optional(verdict.baseline_root),
            "grade": verdict.grade.title if verdict.grade is not None else None,
            "compared": write_integer(verdict.compared),
            "observed_at": format_time(verdict.at),
        }
        for verdict in verdicts
    ]
    return _leaf(LeafKind.CLEAN, now, {"since": format_time(since), "looks": looks, "containers": containers}, node=node)


def record_incident(incident: Incident, *, opened: bool, now: float) -> Leaf:
    """The incident as it is now: opened, changed, or resolved where its state says so."""
    kind = LeafKind.INCIDENT_OPENED if opened else LeafKind.INCIDENT_CHANGED
    if incident.state is IncidentState.RESOLVED:
        kind = LeafKind.INCIDENT_RESOLVED
    body: dict[str, object] = {
        "state": incident.state.value,
        "cause": incident.cause.value,
        "level": incident.level.title,
        "first_seen": format_time(incident.first_seen),
        "last_seen": format_time(incident.last_seen),
        "count": incident.count,
        "pods": [write_text(pod, SHORT) for pod in incident.pods[:MAX_LISTED]],
        "pods_count": len(incident.pods),
        "nodes": [write_text(node, SHORT) for node in incident.nodes[:MAX_LISTED]],
        "nodes_count": len(incident.nodes),
        "policy": write_text(incident.policy),
        "explanation": write_text(incident.explanation),
        "workload_uid": write_text(incident.workload.uid),
    }
    if incident.against:
        body["baselines"] = [
            {"key": write_text(one.key, SHORT), "root": write_text(one.root, SHORT), "grade": one.grade.title}
            for one in incident.against[:MAX_LISTED]
        ]
    if incident.matters:
        body |= {"matters": [_matter(matter) for matter in incident.matters[:MAX_LISTED]], "matters_count": incident.matter_count}
    return _leaf(kind, now, body, workload=incident.workload, incident=incident.id)


def _matter(matter: Matter) -> dict[str, object]:
    return {
        "about": write_text(matter.key, SHORT),
        "cause": matter.cause.value,
        "level": matter.level.title,
        "text": write_text(matter.text),
        "since": format_time(matter.at),
        "nodes": [write_text(node, SHORT) for node in matter.nodes[:MAX_LISTED]],
    }


def record_decision(decision: Decision, *, now: float) -> Leaf:
    """The intent. It must be durable before the action begins."""
    body = {
        "name": write_text(decision.name),
        "action": decision.action.title,
        "to": write_text(decision.to),
        "pod": write_text(decision.pod.name) if decision.pod else None,
        "pod_uid": write_text(decision.pod.uid) if decision.pod else None,
        "reason": write_text(decision.reason),
        "policy": write_text(decision.policy),
        "refused": write_text(decision.refused),
        "decided_at": format_time(decision.at),
    }
    node = decision.pod.node if decision.pod else ""
    return _leaf(LeafKind.DECISION, now, body, node=node, workload=decision.workload, incident=decision.incident_id)


def record_outcome(outcome: Outcome, *, now: float) -> Leaf:
    """What came of a decision."""
    decision = outcome.decision
    body = {
        "name": write_text(decision.name),
        "action": decision.action.title,
        "phase": outcome.phase.value,
        "message": write_text(outcome.message),
        "revision": write_text(outcome.revision),
        "reached_at": format_time(outcome.at),
    }
    node = decision.pod.node if decision.pod else ""
    return _leaf(LeafKind.OUTCOME, now, body, node=node, workload=decision.workload, incident=decision.incident_id)


def record_policy(
    *, kind: str, namespace: str, name: str, generation: int, verb: str, mode: str, spec: bytes, by: str, weakened: bool, now: float
) -> Leaf:
    """A policy that was Added, Modified or Deleted (`verb`), its text by its digest; `by` as far as known."""
    body = {
        "policy_kind": kind,
        "namespace": write_text(namespace),
        "name": write_text(name),
        "generation": generation,
        "verb": verb,
        "mode": mode,
        "spec_sha256": hashlib.sha256(spec).hexdigest(),
        "by": write_text(by),
        "weakened": weakened,
    }
    return _leaf(LeafKind.POLICY_CHANGED, now, body)


def record_baseline(*, key: Digest, root: Digest, grade: Grade, source: str, aliases: Iterable[str], entries: int, now: float) -> Leaf:
    """A baseline that is compared against from now on."""
    names = list(aliases)
    body = {
        "key": str(key),
        "root": str(root),
        "grade": grade.title,
        "source": write_text(source),
        "aliases": [write_text(name, SHORT) for name in names[:MAX_LISTED]],
        "aliases_count": len(names),
        "entries": entries,
    }
    return _leaf(LeafKind.BASELINE_ACCEPTED, now, body)


def record_collection(*, baselines: Sequence[str], tables: int, size_bytes: int, kept_bytes: int, now: float) -> Leaf:
    """Baselines (their keys) that no image needed any more, and layer tables, that were removed."""
    body = {
        "baselines": [write_text(key, SHORT) for key in baselines[:MAX_LISTED]],
        "baselines_count": len(baselines),
        "tables_count": tables,
        "freed_bytes": size_bytes,
        "kept_bytes": kept_bytes,
    }
    return _leaf(LeafKind.BASELINES_COLLECTED, now, body)


def record_restore(*, backup: str, created_at: str, leaves: int, now: float) -> Leaf:
    """The log was restored from a backup (the digest of its sums) of `leaves` leaves: what was recorded after it is not in this log."""
    return _leaf(LeafKind.RESTORED, now, {"backup": backup, "created_at": write_text(created_at, SHORT), "leaves": leaves})


def record_start(
    profile: StartProfile, *, verb: str, pod: PodFacts | None = None, findings: Sequence[Finding] = (), is_new: bool = False, now: float
) -> Leaf:
    """What pods of a template do to their files before they are ready: told as it is first seen in one pod, as it is established by a
    second one, as it varies in `pod`, or as it is held back there for a moment. `is_new`: other templates of the image start otherwise."""
    paths = {f.difference.path: f.rule for f in findings} or {e.path: e.rule for one in profile.witnesses for e in one.entries}
    template = profile.template
    body = {
        "verb": verb,
        "level": (Level.LOW if is_new else Level.INFO).title,
        "template": write_text(template.name, SHORT),
        "container_name": write_text(template.container, SHORT),
        "image_key": write_text(template.image, SHORT),
        "pods": [write_text(one.pod, SHORT) for one in profile.witnesses] if pod is None else [write_text(pod.name, SHORT)],
        "paths": [{"path": write_bytes(path, SHORT), "rule": rule} for path, rule in sorted(paths.items())[:MAX_LISTED]],
        "paths_count": len(paths),
    }
    return _leaf(LeafKind.START_PROFILE, now, body, node=pod.node if pod else "", workload=template.workload)


def record_scratch(container: Container, counted: Sequence[Counted], *, workload: Workload, now: float) -> Leaf:
    """Code-like files in directories in which the image has no code: no rule tells them one by one."""
    body = {
        **_container(container),
        "level": Level.INFO.title,
        "patterns": [
            {"pattern": write_text(one.pattern, SHORT), "count": write_integer(one.count), "pods_count": len(one.pods)}
            for one in counted[:MAX_LISTED]
        ],
        "patterns_count": len(counted),
    }
    return _leaf(LeafKind.SCRATCH_CODE, now, body, node=container.node, workload=workload)


def record_gap(node: str, gap: Gap, *, now: float) -> Leaf:
    """A time in which `node` did not watch, or events that it lost."""
    body = {
        "since": format_time(gap.since),
        "until": format_time(gap.until),
        "reason": write_text(gap.reason),
        "events_lost": write_integer(gap.events_lost),
    }
    return _leaf(LeafKind.GAP, now, body, node=node)


def record_forged_report(node: str, *, claimed: str, reason: str, now: float) -> Leaf:
    """A report that `node` may not make: `claimed` is what it spoke of."""
    return _leaf(LeafKind.FORGED_REPORT, now, {"claimed": write_text(claimed), "reason": write_text(reason)}, node=node)


def record_key_event(*, purpose: str, verb: str, key: str, now: float) -> Leaf:
    """A key that was made, taken into use, retired or removed; `key` is its public half or its id."""
    return _leaf(LeafKind.KEY_EVENT, now, {"purpose": purpose, "verb": verb, "key": key})


def _leaf(
    kind: LeafKind, now: float, body: Mapping[str, object], *, node: str = "", workload: Workload | None = None, incident: str = ""
) -> Leaf:
    """What is still too large once each text is bounded stands there by its size and digest: an oversized body must not keep a step out."""
    name = write_text(str(workload)) if workload is not None else ""
    size_bytes, digest = measure_body(body)
    if size_bytes > MAX_BODY_BYTES:
        body = {"oversized_bytes": size_bytes, "oversized_sha256": digest}
    return Leaf(kind=kind.value, at=now, body=body, node=write_text(node), workload=name, incident=write_text(incident))


def _container(container: Container) -> dict[str, object]:
    return {
        "container": write_text(container.id, SHORT),
        "container_name": write_text(container.name, SHORT),
        "image": write_text(container.image, SHORT),
        "image_key": _optional(container.image_key),
        "pod": write_text(f"{container.pod.namespace}/{container.pod.name}", SHORT) if container.pod else None,
        "pod_uid": write_text(container.pod.uid, SHORT) if container.pod else None,
    }


def _optional(digest: Digest | None) -> str | None:
    return None if digest is None else str(digest)


def _entry(entry: Entry | None) -> dict[str, object] | None:
    if entry is None:
        return None
    return {
        "kind": entry.kind.value,
        "mode": f"{entry.mode:04o}",
        "uid": write_integer(entry.uid),
        "gid": write_integer(entry.gid),
        "size_bytes": write_integer(entry.size_bytes),
        "digest": _optional(entry.digest),
        "target": write_bytes(entry.target),
        "device": [write_integer(part) for part in entry.device] if entry.device is not None else None,
        "xattrs": [
            {"name": write_bytes(name, SHORT), "size_bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
            for name, value in entry.xattrs[:MAX_LISTED]
        ],
        "xattrs_count": len(entry.xattrs),
    }
