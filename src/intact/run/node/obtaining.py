"""Baselines for the watched containers, obtained in the background, and obtained anew once they are doubted.

In: containers without a baseline, or with one that is not the best; keys that were revoked, roots that were withdrawn. Out: the baseline at
the container, and one call that says so. For the flow's thread; workers ask the sources.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from intact.model.container import Running
from intact.model.digest import Digest
from intact.model.errors import IntactError
from intact.model.layer import Baseline

from .looks import Looks
from .origins import Origins
from .ports import Baselines, HandIn
from .reporting import Reporter
from .roster import Roster
from .watched import Watched

log = structlog.get_logger()

RETRY_BASELINE_S = 30.0
RETRY_BETTER_S = 300.0
"""A container that is watched by what was first seen of its image is given a better baseline at most this late."""


class Obtaining:
    """Owns of each container `baseline` and `retry_at`. `revoked`: the keys known to be revoked now. `then` is called with a container that
    was given a baseline, and the steady time."""

    def __init__(
        self,
        baselines: Baselines,
        *,
        roster: Roster,
        looks: Looks,
        reporter: Reporter,
        origins: Origins | None,
        revoked: Callable[[], frozenset[str]],
        hand_in: HandIn,
        then: Callable[[Watched, float], None],
    ) -> None:
        self._baselines, self._roster, self._looks, self._reporter = baselines, roster, looks, reporter
        self._origins, self._revoked, self._hand_in, self._then = origins, revoked, hand_in, then
        self._known_revoked = revoked()
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="baseline")

    def doubt_revoked(self) -> None:
        """A key was revoked: what any baseline says may be a lie, so that nothing is observed until each was obtained again."""
        revoked = self._revoked()
        if revoked <= self._known_revoked:
            return
        self._known_revoked = revoked
        log.warning("baselines_doubted", revoked=len(revoked))
        for watched in self._roster:
            if watched.baseline is not None:
                self._doubt(watched, "a key was revoked: its baseline is obtained again")

    def withdraw(self, roots: frozenset[Digest]) -> bool:
        """The cluster stands for these no more; whether somebody is watched by one."""
        self._baselines.withdraw(roots)
        doubted = [one for one in self._roster if one.baseline is not None and self._baselines.is_withdrawn(one.baseline)]
        for watched in doubted:
            self._doubt(watched, "its baseline was withdrawn: it is obtained again")
        return bool(doubted)

    def fetch(self, watched: Watched, now: float) -> None:
        """Asks for it; what becomes of that is told when it is known."""
        watched.retry_at = now + (RETRY_BASELINE_S if watched.baseline is None else RETRY_BETTER_S)
        container_id, revoked = watched.running.container.id, self._known_revoked
        work = self._workers.submit(self._obtain, watched.running)
        work.add_done_callback(lambda done: self._hand_in(lambda at: self._take(container_id, done, revoked, at)))

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _doubt(self, watched: Watched, reason: str) -> None:
        self._looks.end(watched)
        watched.doubt(reason)
        self._reporter.doubt_coverage()

    def _obtain(self, running: Running) -> Baseline:
        baseline = self._baselines.obtain(running)
        return self._origins.prepare(baseline) if self._origins is not None else baseline

    def _take(self, container_id: str, done: Future[Baseline], revoked: frozenset[str], now: float) -> None:
        watched = self._roster.get(container_id)
        if watched is None or done.cancelled():
            return
        if revoked != self._known_revoked:  # it was obtained when less was known
            watched.retry_at = 0.0
            return
        try:
            baseline = done.result()
        except (IntactError, OSError) as error:
            log.warning("no_baseline", container=container_id[:12], reason=str(error))
            if watched.baseline is None:
                self._reporter.tell_unseen(watched, f"no baseline: {error}")
            return
        if watched.baseline is not None and (watched.baseline.root, watched.baseline.grade) == (baseline.root, baseline.grade):
            return
        self._looks.end(watched)  # what was seen by another baseline is looked at anew
        watched.baseline, watched.reason = baseline, ""
        self._reporter.doubt_coverage()
        log.info("baseline", container=container_id[:12], grade=baseline.grade.title, root=str(baseline.root))
        self._then(watched, now)
