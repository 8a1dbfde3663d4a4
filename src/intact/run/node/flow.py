"""The node's half of the flow: running containers → observation → comparison → verdicts, handed to one `send`.

One thread owns all state. It wakes when the doorbell rings, when a look is due, or when a worker brings something (a baseline, a verified
layer, a command), and never waits for the network: `send` only spools. Verdicts are reported when they say something new; coverage when it
changes, and every `HEARTBEAT_S` anyway.

Looks that take long are made beside it, one after the other: a container that is large, or floods, does not keep the others waiting.

There are two times: `clock`, which reports carry and which may jump, and `steady`, which does not, and by which everything is scheduled.
"""

from __future__ import annotations

import queue
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import structlog

from intact.compare.differ import compare
from intact.compare.executed import judge_executed
from intact.compare.judge import judge, judge_layers
from intact.compare.live import find_derivable, judge_live, paths_to_compare
from intact.model.container import Running
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.entry import Entry
from intact.model.errors import IntactError, TemporaryError
from intact.model.finding import Difference, Finding, State, Verdict
from intact.model.layer import Baseline, Record
from intact.model.live import LiveLook
from intact.model.observation import Observation, Scope, Unobserved
from intact.model.seam import Command, CommandOutcome, Coverage, Gap, Plan, PodPlan, Report
from intact.observe.ports import Doorbell, LiveWorld, Process, View
from intact.observe.settled import Settled
from intact.observe.watcher import Schedule

from .layer_memory import LayerMemory
from .layer_reader import EVERY_S as LAYERS_EVERY_S
from .layer_reader import LayerReader, Reading
from .live_watch import LiveWatch
from .origins import LIBRARIES, Answers, Origins, Weighed, keep_waiting, leave_out
from .watched import EVENT_FLOOD, EXITED, Watched, describe_writer, merge
from .writers import WriterMemory

log = structlog.get_logger()

HEARTBEAT_S = 15.0
KEEP_WRITERS_S = 2.0
"""Who did what was found is written down at most this often."""
RELIST_S = 30.0
"""Containers are listed again this often even when the runtime said nothing: a lost event costs at most this long."""
TICK_S = 0.2
LINGER_S = 120.0
"""A container that ended before its baseline was there is looked at as soon as it is; it is waited for so long."""
REMEMBERED_ENDED = 1024
EXECUTED_EVERY_S = 0.2
MAX_EXECUTED_SAID = 4096
LONG_LOOK_S = 0.1
LONG_LOOK_PATHS = 256
"""A look at more paths than these, or at all of a container of which that took longer than `LONG_LOOK_S`, is made beside the flow."""
GAP_EVERY_S = 10.0
"""Overflows that follow one another are told as one gap."""
RETRY_BASELINE_S = 30.0
RETRY_BETTER_S = 300.0
"""A container that is watched by what was first seen of its image is given a better baseline at most this late."""


class Eyes(Protocol):
    """How a container is looked at: the observe stage on this host."""

    def look(self, running: Running, baseline: Baseline, paths: frozenset[bytes] | None) -> Observation | None:
        """The writable layer, or only `paths` of it; None if there is no such layer any more."""

    def can_look(self, running: Running) -> bool:
        """Whether the writable layer is still there."""

    def date(
        self, running: Running, baseline: Baseline, findings: tuple[Finding, ...], known: Mapping[str, Finding]
    ) -> tuple[Finding, ...]:
        """`findings` with the moments at which they were made, `known` being those that were dated before, by id."""

    def read_layer(
        self, running: Running, directory: bytes, algorithms: Algorithms = SHA256, settled: Settled | None = None
    ) -> Iterator[Record | Unobserved]:
        """What one read-only layer holds on disk; throttled. Of what is `settled`, only what may have changed since is read. Raises
        InputError or OSError where it cannot be read."""


