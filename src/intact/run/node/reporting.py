"""What the node says: verdicts when they say something new, coverage when it changes and every `HEARTBEAT_S` anyway, and lost events.

In: verdicts and what is remembered of the containers. Out: reports, handed to one `send`, which only spools. What could not be kept is said
again with the next heartbeat. For the flow's thread, but for `tell_gap`; never looks and never judges.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from dataclasses import replace

import structlog

from intact.model.errors import TemporaryError
from intact.model.finding import State, Verdict
from intact.model.observation import Scope, Unobserved
from intact.model.seam import CommandOutcome, Coverage, Gap, Report

from .watched import Watched
from .writers import WriterMemory

log = structlog.get_logger()

HEARTBEAT_S = 15.0
KEEP_WRITERS_S = 2.0
"""Who did what was found is written down at most this often."""
GAP_EVERY_S = 10.0
"""Overflows that follow one another are told as one gap."""


class Reporter:
    """`clock` is the time that reports carry, Unix seconds; the times that are arguments are steady."""

    def __init__(
        self, *, node: str, send: Callable[[Report], None], clock: Callable[[], float], writers: WriterMemory | None = None
    ) -> None:
        self._node, self._send, self._clock, self._writers = node, send, clock, writers
        self._tier = ""
        self._is_coverage_stale = True
        self._coverage_said: object = None
        self._next_heartbeat = 0.0
        self._next_keep = 0.0
        self._lost: Gap | None = None
        self._next_gap = 0.0

    def name_tier(self, tier: str) -> None:
        """How the node hears of changes, as every report says from now on."""
        self._tier = tier

    # -- what is new -------------------------------------------------------------------------------------------------

    def tell(self, watched: Watched, verdict: Verdict, *, anyway: bool = False) -> None:
        """Reports a verdict that differs from the one told before, be it that it counts what was never counted before."""
        says = (verdict.state, frozenset(f.id for f in verdict.findings), verdict.unobserved, verdict.baseline_root)
        counted = watched.new_counts(verdict)
        is_new = watched.said.get(verdict.scope) != says or bool(counted)
        self._is_coverage_stale |= is_new
        if (anyway or is_new) and self.hand_over(verdicts=(verdict,)):
            watched.said[verdict.scope] = says
            watched.counted |= counted

    def tell_unseen(self, watched: Watched, reason: str) -> None:
        """The container cannot be looked at."""
        watched.reason = reason
        unobserved = (Unobserved(path=b"/", reason=reason),)
        watched.drift = Verdict(
            container=watched.running.container, state=State.UNOBSERVED, scope=Scope.DRIFT, unobserved=unobserved, at=self._clock()
        )
        self.tell(watched, watched.drift)

    def tell_gap(self, gap: Gap) -> None:
        """Reports a time in which nothing was watched, from any thread. Raises TemporaryError where it cannot be kept now."""
        self._send(self._report(gaps=(gap,)))

    def note_lost(self, events: int) -> None:
        """So many events were dropped, or more: each time that its own queue is full, the kernel says so once."""
        at = self._clock()
        lost = self._lost or Gap(since=at, until=at, reason="event queue overflow")
        self._lost = replace(lost, until=at, events_lost=lost.events_lost + events)

    def tell_lost(self, now: float) -> None:
        """What was lost since it was told last, when that is long enough ago."""
        if self._lost is not None and now >= self._next_gap and self.hand_over(gaps=(self._lost,)):
            self._lost, self._next_gap = None, now + GAP_EVERY_S

    # -- coverage ----------------------------------------------------------------------------------------------------

    def doubt_coverage(self) -> None:
        """It may be other than it was told last."""
        self._is_coverage_stale = True

    def beat(self, everybody: Collection[Watched], now: float) -> bool:
        """Coverage, and what was not kept before, if it is time or something changed; whether it was."""
        if now < self._next_heartbeat and not self._is_coverage_stale:
            return False
        self._is_coverage_stale = False
        if self._writers is not None and now >= self._next_keep:
            self._next_keep = now + KEEP_WRITERS_S
            self._writers.keep(f for watched in everybody if watched.drift is not None for f in watched.drift.findings)
        coverage = tuple(watched.cover() for watched in everybody)
        says = {_summarise(one) for one in coverage}
        if now < self._next_heartbeat and says == self._coverage_said:
            return False
        self._next_heartbeat = now + HEARTBEAT_S
        if self.hand_over(coverage=coverage):
            self._coverage_said = says
        for watched in everybody:
            for verdict in filter(None, (watched.drift, watched.layers, watched.live)):
                self.tell(watched, verdict)
        return True

    # -- reports -----------------------------------------------------------------------------------------------------

    def hand_over(
        self,
        *,
        verdicts: tuple[Verdict, ...] = (),
        coverage: tuple[Coverage, ...] | None = None,
        gaps: tuple[Gap, ...] = (),
        outcomes: tuple[CommandOutcome, ...] = (),
    ) -> bool:
        """Whether a report of this was kept. What was not is said again with the next heartbeat, from what is known then."""
        try:
            self._send(self._report(verdicts=verdicts, coverage=coverage, gaps=gaps, outcomes=outcomes))
        except TemporaryError as error:
            log.error("report_not_kept", reason=str(error))
            return False
        return True

    def _report(
        self,
        *,
        verdicts: tuple[Verdict, ...] = (),
        coverage: tuple[Coverage, ...] | None = None,
        gaps: tuple[Gap, ...] = (),
        outcomes: tuple[CommandOutcome, ...] = (),
    ) -> Report:
        return Report(
            id=uuid.uuid4().hex,
            node=self._node,
            at=self._clock(),
            verdicts=verdicts,
            coverage=coverage,
            gaps=gaps,
            outcomes=outcomes,
            tier=self._tier,
        )


def _summarise(one: Coverage) -> tuple[object, ...]:
    """What of it is told at once when it changes."""
    is_whole = one.layers_verified_at > 0, one.layers_unverified_bytes == 0
    return one.container.id, one.verdict, one.reason, one.baseline_root, *is_whole
