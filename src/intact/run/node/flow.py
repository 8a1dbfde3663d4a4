"""The node's half of the flow: running containers → observation → comparison → verdicts, handed to one `send`.

One thread owns all state. It wakes when the doorbell rings, when a look is due, or when a worker brings something (a baseline, a verified
layer, a command), and never waits for the network: `send` only spools. Here is who comes and goes, and in which order things are done; the
rest is in modules of their own: `roster` (who is watched), `obtaining` (baselines), `looks` (writable layers), `executed`, `live_judging`
(what runs and is mounted), `layer_watch` (read-only layers) and `reporting`.

There are two times: `clock`, which reports carry and which may jump, and `steady`, which does not, and by which everything is scheduled.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping

import structlog

from intact.model.container import Running
from intact.model.errors import TemporaryError
from intact.model.finding import State
from intact.model.seam import Command, CommandOutcome, Gap, Plan, PodPlan, Report
from intact.observe.ports import Doorbell, LiveWorld, Rings, View, Volumes

from .executed import ExecutedFiles
from .layer_memory import LayerMemory
from .layer_reader import LayerReader
from .layer_watch import LayerWatch
from .live_judging import LiveJudge
from .looks import Looks
from .obtaining import Obtaining
from .origins import Origins
from .ports import Baselines, Eyes
from .reporting import Reporter
from .roster import Roster
from .watched import Watched
from .writers import WriterMemory

log = structlog.get_logger()

RELIST_S = 30.0
"""Containers are listed again this often even when the runtime said nothing: a lost event costs at most this long."""
RUNTIME_AWAY_S = 300.0
"""A runtime that does not answer may be restarting: what ran before is watched on for so long."""
TICK_S = 0.2
CATCH_UP_S = 0.25
"""So long the doorbell has to say who did what a look found before it; usually that is known within a few milliseconds."""
CATCH_UP_PAUSE_S = 1.0
LINGER_S = 120.0
"""A container that ended before its baseline was there is looked at as soon as it is; it is waited for so long."""


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
        volumes: Volumes | None = None,
        layer_memory: LayerMemory | None = None,
        revoked: Callable[[], frozenset[str]] = frozenset,
        origins: Origins | None = None,
        writers: WriterMemory | None = None,
    ) -> None:
        """`live`: what runs and what is mounted, `volumes`: what lies there; None where nobody looks at that. `layer_memory`: which layers
        were read before a restart. `clock`: Unix seconds; `steady`: seconds since whenever, that nobody can set. `list_ended`: the
        containers that ended since it was asked last, other than the known ones. `revoked`: the keys known to be revoked now; when there
        are more, every baseline is obtained anew. `origins`: without it nothing added is taken for the image's. `writers` remembers who
        did what over a restart."""
        self._list_running, self._list_ended, self._runtime_changed = list_running, list_ended, runtime_changed
        self._doorbell, self._eyes, self._origins, self._writers = doorbell, eyes, origins, writers
        self._clock, self._steady = clock, steady
        self._inbox: queue.SimpleQueue[Callable[[float], None]] = queue.SimpleQueue()
        self._plan = Plan(etag="")
        self._next_relist = self._next_catch_up = 0.0
        self._list_holds_until = 0.0
        hand_in, self._roster = self._inbox.put, Roster()
        roster = self._roster
        self._reporter = reporter = Reporter(node=node, send=send, clock=clock, writers=writers)
        self._looks = Looks(
            eyes,
            roster=roster,
            reporter=reporter,
            origins=origins,
            hand_in=hand_in,
            miss=self._miss,
            catch_up=self._catch_up,
            clock=clock,
            steady=steady,
        )
        self._executed = ExecutedFiles(roster=roster, eyes=eyes, reporter=reporter, steady=steady)
        self._live = LiveJudge(
            live, volumes, roster=roster, eyes=eyes, reporter=reporter, origins=origins, hand_in=hand_in, clock=clock, steady=steady
        )
        reader = LayerReader(eyes, clock, layer_memory)
        self._layers = LayerWatch(reader, roster=roster, reporter=reporter, hand_in=hand_in, clock=clock)
        self._obtaining = Obtaining(
            baselines,
            roster=roster,
            looks=self._looks,
            reporter=reporter,
            origins=origins,
            revoked=revoked,
            hand_in=hand_in,
            then=self._begin,
        )

    # -- from other threads ------------------------------------------------------------------------------------------

    def apply_plan(self, plan: Plan) -> None:
        """Takes over how pods are to be watched."""
        self._inbox.put(lambda now: self._adopt_plan(plan, now))

    def order(self, command: Command) -> None:
        """Carries out a command of the cluster, unless it has expired by then."""
        self._inbox.put(lambda _: self._carry_out(command))

    def tell_gap(self, gap: Gap) -> None:
        """Reports a time in which not everything was watched, and looks at everything again. Raises TemporaryError where it cannot be kept
        now."""
        self._inbox.put(self._looks.doubt_everything)
        self._reporter.tell_gap(gap)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set. An unexpected error ends the process rather than leaving a node unwatched in silence."""
        tier = self._doorbell.start()
        self._reporter.name_tier(f"{tier.name}: {tier.reason}")
        log.info("watching", tier=tier.name, reason=tier.reason)
        self._live.start()
        try:
            while not stop.is_set():
                self.step()
        finally:
            self._reporter.tell_lost(float("inf"))
            self._obtaining.close()
            self._live.close()
            self._looks.close()
            self._layers.close()
            if self._origins is not None:
                self._origins.close()
            self._doorbell.close()

    def step(self) -> None:
        """One turn: 1 hear, 2 take in what workers brought, 3 list, 4 look at what is due, 5 report coverage."""
        # 1
        now = self._steady()
        rings = self._doorbell.wait(min(TICK_S, max(0.0, self._looks.next_due(now) - now)))
        now = self._steady()
        self._hear(rings, now)
        # 2
        while not self._inbox.empty():
            self._inbox.get()(now)
        # 3
        if self._runtime_changed() or now >= self._next_relist:
            self._relist(now)
        # 4
        self._looks.look_at_due(now)
        self._executed.look_at_due(now)
        # 5
        if self._reporter.beat(tuple(self._roster), self._steady()):
            for watched in self._roster:
                self._layers.verify_old(watched)

    def _hear(self, rings: Rings, now: float) -> None:
        if rings.overflowed:
            self._reporter.note_lost(rings.lost)
            self._looks.doubt_everything(now)
        self._reporter.tell_lost(now)
        self._looks.note_floods(rings.floods, now)
        for directory, paths in rings.dirty.items():
            self._looks.ring(directory, paths, rings.writers.get(directory, {}), now)
            self._layers.ring(directory)
        for directory, apart in rings.apart.items():
            self._looks.ring_apart(directory, apart, rings.writers.get(directory, {}))
        for directory, executed in rings.executed.items():
            self._executed.note(directory, executed, rings.replaced.get(directory, frozenset()))

    def _catch_up(self) -> None:
        """Hears what the doorbell holds back, in the midst of a turn; a doorbell that is busy is not asked again for a while."""
        began = self._steady()
        if began < self._next_catch_up:
            return
        rings = self._doorbell.catch_up(CATCH_UP_S)
        now = self._steady()
        if now - began >= CATCH_UP_S:
            self._next_catch_up = now + CATCH_UP_PAUSE_S
        self._hear(rings, now)

    # -- who comes and goes ------------------------------------------------------------------------------------------

    def _relist(self, now: float) -> None:
        self._next_relist = now + RELIST_S
        self._obtaining.doubt_revoked()
        try:
            running = {r.container.id: r for r in self._list_running()}
            for one in self._list_ended(frozenset(running) | self._roster.ids() | self._roster.ended_ids()):
                self._welcome(one)
        except TemporaryError as error:
            if now >= self._list_holds_until:
                raise
            log.warning("containers_not_listed", reason=str(error))
            return
        self._list_holds_until = now + RUNTIME_AWAY_S
        for watched in tuple(self._roster):
            if watched.running.container.id not in running and not self._lingers(watched, now):
                self._lose(watched)
        for container_id, one in running.items():
            known = self._roster.get(container_id)
            if known is None:
                self._welcome(one)
            elif known.wants_baseline(now):
                self._obtaining.fetch(known, now)

    def _welcome(self, running: Running) -> None:
        watched = self._roster.add(running)
        if self._writers is not None:
            watched.remember = self._writers.find
        self._reporter.doubt_coverage()
        log.info("container_seen", container=running.container.id[:12], name=running.container.name, image=running.container.image)
        if running.mounted is None:
            self._reporter.tell_unseen(watched, running.unobservable)
            return
        mounted = running.mounted
        view = View(root=b"/proc/%d/root" % running.init_pid, device=mounted.device, upper=mounted.upper)
        unheard = self._doorbell.watch([mounted.upper, *mounted.lowers], view)
        if unheard:
            watched.notice = f"changes are found by timed looks only: {next(iter(unheard.values()))}"
            log.warning("not_heard", container=running.container.id[:12], reason=watched.notice)
        self._obtaining.fetch(watched, self._steady())

    def _begin(self, watched: Watched, now: float) -> None:
        """It has a baseline now."""
        self._follow_plan(watched, {p.pod_uid: p for p in self._plan.pods}, now)
        if watched.ended_at:
            self._lose(watched)
        else:
            self._layers.verify(watched)

    def _lingers(self, watched: Watched, now: float) -> bool:
        """Whether a container that has ended is to be kept until its baseline is there, so that its files can still be looked at."""
        if watched.baseline is not None or watched.running.mounted is None:
            return False
        watched.ended_at = watched.ended_at or now
        return now < watched.ended_at + LINGER_S and self._eyes.can_look(watched.running)

    def _lose(self, watched: Watched) -> None:
        """A container that is gone still yields its last finding, as long as its writable layer exists: what it did last may not have rung
        yet."""
        self._executed.look(watched)
        if watched.running.mounted is not None and watched.is_on:
            is_clean = watched.drift is not None and watched.drift.state is State.INTACT
            if watched.baseline is not None and self._eyes.can_look(watched.running):
                self._looks.look(watched)
            elif watched.baseline is None or watched.drift is None or (is_clean and self._looks.is_dirty(watched)):
                self._reporter.tell_unseen(watched, "it was gone before it could be looked at")
        self._looks.end(watched)
        self._live.forget(watched)
        unused = self._roster.remove(watched)
        self._reporter.doubt_coverage()
        self._doorbell.forget(unused)
        self._layers.forget(unused)
        log.info("container_gone", container=watched.running.container.id[:12])

    def _miss(self, watched: Watched) -> None:
        """The writable layer is gone: with its container, which the next list says, or from under a running one, which is told; so it is
        where the runtime does not answer."""
        try:
            still_runs = any(one.container.id == watched.running.container.id for one in self._list_running())
        except TemporaryError:
            still_runs = True
        if still_runs:
            self._reporter.tell_unseen(watched, "its writable layer is gone")
        else:
            self._next_relist = 0.0

    # -- plans and orders --------------------------------------------------------------------------------------------

    def _adopt_plan(self, plan: Plan, now: float) -> None:
        self._plan = plan
        if self._obtaining.withdraw(frozenset(plan.withdrawn)):
            self._next_relist = 0.0
        by_pod = {p.pod_uid: p for p in plan.pods}
        for watched in self._roster:
            if watched.baseline is not None:
                self._follow_plan(watched, by_pod, now)

    def _follow_plan(self, watched: Watched, by_pod: Mapping[str, PodPlan], now: float) -> None:
        container = watched.running.container
        plan = by_pod.get(container.pod.uid if container.pod else "") or by_pod.get(container.id, self._plan.default)
        self._looks.follow(watched, plan, now)
        if watched.is_on != plan.watched:
            self._reporter.doubt_coverage()
        watched.is_on = plan.watched
        watched.with_volumes = plan.volumes
        self._live.follow(watched, plan.interval_s)

    def _carry_out(self, command: Command) -> None:
        at = self._clock()
        if at >= command.expires_at:
            outcome = CommandOutcome(command_id=command.id, succeeded=False, message="expired before it was carried out", at=at)
        else:
            meant = [w for w in self._roster if w.running.container.pod and w.running.container.pod.uid == command.pod_uid]
            for watched in meant:
                self._looks.look(watched, anyway=True)
                for verdict in filter(None, (watched.live, watched.layers)):
                    self._reporter.tell(watched, verdict, anyway=True)
            outcome = CommandOutcome(command_id=command.id, succeeded=bool(meant), message=f"{len(meant)} containers looked at", at=at)
        self._reporter.hand_over(outcomes=(outcome,))
