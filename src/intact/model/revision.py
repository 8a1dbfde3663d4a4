"""What ran, and how well it was known to be good: the memory that a rollback needs."""

from __future__ import annotations

from dataclasses import dataclass

from .incident import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRecord:
    """One revision of a workload as it was really seen to run.

    `name` is the object that holds its template (a ReplicaSet), `uid` that object's, `hash` the pod template hash, `number` the
    `deployment.kubernetes.io/revision`. `images` maps container names to the `repo@sha256:…` their pods ran. `intact_since` is the start
    of the unbroken time in which every look at its pods was Intact (None: never, or broken), `intact_until` its last such look;
    `drifted_at` the last time a pod of it was not intact.
    """

    workload: Workload
    name: str
    uid: str
    hash: str
    number: int
    images: tuple[tuple[str, str], ...]
    first_seen: float
    intact_since: float | None = None
    intact_until: float | None = None
    drifted_at: float | None = None

    def soaked(self, soak_s: float) -> bool:
        """Whether it was seen intact for at least `soak_s` seconds without a break."""
        return self.intact_since is not None and self.intact_until is not None and self.intact_until - self.intact_since >= soak_s
