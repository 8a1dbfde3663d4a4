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
from intact.model.errors import IntactError, TemporaryError
from intact.model.layer import Baseline
from intact.model.seam import Command, NodeStatus, Report
from intact.notify.router import Router

from .casebook import Memory
from .commands import CommandBox
from .flow import bound_times
from .images import running_images
from .library import BaselineLibrary
from .side import AgentSide
from .world import World

log = structlog.get_logger()

LOOK_AGAIN_S = 1.0
"""How long a report or a command may wait where no bell was heard."""
WARM_EVERY_S = 2.0
WARM_RETRY_S = 60.0


class ReplicaSide(AgentSide):
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
        super().__init__(world=world, memory=memory, audit=audit, router=router, library=library, commands=commands.box, clock=clock)
        self._inbox, self._shared = inbox, commands

    def receive(self, node: str, report: Report) -> None:
        now = self._clock()
        self._inbox.put(node, bound_times(report, now), now)
        for outcome in report.outcomes:
            self._shared.settle(node, outcome.command_id)

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
