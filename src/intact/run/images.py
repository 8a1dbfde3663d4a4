"""Every image that runs, read from its registry in the background, once: the cluster's own baselines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from intact.act.ports import ContainerState
from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.cluster.objects import Objects
from intact.adapters.cluster.revisions import pulled_image
from intact.audit.log import AuditLog
from intact.audit.steps import record_baseline
from intact.model.digest import Digest
from intact.model.errors import IntactError

from .baselines import ClusterBaselines

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
FIRST_RETRY_S = 5.0
LAST_RETRY_S = 300.0
"""The pause after a failure doubles from the first to the last."""


def image_to_read(container: ContainerState) -> str:
    """`repo@sha256:…` of what the container runs, from the repository that its pod names: the digest is the node's word, and a node must
    not choose what the controller connects to. Empty where there is no digest."""
    digest = pulled_image(container).partition("@")[2]
    if not digest:
        return ""
    head, slash, last = container.image.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}@{digest}"


class ImageReader:
    """An image that cannot be read is tried again; until then, what the nodes say of it counts as their word."""

    def __init__(
        self, cache: ClusterCache, library: ClusterBaselines, objects: Objects, audit: AuditLog, *, learn: Callable[[Digest], None]
    ) -> None:
        """`learn` is told the key of each baseline that is new."""
        self._cache, self._library, self._objects, self._audit, self._learn = cache, library, objects, audit, learn
        self._done: set[str] = set()
        self._retry_at: dict[str, float] = {}
        self._pause_s: dict[str, float] = {}

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY_S):
            running = {image_to_read(c) for pod in self._cache.all_pods() for c in (*pod.init_containers, *pod.containers)} - {""}
            self._done &= running
            for reference in sorted(running - self._done):
                if not stop.is_set() and time.time() >= self._retry_at.get(reference, 0.0):
                    self._read(reference, time.time())

    def _read(self, reference: str, now: float) -> None:
        try:
            baseline = self._library.compute(reference)
            entries = sum(len(layer) for layer in baseline.layers)
            self._objects.put_baseline(baseline, entries, now)
            leaf = record_baseline(
                key=baseline.key,
                root=baseline.root,
                grade=baseline.grade,
                source=baseline.source,
                aliases=baseline.aliases,
                entries=entries,
                now=now,
            )
            self._audit.append([leaf])
            self._learn(baseline.key)
        except IntactError as error:
            log.warning("image_not_read", image=reference, reason=str(error))
            pause_s = self._pause_s.get(reference, FIRST_RETRY_S)
            self._pause_s[reference] = min(2 * pause_s, LAST_RETRY_S)
            self._retry_at[reference] = time.time() + pause_s
            return
        self._done.add(reference)
        self._retry_at.pop(reference, None)
        self._pause_s.pop(reference, None)
        log.info("baseline", image=reference, key=str(baseline.key), entries=entries, grade=baseline.grade.title)
