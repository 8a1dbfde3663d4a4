"""What the one replica that acts does for all of them: takes in the reports that they stored, brings them the commands, and ends when
another one has begun to act.

In: the inbox of the shared database, the flow's commands. Out: calls of the flow, commands in the database. Decides nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from intact.adapters.seam.ports import ClusterSide
from intact.adapters.store.bell import INBOX, Bell
from intact.adapters.store.database import Database
from intact.adapters.store.inbox import SqlCommands, SqlInbox, SqlTerms, Waiting
from intact.audit.log import AuditLog
from intact.audit.steps import record_gap
from intact.model.errors import InputError, IntactError
from intact.model.seam import Command, Gap

log = structlog.get_logger()

LOOK_AGAIN_S = 1.0
"""How long a report may wait where no bell was heard."""
TERM_EVERY_S = 2.0
RETRY_S = 2.0


class CommandWriter:
    """Brings what the acting replica orders to all replicas: `flow` says for which node there is something."""

    def __init__(self, flow: ClusterSide, store: SqlCommands, clock: Callable[[], float] = time.time) -> None:
        self._flow, self._store, self._clock = flow, store, clock
        self._nodes: set[str] = set()
        self._unwritten: dict[str, Command] = {}
        self._called = threading.Condition()
        flow.when_commanded(self._call)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. What could not be stored is tried again until it expires."""
        while not stop.is_set():
            with self._called:
                if not self._nodes:
                    self._called.wait(LOOK_AGAIN_S)
                nodes, self._nodes = self._nodes, set()
            for node in sorted(nodes):
                self._unwritten |= {command.id: command for command in self._flow.commands_for(node, 0.0)}
            try:
                self.write()
            except IntactError as error:
                log.warning("commands_not_written", waiting=len(self._unwritten), reason=str(error))
                stop.wait(RETRY_S)

    def write(self) -> None:
        """Stores what waits. Raises IntactError where it cannot."""
        if not self._unwritten:
            return
        now = self._clock()
        for id, command in list(self._unwritten.items()):
            if command.expires_at > now:
                self._store.put(command)
            del self._unwritten[id]
        self._store.forget_before(now)

    def _call(self, node: str) -> None:
        with self._called:
            self._nodes.add(node)
            self._called.notify()


class InboxReader:
    """Takes in what all replicas have stored, on the one that acts.

    1. The reports are read in order. 2. What was taken in is removed: should the process die in between, it is read again, and its id
    is known. 3. A node whose report cannot be taken in now is left alone for a moment, so that its next report does not overtake it. 4. One
    that can never be taken in is told as a gap and kept: a later version may be able to.
    """

    def __init__(
        self, flow: ClusterSide, inbox: SqlInbox, database: Database, audit: AuditLog, clock: Callable[[], float] = time.time
    ) -> None:
        self._flow, self._inbox, self._database, self._audit, self._clock = flow, inbox, database, audit, clock
        self._hopeless: set[int] = set()
        self._paused_until: dict[str, float] = {}

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        bell, in_trouble = Bell(self._database, INBOX), False
        try:
            while not stop.is_set():
                try:
                    taken, in_trouble = self.read(stop), False
                except IntactError as error:
                    if not in_trouble:
                        log.warning("inbox_not_read", reason=str(error))
                    taken, in_trouble = 0, True
                if not taken:
                    bell.wait(LOOK_AGAIN_S)
        finally:
            bell.close()

    def read(self, stop: threading.Event) -> int:
        """Once through what waits; how many reports were taken in. Raises IntactError where nothing can be read."""
        now = self._clock()
        paused = {node for node, until in self._paused_until.items() if now < until}
        self._paused_until = {node: self._paused_until[node] for node in paused}
        after, count = 0, 0
        while not stop.is_set() and (page := self._inbox.next(after, paused)):  # 1
            after = page[-1].seq
            taken: list[int] = []
            try:
                for waiting in page:
                    if waiting.seq not in self._hopeless and waiting.node not in paused and self._take(waiting, paused):
                        taken.append(waiting.seq)
            finally:
                if taken:
                    self._inbox.remove(taken)  # 2
            count += len(taken)
        return count

    def _take(self, waiting: Waiting, paused: set[str]) -> bool:
        try:
            self._flow.receive(waiting.node, waiting.read())
        except InputError as error:
            self._give_up(waiting, str(error))
            return False
        except IntactError as error:  # 3
            log.warning("report_waits", node=waiting.node, reason=str(error))
            self._paused_until[waiting.node] = self._clock() + RETRY_S
            paused.add(waiting.node)
            return False
        except Exception as error:
            log.exception("report_not_understood", node=waiting.node)
            self._give_up(waiting, type(error).__name__)
            return False
        return True

    def _give_up(self, waiting: Waiting, reason: str) -> None:
        log.error("report_not_taken", node=waiting.node, seq=waiting.seq, reason=reason)
        gap = Gap(since=waiting.at, until=waiting.at, reason=f"a report could not be taken in: {reason[:200]}")
        self._audit.append([record_gap(waiting.node, gap, now=self._clock())])  # 4
        self._hopeless.add(waiting.seq)


def watch_term(terms: SqlTerms, term: int, stop: threading.Event) -> None:
    """Sets `stop` when another replica has begun to act: this one starts anew, and serves."""
    while not stop.wait(TERM_EVERY_S):
        try:
            current = terms.current()
        except IntactError as error:
            log.warning("term_not_read", reason=str(error))
            continue
        if current != term:
            log.warning("another_replica_acts", term=current, own=term)
            stop.set()
