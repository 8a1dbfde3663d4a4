"""Every image that runs, read from its registry in the background, once for each platform: the cluster's own baselines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from intact.act.ports import ContainerState
from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.cluster.revisions import pulled_image
from intact.adapters.layout.names import parse_reference
from intact.audit.log import AuditLog
from intact.audit.steps import record_baseline
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError

from .baselines import ClusterBaselines

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
FIRST_RETRY_S = 5.0
LAST_RETRY_S = 300.0
"""The pause after a failure doubles from the first to the last, and is never shorter than what failed had taken."""


def image_to_read(container: ContainerState) -> str:
    """`HOST/REPO@sha256:…` of what the container runs, from the repository that its pod names, spelt out as baselines are kept: the digest
    is the node's word, and a node must not choose what the controller connects to. Empty where there is no digest, or no repository that
    could be asked."""
    digest = pulled_image(container).partition("@")[2]
    return join_reference(container.image.partition("@")[0], digest) if digest else ""


def join_reference(image: str, digest: str) -> str:
    """`nginx:1` and a digest → `docker.io/library/nginx@sha256:…`; empty for what is no image's name."""
    try:
        name = parse_reference(image)
    except InputError:
        return ""
    return f"{name.host}/{name.repository}@{digest}"


def running_images(cache: ClusterCache) -> set[tuple[str, str]]:
    """What to read for all that runs: (`repo@digest`, the node's platform). Where the digest is an index's, the same name is another image
    on nodes of another platform."""
    return {
        (reference, cache.platform_of(pod.node))
        for pod in cache.all_pods()
        for container in (*pod.init_containers, *pod.containers)
        if (reference := image_to_read(container))
    }


class ImageReader:
    """An image that cannot be read is tried again; until then, what the nodes say of it counts as their word."""

    def __init__(
        self,
        cache: ClusterCache,
        library: ClusterBaselines,
        audit: AuditLog,
        *,
        learn: Callable[[Digest], None],
        revoked: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        """`learn` is told the key of each baseline that is new; `revoked` gives the keys whose signatures count no more."""
        self._cache, self._library, self._audit, self._learn, self._revoked = cache, library, audit, learn, revoked
        self._known_revoked = revoked()
        self._done: set[tuple[str, str]] = set()
        self._retry_at: dict[tuple[str, str], float] = {}
        self._pause_s: dict[tuple[str, str], float] = {}

    def run(self, stop: threading.Event) -> None:
        pause_s = LOOK_EVERY_S
        while not stop.wait(pause_s):
            self._doubt()
            running = running_images(self._cache)
            self._done &= running
            image = self._next(running - self._done, time.time())
            if image is not None:
                self._read(image, time.time())
            pause_s = LOOK_EVERY_S if image is None else 0.0

    def _next(self, images: set[tuple[str, str]], now: float) -> tuple[str, str] | None:
        """What is due; what never failed first, so that it waits for one bad image at most, then what waits longest."""
        due = [image for image in images if now >= self._retry_at.get(image, 0.0)]
        return min(due, key=lambda image: (self._retry_at.get(image, 0.0), image), default=None)

    def _doubt(self) -> None:
        """Once a key is revoked every image is looked up again: what that key signed is computed anew."""
        revoked = self._revoked()
        if not revoked <= self._known_revoked:
            log.warning("baselines_doubted", revoked=len(revoked))
            self._done.clear()
        self._known_revoked = revoked

    def _read(self, image: tuple[str, str], now: float) -> None:
        reference, platform = image
        try:
            baseline = self._library.compute(reference, platform)
            entries = sum(len(layer) for layer in baseline.layers)
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
            pause_s = self._pause_s.get(image, FIRST_RETRY_S)
            self._pause_s[image] = min(2 * pause_s, LAST_RETRY_S)
            failed_at = time.time()
            self._retry_at[image] = failed_at + max(pause_s, failed_at - now)
            return
        self._done.add(image)
        self._retry_at.pop(image, None)
        self._pause_s.pop(image, None)
        log.info("baseline", image=reference, key=str(baseline.key), entries=entries, grade=baseline.grade.title)
