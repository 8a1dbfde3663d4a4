"""The memory of what really ran: pods and verdicts become `RevisionRecord`s. Pure.

In: a record as it was, a pod of the revision as it is, or a look at one of its pods. Out: the record as it should be kept; the same object
if nothing changed. Digests are those the runtime reports, never what a template or a tag says.
"""

from __future__ import annotations

import re
from dataclasses import replace

from intact.act.ports import ContainerState, PodState
from intact.model.finding import State, Verdict
from intact.model.incident import Workload
from intact.model.revision import RevisionRecord

from .cache import ReplicaSetFacts

_PULLED = re.compile(r"(?:docker-pullable://)?([^@\s]+@sha(?:256|512):[0-9a-f]{64,128})")


def record_pod(record: RevisionRecord | None, pod: PodState, replica_set: ReplicaSetFacts, now: float) -> RevisionRecord:
    """`record` (None: first seen) with what `pod`, a pod of `replica_set`, runs.

    A container that ran two different images under one revision (a tag that moved) is kept with both: then no digest is certain, and
    whoever pins by it sees that.
    """
    ran = {(c.name, image) for c in (*pod.init_containers, *pod.containers) if (image := pulled_image(c))}
    before = set(record.images) if record else set()
    images = tuple(sorted(before | ran))
    if record is None:
        return RevisionRecord(
            workload=_workload(pod, replica_set),
            name=replica_set.name,
            uid=replica_set.uid,
            hash=replica_set.hash,
            number=replica_set.number,
            images=images,
            first_seen=now,
        )
    if images == record.images and replica_set.number == record.number:
        return record
    return replace(record, images=images, number=replica_set.number)


def record_verdict(record: RevisionRecord, verdict: Verdict) -> RevisionRecord:
    """`record` after a look at a container of one of its pods. A look that found drift, or that could not look, ends the time intact;
    looks older than the last one counted change nothing."""
    match verdict.state:
        case State.INTACT:
            if record.intact_until is not None and verdict.at <= record.intact_until:
                return record
            if record.drifted_at is not None and verdict.at <= record.drifted_at:
                return record
            since = verdict.at if record.intact_since is None else record.intact_since
            return replace(record, intact_since=since, intact_until=verdict.at)
        case State.DRIFTED:
            drifted_at = max(verdict.at, record.drifted_at or 0.0)
            return replace(record, intact_since=None, intact_until=None, drifted_at=drifted_at)
        case State.UNOBSERVED:
            return replace(record, intact_since=None, intact_until=None) if record.intact_since is not None else record


def pulled_image(container: ContainerState) -> str:
    """`repo@sha256:…` of what the container runs; empty where the runtime knows only the configuration's digest (an imported image)."""
    match = _PULLED.fullmatch(container.image_id)
    return match[1] if match else ""


def _workload(pod: PodState, replica_set: ReplicaSetFacts) -> Workload:
    owner = replica_set.owner
    if owner is None:
        return pod.workload
    return Workload(kind=owner.kind, namespace=replica_set.namespace, name=owner.name, uid=owner.uid)
