"""Looks at the writable layers of the watched containers: when, on which thread, and what is told of what was seen.

In: containers with a baseline and how to watch them, rings, and floods. Out: verdicts, told when they say something new. For the flow's
thread. Looks that take long are made beside it, one after the other: a container that is large, or floods, does not keep the others
waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import structlog

from intact.model.entry import Entry
from intact.model.layer import Baseline
from intact.model.observation import Observation
from intact.model.seam import Gap, PodPlan
from intact.observe.ports import Process
from intact.observe.watcher import Schedule

from .judging import judge_files
from .origins import Answers, Origins, Weighed, keep_waiting
from .ports import Eyes, HandIn
from .reporting import Reporter
from .roster import Roster
from .watched import EVENT_FLOOD, Watched, merge

log = structlog.get_logger()

LONG_LOOK_S = 0.1
LONG_LOOK_PATHS = 256
"""A look at more paths than these, or at all of a container of which that took longer than `LONG_LOOK_S`, is made beside the flow."""


class Looks:
    """Owns the schedule, and of each container what was seen: `drift`, `is_owed`, `is_flooding`, `whole_look_s`. `miss` is called with a
    container whose writable layer is gone, `catch_up` to hear of what rang and was not told yet."""

    def __init__(
        self,
        eyes: Eyes,
        *,
        roster: Roster,
        reporter: Reporter,
        origins: Origins | None,
        hand_in: HandIn,
        miss: Callable[[Watched], None],
        catch_up: Callable[[], None],
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._eyes, self._roster, self._reporter, self._origins = eyes, roster, reporter, origins
        self._hand_in, self._miss, self._catch_up, self._clock, self._steady = hand_in, miss, catch_up, clock, steady
        self._schedule = Schedule()
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="long-look")

    # -- when --------------------------------------------------------------------------------------------------------

    def follow(self, watched: Watched, plan: PodPlan, now: float) -> None:
        """Looks as the plan says, from now on; at everything, where it wants to be told of more or less than before."""
        self._schedule.add(watched.running.container.id, plan, now)
        if plan.levels != watched.levels:
            watched.levels = plan.levels
            self._schedule.look_at(watched.running.container.id, now)
        if watched.is_flooding:
            self._schedule.flood(watched.running.container.id, now)

    def end(self, watched: Watched) -> None:
        self._schedule.remove(watched.running.container.id)
        if self._origins is not None:
            self._origins.forget(watched.running.container.id)

    def next_due(self, now: float) -> float:
        return self._schedule.next_due(now)

    def is_dirty(self, watched: Watched) -> bool:
        """Whether something rang that has not been looked at yet."""
        return self._schedule.is_dirty(watched.running.container.id)

    def doubt_everything(self, now: float) -> None:
        """Rings were lost."""
        self._schedule.everything(now)

    def ring(self, directory: bytes, paths: frozenset[bytes] | None, writers: Mapping[bytes, Process | None], now: float) -> None:
        """Something in the upper `directory` may have changed."""
        for watched in self._roster:
            if watched.running.mounted is not None and directory == watched.running.mounted.upper:
                watched.note_writers(writers, self._clock())
                self._schedule.rang(watched.running.container.id, paths, now)

    def ring_apart(self, directory: bytes, paths: frozenset[bytes], writers: Mapping[bytes, Process | None]) -> None:
        """Some paths of the upper `directory`, which floods, rang where it does not."""
        for watched in self._roster:
            if watched.running.mounted is not None and directory == watched.running.mounted.upper:
                watched.note_writers(writers, self._clock())
                self._schedule.rang_apart(watched.running.container.id, paths)

    def note_floods(self, floods: frozenset[bytes], now: float) -> None:
        """Whoever floods from now on is told once, and is looked at by the clock until it is quiet."""
        for watched in self._roster:
            container, mounted = watched.running.container, watched.running.mounted
            floods_now = mounted is not None and mounted.upper in floods
            if floods_now == watched.is_flooding:
                continue
            watched.is_flooding = floods_now
            self._reporter.doubt_coverage()
            if floods_now:
                at = self._clock()
                log.warning("event_flood", container=container.id[:12], name=container.name)
                self._schedule.flood(container.id, now)
                reason = f"{EVENT_FLOOD} (container {container.name}, {container.id[:12]})"
                self._reporter.hand_over(gaps=(Gap(since=at, until=at, reason=reason),))
            else:
                log.info("event_flood_over", container=container.id[:12])
                self._schedule.calm(container.id, now)

    # -- looking -----------------------------------------------------------------------------------------------------

    def look_at_due(self, now: float) -> None:
        for container_id, paths in self._schedule.due(now):
            watched = self._roster.get(container_id)
            if watched is None or watched.baseline is None:
                continue
            if watched.is_flooding or (watched.whole_look_s > LONG_LOOK_S if paths is None else len(paths) > LONG_LOOK_PATHS):
                self._look_aside(watched, watched.baseline, paths)
            else:
                self.look(watched, paths)

    def look(self, watched: Watched, paths: frozenset[bytes] | None = None, *, anyway: bool = False) -> None:
        """Looks now, judges, and tells what is new; `anyway`: tells it in any case."""
        if watched.baseline is None:
            return
        started = self._steady()
        observation = self._eyes.look(watched.running, watched.baseline, paths, watched.levels)
        self._take(watched, observation, paths, started, anyway=anyway)

    def close(self) -> None:
        self._aside.shutdown(wait=False, cancel_futures=True)

    def _look_aside(self, watched: Watched, baseline: Baseline, paths: frozenset[bytes] | None) -> None:
        """The same beside the flow, which goes on. What rings meanwhile is looked at afterwards."""
        self._schedule.begin_look(watched.running.container.id)
        levels = watched.levels

        def look() -> tuple[float, Observation | None]:
            started = self._steady()
            observation = self._eyes.look(watched.running, baseline, paths, levels)
            return self._steady() - started, observation

        work = self._aside.submit(look)

        def take(done: Future[tuple[float, Observation | None]]) -> None:
            """Unless it was held against a baseline that counts no more: then it is looked at anew. What it waited for the flow is no part
            of the look."""
            if self._roster.holds(watched) and watched.baseline is baseline:
                took_s, observation = done.result()
                self._take(watched, observation, paths, self._steady() - took_s)

        work.add_done_callback(lambda done: None if done.cancelled() else self._hand_in(lambda _: take(done)))

    # -- what was seen -----------------------------------------------------------------------------------------------

    def _take(
        self, watched: Watched, observation: Observation | None, paths: frozenset[bytes] | None, started: float, *, anyway: bool = False
    ) -> None:
        baseline = watched.baseline
        judged = None
        if baseline is not None and observation is not None:
            judged = judge_files(baseline, observation, partial(self._weigh, watched, baseline, observation, paths), watched.levels)
        finished = self._steady()
        self._schedule.looked(watched.running.container.id, started, finished, None if paths is None else len(paths))
        if paths is None:
            watched.whole_look_s = finished - started
        if baseline is None:
            return
        if judged is None:
            self._miss(watched)
            return
        verdict, waiting = judged.verdict, judged.weighed.waiting
        known = {finding.id: finding for finding in watched.drift.findings} if watched.drift is not None else {}
        verdict = replace(verdict, findings=self._eyes.date(watched.running, baseline, verdict.findings, known))
        if not watched.is_flooding and watched.outpaces_rings(finding for finding in verdict.findings if finding.id not in known):
            self._catch_up()
        verdict = keep_waiting(watched.drift, verdict, waiting)
        if paths is not None and verdict.untold:  # a number, which only a look at everything says of the whole container
            self._schedule.rang(watched.running.container.id, None, finished)
        verdict = watched.sign(verdict if paths is None else merge(watched.drift, verdict, paths))
        watched.is_owed |= anyway
        if verdict.findings or not waiting:  # what is waited for may be a finding: nobody is told that there is none
            watched.drift, anyway = verdict, watched.is_owed
            watched.is_owed = bool(waiting) and anyway
            self._reporter.tell(watched, watched.drift, anyway=anyway)
        for layer in baseline.layers:
            layer.release()

    def _weigh(
        self, watched: Watched, baseline: Baseline, observation: Observation, paths: frozenset[bytes] | None, added: Sequence[Entry]
    ) -> Weighed:
        """Where added code comes from, as far as that is known; the rest is looked at again when it is."""
        if self._origins is None:
            return Weighed()

        def learn(answers: Answers) -> None:
            self._hand_in(lambda _: self._learn(watched, baseline, observation, answers))

        return self._origins.weigh(watched.running, baseline, added, learn, paths=paths)

    def _learn(self, watched: Watched, baseline: Baseline, observation: Observation, answers: Answers) -> None:
        """A container that runs is looked at again, beside the flow where that takes long: who adds one file of code after the other has
        one answer after the other. Of one that has ended, what was seen last is judged."""
        if self._origins is not None:
            self._origins.finish(watched.running.container.id)
        answers()
        if self._roster.holds(watched):
            if watched.baseline is not baseline or not watched.is_on:
                return
            if watched.is_flooding or watched.whole_look_s > LONG_LOOK_S:
                self._schedule.look_at(watched.running.container.id, self._steady())
            else:
                self.look(watched)
        elif watched.is_on:
            judged = judge_files(baseline, observation, partial(self._weigh, watched, baseline, observation, None), watched.levels)
            if not judged.weighed.waiting:
                self._reporter.tell(watched, watched.sign(judged.verdict), anyway=watched.is_owed)