class Baselines(Protocol):
    """Where this node's baselines come from; may take seconds, called from a worker thread."""

    def obtain(self, running: Running) -> Baseline:
        """Raises IntactError with the reason why this container has no baseline."""

    def withdraw(self, roots: frozenset[Digest]) -> None:
        """Baselines of these roots that came from the cluster are not given out any more."""

    def is_withdrawn(self, baseline: Baseline) -> bool: ...


class NodeFlow:
    """Watches every container of one node until told to stop."""

    def __init__(
        self,
        *,
        node: str,
        list_running: Callable[[], Iterable[Running]],
        runtime_changed: Callable[[], bool],
        doorbell: Doorbell,
        eyes: Eyes,
        baselines: Baselines,
        send: Callable[[Report], None],
        clock: Callable[[], float],
        steady: Callable[[], float],
        list_ended: Callable[[frozenset[str]], Iterable[Running]] = lambda known: (),
        live: LiveWorld | None = None,
        layer_memory: LayerMemory | None = None,
        revoked: Callable[[], frozenset[str]] = frozenset,
        origins: Origins | None = None,
        writers: WriterMemory | None = None,
    ) -> None:
        """`live`: what runs and what is mounted; None where nobody looks at that. `layer_memory`: which layers were read before a restart.
        `clock`: Unix seconds; `steady`: seconds since whenever, that nobody can set. `list_ended`: the containers that ended since it
        was asked last, other than the known ones. `revoked`: the keys known to be revoked now; when there are more, every baseline is
        obtained anew. `origins`: without it nothing added is taken for the image's. `writers` remembers who did what over a restart."""
        self._node = node
        self._list_running = list_running
        self._runtime_changed = runtime_changed
        self._doorbell = doorbell
        self._tier = ""
        self._schedule = Schedule()
        self._eyes = eyes
        self._baselines = baselines
        self._send = send
        self._clock = clock
        self._steady = steady
        self._list_ended = list_ended
        self._ended: deque[str] = deque(maxlen=REMEMBERED_ENDED)
        self._origins = origins
        self._revoked = revoked
        self._known_revoked = revoked()
        self._watched: dict[str, Watched] = {}
        self._inbox: queue.SimpleQueue[Callable[[float], None]] = queue.SimpleQueue()
        self._builders = ThreadPoolExecutor(2, thread_name_prefix="baseline")
        self._long_looks = ThreadPoolExecutor(1, thread_name_prefix="long-look")
        self._layers = LayerReader(eyes.read_layer, clock, layer_memory)
        self._live = LiveWatch(live, lambda look: self._inbox.put(lambda _: self._take_live(look)), clock=clock) if live else None
        self._plan = Plan(etag="")
        self._next_relist = 0.0
        self._next_heartbeat = 0.0
        self._coverage_said: object = None
        self._lost: Gap | None = None
        self._next_gap = 0.0
        self._is_coverage_stale = True
        self._writers = writers
        self._next_keep = 0.0

    # -- from other threads ------------------------------------------------------------------------------------------

    def apply_plan(self, plan: Plan) -> None:
        """Takes over how pods are to be watched."""
        self._inbox.put(lambda now: self._adopt_plan(plan, now))

    def order(self, command: Command) -> None:
        """Carries out a command of the cluster, unless it has expired by then."""
        self._inbox.put(lambda _: self._carry_out(command))

    def tell_gap(self, gap: Gap) -> None:
        """Reports a time in which nothing was watched. Raises TemporaryError where it cannot be kept now."""
        self._send(self._report(self._clock(), gaps=(gap,)))

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set. An unexpected error ends the process rather than leaving a node unwatched in silence."""
        tier = self._doorbell.start()
        self._tier = f"{tier.name}: {tier.reason}"
        log.info("watching", tier=tier.name, reason=tier.reason)
        if self._live is not None:
            self._live.start()
        try:
            while not stop.is_set():
                self.step()
        finally:
            self._builders.shutdown(wait=False, cancel_futures=True)
            if self._live is not None:
                self._live.close()
            self._long_looks.shutdown(wait=False, cancel_futures=True)
            self._layers.close()
            if self._origins is not None:
                self._origins.close()
            self._doorbell.close()

    def step(self) -> None:
        """One turn: 1 hear, 2 take in what workers brought, 3 list, 4 look at what is due, 5 report coverage."""
        # 1
        now = self._steady()
        rings = self._doorbell.wait(min(TICK_S, max(0.0, self._schedule.next_due(now) - now)))
        now = self._steady()
        if rings.overflowed:
            at = self._clock()
            self._lost = replace(self._lost or Gap(since=at, until=at, reason="event queue overflow"), until=at)
            self._lost = replace(self._lost, events_lost=self._lost.events_lost + rings.lost)
            self._schedule.everything(now)
        if self._lost is not None and now >= self._next_gap and self._hand_over(self._report(self._clock(), gaps=(self._lost,))):
            self._lost, self._next_gap = None, now + GAP_EVERY_S
        self._note_floods(rings.floods, now)
        for directory, paths in rings.dirty.items():
            self._ring(directory, paths, rings.writers.get(directory, {}), now)
        for directory, executed in rings.executed.items():
            for watched in self._watched.values():
                if watched.running.mounted is not None and watched.running.mounted.upper == directory:
                    watched.note_executed(executed)
        # 2
        while not self._inbox.empty():
            self._inbox.get()(now)
        # 3
        if self._runtime_changed() or now >= self._next_relist:
            self._relist(now)
        # 4
        for container_id, paths in self._schedule.due(now):
            if self._takes_long(container_id, paths):
                self._look_aside(container_id, paths)
            else:
                self._look(container_id, paths)
        for watched in self._watched.values():
            if watched.executed and now >= watched.executed_at:
                self._look_at_executed(watched)
        # 5
        self._heartbeat(self._steady())

    def _relist(self, now: float) -> None:
        self._next_relist = now + RELIST_S
        self._doubt_baselines()
        running = {r.container.id: r for r in self._list_running()}
        for one in self._list_ended(frozenset((*running, *self._watched, *self._ended))):
            self._welcome(one)
        for container_id in self._watched.keys() - running.keys():
            if not self._lingers(self._watched[container_id], now):
                self._lose(container_id)
        for container_id, one in running.items():
            known = self._watched.get(container_id)
            if known is None:
                self._welcome(one)
            elif known.wants_baseline(now):
                self._fetch_baseline(known, now)

    def _welcome(self, running: Running) -> None:
        watched = self._watched[running.container.id] = Watched(running=running)
        if self._writers is not None:
            watched.remember = self._writers.find
        self._is_coverage_stale = True
        log.info("container_seen", container=running.container.id[:12], name=running.container.name, image=running.container.image)
        if running.mounted is None:
            watched.reason = running.unobservable
            self._see_nothing(watched)
            return
        mounted = running.mounted
        view = View(root=b"/proc/%d/root" % running.init_pid, device=mounted.device, upper=mounted.upper)
        unheard = self._doorbell.watch([mounted.upper, *mounted.lowers], view)
        if unheard:
            watched.notice = f"changes are found by timed looks only: {next(iter(unheard.values()))}"
            log.warning("not_heard", container=running.container.id[:12], reason=watched.notice)
        self._fetch_baseline(watched, self._steady())

    def _lingers(self, watched: Watched, now: float) -> bool:
        """Whether a container that has ended is to be kept until its baseline is there, so that its files can still be looked at."""
        if watched.baseline is not None or watched.running.mounted is None:
            return False
        watched.ended_at = watched.ended_at or now
        return now < watched.ended_at + LINGER_S and self._eyes.can_look(watched.running)

    def _lose(self, container_id: str) -> None:
        """A container that is gone still yields its last finding, as long as its writable layer exists: what it did last may not have rung
        yet."""
        watched = self._watched[container_id]
        if watched.executed:
            self._look_at_executed(watched)
        if watched.running.mounted is not None and watched.is_on:
            is_clean = watched.drift is not None and watched.drift.state is State.INTACT
            if watched.baseline is not None and self._eyes.can_look(watched.running):
                self._look(container_id, None)
            elif watched.baseline is None or watched.drift is None or (is_clean and self._schedule.is_dirty(container_id)):
                watched.reason = "it was gone before it could be looked at"
                self._see_nothing(watched)
        self._schedule.remove(container_id)
        if self._live is not None:
            self._live.forget(container_id)
        self._ended.append(container_id)
        del self._watched[container_id]
        self._is_coverage_stale = True
        mounted = watched.running.mounted
        if mounted is not None:
            in_use = {d for w in self._watched.values() if w.running.mounted for d in (w.running.mounted.upper, *w.running.mounted.lowers)}
            unused = [d for d in (mounted.upper, *mounted.lowers) if d not in in_use]
            self._doorbell.forget(unused)
            self._layers.forget(unused)
        log.info("container_gone", container=container_id[:12])

    # -- baselines ---------------------------------------------------------------------------------------------------

    def _doubt_baselines(self) -> None:
        """A key was revoked: what any baseline says may be a lie, so that nothing is observed until each was obtained again."""
        revoked = self._revoked()
        if revoked <= self._known_revoked:
            return
        self._known_revoked = revoked
        log.warning("baselines_doubted", revoked=len(revoked))
        for container_id, watched in self._watched.items():
            if watched.baseline is not None:
                self._schedule.remove(container_id)
                watched.doubt("a key was revoked: its baseline is obtained again")
                self._is_coverage_stale = True

    def _fetch_baseline(self, watched: Watched, now: float) -> None:
        watched.retry_at = now + (RETRY_BASELINE_S if watched.baseline is None else RETRY_BETTER_S)
        container_id, revoked = watched.running.container.id, self._known_revoked
        work = self._builders.submit(self._obtain, watched.running)
        work.add_done_callback(lambda done: self._inbox.put(lambda at: self._take_baseline(container_id, done, revoked, at)))

    def _obtain(self, running: Running) -> Baseline:
        baseline = self._baselines.obtain(running)
        return self._origins.prepare(baseline) if self._origins is not None else baseline

    def _take_baseline(self, container_id: str, done: Future[Baseline], revoked: frozenset[str], now: float) -> None:
        watched = self._watched.get(container_id)
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
                watched.reason = f"no baseline: {error}"
                self._see_nothing(watched)
            return
        if watched.baseline is not None and (watched.baseline.root, watched.baseline.grade) == (baseline.root, baseline.grade):
            return
        self._schedule.remove(container_id)  # what was seen by another baseline is looked at anew
        watched.baseline, watched.reason = baseline, ""
        self._is_coverage_stale = True
        log.info("baseline", container=container_id[:12], grade=watched.baseline.grade.title, root=str(watched.baseline.root))
        self._follow_plan(watched, {p.pod_uid: p for p in self._plan.pods}, now)
        if watched.ended_at:
            self._lose(container_id)
        else:
            self._verify_layers(watched)

    def _see_nothing(self, watched: Watched) -> None:
        watched.drift = Verdict(
            container=watched.running.container,
            state=State.UNOBSERVED,
            scope=Scope.DRIFT,
            unobserved=(Unobserved(path=b"/", reason=watched.reason),),
            at=self._clock(),
        )
        self._tell(watched, watched.drift)

    # -- looking -----------------------------------------------------------------------------------------------------

    def _note_floods(self, floods: frozenset[bytes], now: float) -> None:
        """Whoever floods from now on is told once, and is looked at by the clock until it is quiet."""
        for container_id, watched in self._watched.items():
            floods_now = watched.running.mounted is not None and watched.running.mounted.upper in floods
            if floods_now == watched.is_flooding:
                continue
            watched.is_flooding, self._is_coverage_stale = floods_now, True
            if floods_now:
                container, at = watched.running.container, self._clock()
                log.warning("event_flood", container=container_id[:12], name=container.name)
                self._schedule.flood(container_id, now)
                reason = f"{EVENT_FLOOD} (container {container.name}, {container_id[:12]})"
                self._hand_over(self._report(at, gaps=(Gap(since=at, until=at, reason=reason),)))
            else:
                log.info("event_flood_over", container=container_id[:12])
                self._schedule.calm(container_id, now)

    def _ring(self, directory: bytes, paths: frozenset[bytes] | None, writers: Mapping[bytes, Process | None], now: float) -> None:
        for container_id, watched in self._watched.items():
            mounted = watched.running.mounted
            if mounted is None:
                continue
            if directory == mounted.upper:
                watched.note_writers(writers, self._clock())
                self._schedule.rang(container_id, paths, now)
            elif directory in mounted.lowers:
                self._layers.touch(directory)
                self._verify_layers(watched)

    def _look(self, container_id: str, paths: frozenset[bytes] | None, *, anyway: bool = False) -> None:
        """Looks, judges, and tells what is new; `anyway`: tells it in any case."""
        watched = self._watched.get(container_id)
        if watched is None or watched.baseline is None:
            return
        started = self._steady()
        observation = self._eyes.look(watched.running, watched.baseline, paths)
        self._take_look(watched, observation, paths, started, anyway=anyway)

    def _takes_long(self, container_id: str, paths: frozenset[bytes] | None) -> bool:
        watched = self._watched.get(container_id)
        if watched is None or watched.baseline is None:
            return False
        return watched.is_flooding or (watched.whole_look_s > LONG_LOOK_S if paths is None else len(paths) > LONG_LOOK_PATHS)

    def _look_aside(self, container_id: str, paths: frozenset[bytes] | None) -> None:
        """The same beside the flow, which goes on. What rings meanwhile is looked at afterwards."""
        watched = self._watched[container_id]
        baseline = watched.baseline
        assert baseline is not None, "only containers that can be looked at are due"
        self._schedule.begin_look(container_id)
        work = self._long_looks.submit(lambda: (self._steady(), self._eyes.look(watched.running, baseline, paths)))

        def take(done: Future[tuple[float, Observation | None]]) -> None:
            """Unless it was held against a baseline that counts no more: then it is looked at anew."""
            if self._watched.get(container_id) is watched and watched.baseline is baseline:
                started, observation = done.result()
                self._take_look(watched, observation, paths, started)

        work.add_done_callback(lambda done: None if done.cancelled() else self._inbox.put(lambda _: take(done)))

    def _take_look(
        self, watched: Watched, observation: Observation | None, paths: frozenset[bytes] | None, started: float, *, anyway: bool = False
    ) -> None:
        finished = self._steady()
        self._schedule.looked(watched.running.container.id, started, finished)
        if paths is None:
            watched.whole_look_s = finished - started
        if watched.baseline is None:
            return
        if observation is None:
            self._miss(watched)
            return
        differences = compare(watched.baseline, observation)
        weighed = self._weigh(watched, watched.baseline, observation, differences)
        verdict = judge(watched.baseline, observation, leave_out(differences, weighed.waiting), weighed.derivations)
        known = {finding.id: finding for finding in watched.drift.findings} if watched.drift is not None else {}
        verdict = replace(verdict, findings=self._eyes.date(watched.running, watched.baseline, verdict.findings, known))
        verdict = keep_waiting(watched.drift, verdict, weighed.waiting)
        verdict = watched.sign(verdict if paths is None else merge(watched.drift, verdict, paths))
        watched.is_owed |= anyway
        if verdict.findings or not weighed.waiting:  # what is waited for may be a finding: nobody is told that there is none
            watched.drift, anyway = verdict, watched.is_owed
            watched.is_owed = bool(weighed.waiting) and anyway
            self._tell(watched, watched.drift, anyway=anyway)
        for layer in watched.baseline.layers:
            layer.release()

    def _weigh(self, watched: Watched, baseline: Baseline, observation: Observation, differences: tuple[Difference, ...]) -> Weighed:
        """Where added code comes from, as far as that is known; the rest is looked at again when it is."""
        if self._origins is None:
            return Weighed()

        def learn(answers: Answers) -> None:
            self._inbox.put(lambda _: self._learn(watched, baseline, observation, differences, answers))

        return self._origins.weigh(watched.running, baseline, observation, differences, learn)

    def _learn(self, watched: Watched, baseline: Baseline, observation: Observation, differences: tuple[Difference, ...],
               answers: Answers) -> None:  # fmt: skip
        """A container that runs is looked at again; of one that has ended, what was seen last is judged."""
        container_id = watched.running.container.id
        if self._origins is not None:
            self._origins.finish(container_id)
        answers()
        if self._watched.get(container_id) is watched:
            if watched.baseline is baseline and watched.is_on:
                self._look(container_id, None)
        elif watched.is_on:
            weighed = self._weigh(watched, baseline, observation, differences)
            if not weighed.waiting:
                verdict = judge(baseline, observation, differences, weighed.derivations)
                self._tell(watched, watched.sign(verdict), anyway=watched.is_owed)

    def _look_at_executed(self, watched: Watched) -> None:
        """What was executed out of the writable layer is told, once each, even where nothing is left of it. Every `EXECUTED_EVERY_S` at
        most, and for no more than a fifth of the time."""
        if watched.baseline is None or not watched.is_on:
            return
        executed, watched.executed = watched.executed, {}
        started = self._steady()
        observation = self._eyes.look(watched.running, watched.baseline, frozenset(executed))
        finished = self._steady()
        watched.executed_at = finished + max(EXECUTED_EVERY_S, 4 * (finished - started))
        if observation is None:
            return
        verdict = judge_executed(watched.baseline, executed, observation, compare(watched.baseline, observation))
        new = tuple(
            replace(one, writer=writer, process=EXITED if writer is None else describe_writer(writer))
            for one in verdict.findings
            if one.id not in watched.executed_said
            for writer in (executed[one.difference.path],)
        )
        if not new:
            return
        if not self._hand_over(self._report(self._clock(), verdicts=(replace(verdict, findings=new),))):
            watched.executed.update(executed)
            return
        if len(watched.executed_said) >= MAX_EXECUTED_SAID:
            watched.executed_said.clear()
        watched.executed_said.update(one.id for one in new)
        watched.said.pop(Scope.LIVE, None)  # what runs now is told again: this was the last word on what ran, not on what does

    def _take_live(self, look: LiveLook | BaseException) -> None:
        """What runs and what is mounted, judged when it is other than before; a file of the writable layer may itself have changed."""
        if isinstance(look, BaseException):
            raise look
        watched = self._watched.get(look.container.id)
        if watched is None or watched.baseline is None or watched.running.mounted is None or not watched.is_on:
            return
        baseline, paths = watched.baseline, paths_to_compare(look)
        facts = (baseline.root, watched.with_volumes, look.runs, look.departed, look.mounts, look.unobserved)
        if watched.live is not None and not paths and facts == watched.live_facts:
            return
        differences = {}
        if paths:
            observation = self._eyes.look(watched.running, baseline, paths)
            if observation is None:
                return  # it is going: the next list says so
            differences = {difference.path: difference for difference in compare(baseline, observation)}
        weighed = self._weigh_libraries(watched, baseline, find_derivable(look, differences))
        if weighed.waiting:  # whatever else runs is told now
            look = replace(look, runs=tuple(run for run in look.runs if not run.is_mapped or run.path not in weighed.waiting))
        watched.live_facts = None if weighed.waiting else facts
        watched.live = judge_live(
            baseline,
            watched.running.mounted,
            look,
            differences,
            derivations=weighed.derivations,
            with_volumes=watched.with_volumes,
        )
        self._tell(watched, watched.live)
        for layer in baseline.layers:
            layer.release()

    def _weigh_libraries(self, watched: Watched, baseline: Baseline, libraries: tuple[Entry, ...]) -> Weighed:
        """Where libraries come from that are mapped, as far as that is known; the rest is looked at again when it is."""
        if self._origins is None or not libraries:
            return Weighed()
        origins, container_id = self._origins, watched.running.container.id

        def learn(answers: Answers) -> None:
            def take(_: float) -> None:
                answers()
                origins.finish(container_id, LIBRARIES)
                if self._live is not None:
                    self._live.look_again(container_id)

            self._inbox.put(take)

        return origins.weigh_entries(watched.running, baseline, libraries, learn, topic=LIBRARIES)

    def _miss(self, watched: Watched) -> None:
        """The writable layer is gone: with its container, which the next list says, or from under a running one, which is told."""
        if any(one.container.id == watched.running.container.id for one in self._list_running()):
            watched.reason = "its writable layer is gone"
            self._see_nothing(watched)
        else:
            self._next_relist = 0.0

    def _tell(self, watched: Watched, verdict: Verdict, *, anyway: bool = False) -> None:
        """Reports a verdict that differs from the one told before, be it that it counts what was never counted before."""
        says = (verdict.state, frozenset(f.id for f in verdict.findings), verdict.unobserved, verdict.baseline_root)
        counted = watched.new_counts(verdict)
        is_new = watched.said.get(verdict.scope) != says or bool(counted)
        self._is_coverage_stale |= is_new
        if (anyway or is_new) and self._hand_over(self._report(self._clock(), verdicts=(verdict,))):
            watched.said[verdict.scope] = says
            watched.counted |= counted

    def _hand_over(self, report: Report) -> bool:
        """Whether `report` was kept. What was not is said again with the next heartbeat, from what is known then."""
        try:
            self._send(report)
        except TemporaryError as error:
            log.error("report_not_kept", reason=str(error))
            return False
        return True

    # -- read-only layers --------------------------------------------------------------------------------------------

    def _verify_layers(self, watched: Watched) -> None:
        """Has the container's read-only layers read in the background; while that goes on, once more afterwards."""
        baseline, mounted, container_id = watched.baseline, watched.running.mounted, watched.running.container.id
        if baseline is None or mounted is None:
            return
        if len(mounted.lowers) != len(baseline.layers):
            reason = f"the runtime mounts {len(mounted.lowers)} read-only layers, the image has {len(baseline.layers)}"
            unread = Reading(differences=(), unobserved=(Unobserved(path=b"/", reason=reason),), at=self._clock())
            self._judge_layers(watched, baseline, unread)
        elif watched.is_reading_layers:
            watched.read_layers_again = True
        else:
            watched.is_reading_layers = True
            layers = zip(mounted.lowers, reversed(baseline.layers), strict=True)
            self._layers.submit(
                watched.running, layers, lambda found: self._inbox.put(lambda _: self._take_reading(container_id, baseline, found))
            )

    def _take_reading(self, container_id: str, baseline: Baseline, found: Reading | BaseException) -> None:
        """What was read, unless it was held against a baseline that counts no more."""
        if isinstance(found, BaseException):
            raise found
        watched = self._watched.get(container_id)
        if watched is None:
            return
        watched.is_reading_layers = False
        if watched.baseline is baseline:
            self._judge_layers(watched, baseline, found)
        if watched.read_layers_again:
            watched.read_layers_again = False
            self._verify_layers(watched)

    def _judge_layers(self, watched: Watched, baseline: Baseline, found: Reading) -> None:
        watched.layers = judge_layers(watched.running.container, baseline, found.differences, found.unobserved, found.at)
        self._tell(watched, watched.layers)

    # -- orders and reports ------------------------------------------------------------------------------------------

    def _adopt_plan(self, plan: Plan, now: float) -> None:
        self._plan = plan
        self._baselines.withdraw(frozenset(plan.withdrawn))
        for container_id, watched in self._watched.items():
            if watched.baseline is not None and self._baselines.is_withdrawn(watched.baseline):
                self._schedule.remove(container_id)
                watched.doubt("its baseline was withdrawn: it is obtained again")
                self._is_coverage_stale, self._next_relist = True, 0.0
        by_pod = {p.pod_uid: p for p in plan.pods}
        for watched in self._watched.values():
            if watched.baseline is not None:
                self._follow_plan(watched, by_pod, now)

    def _follow_plan(self, watched: Watched, by_pod: Mapping[str, PodPlan], now: float) -> None:
        pod = watched.running.container.pod
        plan = by_pod.get(pod.uid if pod else "", self._plan.default)
        self._schedule.add(watched.running.container.id, plan, now)
        if watched.is_flooding:
            self._schedule.flood(watched.running.container.id, now)
        self._is_coverage_stale |= watched.is_on != plan.watched
        watched.is_on = plan.watched
        watched.with_volumes = plan.volumes
        if self._live is not None and plan.watched:
            self._live.watch(watched.running)
        elif self._live is not None:
            self._live.forget(watched.running.container.id)

    def _carry_out(self, command: Command) -> None:
        at = self._clock()
        if at >= command.expires_at:
            outcome = CommandOutcome(command_id=command.id, succeeded=False, message="expired before it was carried out", at=at)
        else:
            meant = [w for w in self._watched.values() if w.running.container.pod and w.running.container.pod.uid == command.pod_uid]
            for watched in meant:
                self._look(watched.running.container.id, None, anyway=True)
                if watched.live is not None:
                    self._tell(watched, watched.live, anyway=True)
            outcome = CommandOutcome(command_id=command.id, succeeded=bool(meant), message=f"{len(meant)} containers looked at", at=at)
        self._hand_over(self._report(at, outcomes=(outcome,)))

    def _heartbeat(self, now: float) -> None:
        if now < self._next_heartbeat and not self._is_coverage_stale:
            return
        self._is_coverage_stale = False
        if self._writers is not None and now >= self._next_keep:
            self._next_keep = now + KEEP_WRITERS_S
            self._writers.keep(f for watched in self._watched.values() if watched.drift is not None for f in watched.drift.findings)
        coverage = tuple(watched.cover() for watched in self._watched.values())
        says = {(c.container.id, c.verdict, c.reason, c.baseline_root, c.layers_verified_at > 0) for c in coverage}
        if now >= self._next_heartbeat or says != self._coverage_said:
            self._next_heartbeat = now + HEARTBEAT_S
            if self._hand_over(self._report(self._clock(), coverage=coverage)):
                self._coverage_said = says
            for watched in self._watched.values():
                for verdict in filter(None, (watched.drift, watched.layers, watched.live)):
                    self._tell(watched, verdict)
                if watched.layers is not None and not 0 <= self._clock() - watched.layers.at < LAYERS_EVERY_S:
                    self._verify_layers(watched)

    def _report(
        self,
        now: float,
        *,
        verdicts: tuple[Verdict, ...] = (),
        coverage: tuple[Coverage, ...] | None = None,
        gaps: tuple[Gap, ...] = (),
        outcomes: tuple[CommandOutcome, ...] = (),
    ) -> Report:
        return Report(
            id=uuid.uuid4().hex,
            node=self._node,
            at=now,
            verdicts=verdicts,
            coverage=coverage,
            gaps=gaps,
            outcomes=outcomes,
            tier=self._tier,
        )
