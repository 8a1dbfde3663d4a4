"""Every change of a policy in the audit log, by the replica that acts: kept until the log has it."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from intact.audit.log import AuditLog
from intact.audit.record import Leaf
from intact.audit.steps import record_policy
from intact.model.errors import TemporaryError

from .policies import Change, KnownPolicy, is_weaker

log = structlog.get_logger()

RETRY_S = 5.0
MOST_WAITING = 10_000


class PolicyRecord:
    """`add` from any thread, whether or not this replica acts. It records nothing before `begin`."""

    def __init__(self, audit: AuditLog, clock: Callable[[], float] = time.time) -> None:
        self._audit, self._clock = audit, clock
        self._lock = threading.Lock()
        self._waiting: deque[Leaf] = deque(maxlen=MOST_WAITING)
        self._is_acting = False

    def begin(self, known: Iterable[KnownPolicy]) -> None:
        """From now on changes are recorded, and first all that is `known`: what changed while nobody acted is seen by that."""
        with self._lock:
            self._is_acting = True
        for one in known:
            self.add((None, one))

    def add(self, change: Change) -> None:
        with self._lock:
            if self._is_acting:
                self._waiting.append(_describe(change, self._clock()))
        self.flush()

    def flush(self) -> None:
        """Writes what waits; what cannot be written now waits on."""
        with self._lock:
            try:
                self._audit.append(list(self._waiting))
            except TemporaryError as error:
                log.warning("policy_not_recorded", waiting=len(self._waiting), reason=str(error))
                return
            self._waiting.clear()

    def run(self, stop: threading.Event) -> None:
        """Tries again what waits, until `stop` is set."""
        while not stop.wait(RETRY_S):
            if self._waiting:
                self.flush()


def _describe(change: Change, now: float) -> Leaf:
    before, after = change
    one = after or before
    assert one is not None
    return record_policy(
        kind=one.kind.kind,
        namespace=one.namespace,
        name=one.name,
        generation=one.generation,
        verb="Added" if before is None else "Deleted" if after is None else "Modified",
        mode=one.policy.mode.value if one.policy else "",
        spec=json.dumps(one.spec, sort_keys=True).encode(),
        by="",
        weakened=is_weaker(change),
        now=now,
    )
