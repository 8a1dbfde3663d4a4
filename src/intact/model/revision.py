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
    `longest_s` is the longest such time before that; drift ends it all. `drifted_at` is the last time a pod of it was not intact.
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
    longest_s: float = 0.0
    drifted_at: float | None = None

    @property
    def intact_s(self) -> float:
        """For how long it was seen intact without a break, now or before."""
        if self.intact_since is None or self.intact_until is None:
            return self.longest_s
        return max(self.longest_s, self.intact_until - self.intact_since)

    def soaked(self, soak_s: float) -> bool:
        """Whether it was seen intact for at least `soak_s` seconds without a break."""
        return (self.intact_since is not None or self.longest_s > 0) and self.intact_s >= soak_s
