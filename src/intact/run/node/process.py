"""The node's half, put together on this host: containerd, the mount table, fanotify, and the threads that feed the flow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import structlog

from intact.adapters.linux.doorbell import FanotifyDoorbell
from intact.adapters.linux.executions import Executions
from intact.adapters.linux.live import HostLive
from intact.adapters.linux.tree import HostTree
from intact.adapters.linux.volumes import HostVolumes
from intact.adapters.provenance.workshop import Workshop
from intact.adapters.runtime.containerd import Containerd
from intact.adapters.runtime.events import Changes
from intact.adapters.runtime.identity import qualify_id
from intact.adapters.seam.ports import Cluster
from intact.model.container import Running
from intact.model.errors import IntactError, TemporaryError
from intact.model.seam import Gap, Report
from intact.observe.derive import Deriver
from intact.observe.flood import FloodGauge
from intact.run.threads import Threads

from .alive import read_alive, write_alive
from .baselines import NodeBaselines
from .eyes import HostMounts
from .flow import NodeFlow
from .layer_memory import LayerMemory
from .origins import Origins
from .ports import Eyes
from .writers import WriterMemory

log = structlog.get_logger()

PLAN_POLL_S = 10.0
COMMAND_WAIT_S = 20.0
RETRY_S = 2.0
ALIVE_EVERY_S = 5.0
STALLED_S = 15.0
"""A process that did not come round to saying that it lives for so long watched nothing in that time."""
DEAF_AGAIN_S = 300.0
"""A runtime that stays unheard is told of again so often."""
HOUSE_EVERY_S = 3600.0
UNWATCHED = "nothing watched this node"
STALLED = "nothing watched this node: its watch did not run"
UNHEARD = "the container runtime was not heard: what came and went meanwhile was not seen"


class NodeProcess:
    """Everything of one node that runs: the flow and the threads that feed it."""

    def __init__(
        self,
        *,
        node: str,
        socket: str,
        state_dir: Path,
        eyes: Eyes,
        baselines: NodeBaselines,
        send: Callable[[Report], None],
        revoked: Callable[[], frozenset[str]] = frozenset,
        best_tier: str = "A",
        gauge: FloodGauge | None = None,
    ) -> None:
        """`gauge` says what is a flood, if not the usual."""
        state_dir.mkdir(parents=True, exist_ok=True)
        self._alive = state_dir / "alive"
        self._changed = threading.Event()
        self._changed.set()
        self._changes = Changes(socket)
        runtime = Containerd(socket, HostMounts())
        self._list_running = partial(runtime.list_running, node)
        self._baselines = baselines
        live = HostLive(time.time)
        self._executions = Executions(live.noted)
        self.flow = NodeFlow(
            node=node,
            list_running=self._list_running,
            runtime_changed=self._take_change,
            doorbell=FanotifyDoorbell(state_dir, at_most=best_tier, executions=self._executions, gauge=gauge),
            writers=WriterMemory(state_dir),
            eyes=eyes,
            baselines=baselines,
            send=send,
            clock=time.time,
            steady=boot_time,
            list_ended=partial(self._list_ended, runtime, node),
            live=live,
            volumes=HostVolumes(time.time),
            layer_memory=LayerMemory(state_dir / "layers.json"),
            revoked=revoked,
            origins=Origins(Deriver(HostTree, Workshop())),
        )

    def run(self, stop: threading.Event, cluster: Cluster) -> None:
        """Watches until `stop` is set. An error that nobody expected in any thread ends the process: never a node unwatched in silence."""
        self._tell_absence()
        threads = Threads(stop)
        threads.start("runtime", lambda: self._hear_runtime(stop))
        threads.start("plan", lambda: self._follow_plan(stop, cluster))
        threads.start("orders", lambda: self._follow_orders(stop, cluster))
        threads.start("alive", lambda: self._stay_alive(stop))
        threads.start("house", lambda: self._keep_house(stop))
        if reason := self._executions.start():
            log.warning("short_lived_writers_not_named", reason=reason)
        try:
            self.flow.run(stop)
        finally:
            self._executions.close()

    def _take_change(self) -> bool:
        changed = self._changed.is_set()
        self._changed.clear()
        return changed

    def _list_ended(self, runtime: Containerd, node: str, known: frozenset[str]) -> Iterator[Running]:
        """The containers that ended and are in no list: those whose life was shorter than it takes to make one."""
        while self._changes.ended:
            namespace, id = self._changes.ended[0]
            if qualify_id(namespace, id) not in known and (running := runtime.read_ended(namespace, id, node)) is not None:
                yield running
            self._changes.ended.popleft()

    def _hear_runtime(self, stop: threading.Event) -> None:
        """What came and went while the runtime was not heard is in no list: the time is told as a gap, when it is over at the latest."""
        has_heard = False
        deaf_since: float | None = None
        while not stop.is_set():
            if self._changes.wait(1.0):
                self._changed.set()
            problem, now = self._changes.problem, time.time()
            if deaf_since is not None and (not problem or now >= deaf_since + DEAF_AGAIN_S):
                self._tell_gap(deaf_since, now, UNHEARD)
                deaf_since = now if problem else None
            elif has_heard and problem and deaf_since is None:
                log.warning("runtime_not_heard", reason=problem)
                deaf_since = now
            has_heard |= not problem

    def _follow_plan(self, stop: threading.Event, cluster: Cluster) -> None:
        etag = ""
        while not stop.is_set():
            try:
                plan = cluster.fetch_plan(etag)
            except IntactError as error:
                log.info("plan_not_fetched", reason=str(error))
                plan = None
            if plan is not None:
                etag = plan.etag
                self.flow.apply_plan(plan)
            stop.wait(PLAN_POLL_S)

    def _follow_orders(self, stop: threading.Event, cluster: Cluster) -> None:
        done: dict[str, float] = {}
        while not stop.is_set():
            try:
                commands = cluster.fetch_commands(COMMAND_WAIT_S)
            except IntactError as error:
                log.info("commands_not_fetched", reason=str(error))
                stop.wait(RETRY_S)
                continue
            for command in commands:
                if command.id not in done:
                    done[command.id] = command.expires_at
                    self.flow.order(command)
            if commands:
                stop.wait(0.2)
            done = {id: expires_at for id, expires_at in done.items() if expires_at > time.time()}

    def _stay_alive(self, stop: threading.Event) -> None:
        """Whoever stops this process (SIGSTOP, a frozen control group) or its machine for a while leaves a gap, too."""
        stopped, beat = False, boot_time()
        while not stopped:
            write_alive(self._alive, time.time())
            stopped = stop.wait(ALIVE_EVERY_S)
            before, beat = beat, boot_time()
            if beat - before >= STALLED_S:
                self._tell_gap(time.time() - (beat - before), time.time(), STALLED)
        write_alive(self._alive, time.time())

    def _keep_house(self, stop: threading.Event) -> None:
        while not stop.wait(HOUSE_EVERY_S):
            try:
                self._baselines.keep_house(self._list_running(), time.time())
            except IntactError as error:
                log.error("baselines_not_let_go", reason=str(error))

    def _tell_absence(self) -> None:
        """A file says when this node was last watched, to `ALIVE_EVERY_S`. What changed since is found by the first look, and the gap
        itself is told, however short it was."""
        since = read_alive(self._alive)
        if since is not None:
            self._tell_gap(since, time.time(), UNWATCHED)

    def _tell_gap(self, since: float, until: float, reason: str) -> None:
        try:
            self.flow.tell_gap(Gap(since=min(since, until), until=until, reason=reason))
        except TemporaryError as error:
            log.error("gap_not_told", reason=str(error))


def boot_time() -> float:
    """Seconds since the machine was started, sleep included (clock_gettime(2), CLOCK_BOOTTIME): nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
