"""The memory of what really ran: pods become `RevisionRecord`s. Pure.

In: a record as it was, a pod of the revision as it is. Out: the record as it should be kept; the same object if nothing changed. Digests
are those the runtime reports, never what a template or a tag says. How long a revision was intact is for `decide` to say.
"""

from __future__ import annotations

import re
from dataclasses import replace

from intact.act.ports import ContainerState, PodState
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


def pulled_image(container: ContainerState) -> str:
    """`repo@sha256:…` of what the container runs; empty where the runtime knows only the configuration's digest (an imported image)."""
    match = _PULLED.fullmatch(container.image_id)
    return match[1] if match else ""


def _workload(pod: PodState, replica_set: ReplicaSetFacts) -> Workload:
    owner = replica_set.owner
    if owner is None:
        return pod.workload
    return Workload(kind=owner.kind, namespace=replica_set.namespace, name=owner.name, uid=owner.uid)
