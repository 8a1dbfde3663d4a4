"""One of several replicas of a controller: every one serves agents and people, one of them acts. The database is what they share.

A report is stored by whichever replica it came to, and taken in by the one that acts, each node's in order. A command is stored by the
one that acts, and handed out by whichever replica its node talks to. Both wake the other side at once; who was not woken looks again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.store.bell import COMMANDS, Bell
from intact.adapters.store.database import Database
from intact.adapters.store.inbox import SqlCommands, SqlInbox
from intact.audit.log import AuditLog
from intact.audit.steps import record_forged_report
from intact.decide.govern import compile_plan
from intact.model.digest import Digest
from intact.model.errors import IntactError, TemporaryError
from intact.model.layer import Baseline
from intact.model.seam import Command, NodeStatus, Plan, Report
from intact.notify.alert import alert_for_forged
from intact.notify.router import Router

from .casebook import Memory
from .commands import CommandBox
from .flow import bound_times
from .images import running_images
from .library import BaselineLibrary
from .world import World

log = structlog.get_logger()

LOOK_AGAIN_S = 1.0
"""How long a report or a command may wait where no bell was heard."""
WARM_EVERY_S = 2.0
WARM_RETRY_S = 60.0


class ReplicaSide:
    """Implements `adapters.seam.ports.ClusterSide` for a replica that need not be the one that acts."""

    def __init__(
        self,
        *,
        world: World,
        memory: Memory,
        inbox: SqlInbox,
        audit: AuditLog,
        router: Router,
        library: BaselineLibrary,
        commands: SharedCommands,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._world, self._memory, self._inbox, self._audit, self._router = world, memory, inbox, audit, router
        self._library, self._commands, self._clock = library, commands, clock

    def receive(self, node: str, report: Report) -> None:
        now = self._clock()
        self._inbox.put(node, bound_times(report, now), now)
        for outcome in report.outcomes:
            self._commands.settle(node, outcome.command_id)

    def node_of(self, pod_uid: str) -> str | None:
        return self._world.node_of(pod_uid)

    def forged(self, node: str, claim: str, reason: str) -> None:
        now = self._clock()
        log.warning("forged_report", node=node, claim=claim, reason=reason)
        with self._memory.transactions.transaction():
            self._audit.append([record_forged_report(node, claimed=claim, reason=reason, now=now)])
            self._router.submit(alert_for_forged(node, claim, reason, now=now))

    def plan_for(self, node: str) -> Plan:
        return compile_plan(self._world.pods_on(node), self._world.policies(), withdrawn=self._library.withdrawn())

    def baseline_for(self, key: Digest) -> bytes | None:
        return self._library.document(key)

    def commands_for(self, node: str, wait_s: float) -> tuple[Command, ...]:
        return self._commands.box.take(node, wait_s)

    def when_commanded(self, call: Callable[[str], None]) -> None:
        self._commands.box.when_put(call)

    def status(self) -> tuple[NodeStatus, ...]:
        """What every node said last, as the one that acts has stored it."""
        return self._memory.reports.statuses()


class SharedCommands:
    """The commands of all replicas as this one hands them out, in `box`; `follow` keeps it up to date."""

    def __init__(self, store: SqlCommands, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.box = CommandBox(clock)
        self._store, self._database, self._clock = store, database, clock
        self._known: dict[str, Command] = {}

    def follow(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        bell, in_trouble = Bell(self._database, COMMANDS), False
        try:
            while not stop.is_set():
                try:
                    self.refresh()
                    in_trouble = False
                except IntactError as error:
                    if not in_trouble:
                        log.warning("commands_not_read", reason=str(error))
                    in_trouble = True
                bell.wait(LOOK_AGAIN_S)
        finally:
            bell.close()

    def refresh(self) -> None:
        """What is new is put into the box; what was settled elsewhere is taken out. Raises IntactError."""
        live = {command.id: command for command in self._store.live(self._clock())}
        for id, command in list(live.items()):
            if self._known.get(id) != command:
                try:
                    self.box.put(command)
                except TemporaryError as error:  # its node has too many: another time, and the others now
                    log.warning("command_waits", node=command.node, reason=str(error))
                    del live[id]
        for id, command in self._known.items():
            if id not in live:
                self.box.settle(command.node, id)
        self._known = live

    def settle(self, node: str, command_id: str) -> None:
        self.box.settle(node, command_id)
        try:
            self._store.settle(command_id)
        except IntactError as error:  # its node ignores it when it comes again, and it expires soon
            log.info("command_not_settled", command=command_id, reason=str(error))


def warm_library(
    cache: ClusterCache, obtain: Callable[[str, str], Baseline | None], acting: threading.Event, stop: threading.Event
) -> None:
    """Obtains the baseline of all that runs, by name and platform, so that this replica has it at hand. Ends when it acts: then
    `ImageReader` does this, and tells. What is not there yet is looked for again; what cannot be read is tried again later."""
    not_before: dict[tuple[str, str], float] = {}
    while not acting.is_set() and not stop.wait(WARM_EVERY_S):
        running = running_images(cache)
        not_before = {image: at for image, at in not_before.items() if image in running}
        for image in sorted(running):
            reference, platform = image
            if acting.is_set() or stop.is_set() or time.time() < not_before.get(image, 0.0):
                continue
            try:
                if obtain(reference, platform) is not None:
                    not_before[image] = float("inf")
            except IntactError as error:
                log.info("image_not_read", image=reference, reason=str(error))
                not_before[image] = time.time() + WARM_RETRY_S
