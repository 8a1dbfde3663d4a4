"""What every controller answers to agents in the same way, whether it acts or not: the part of `adapters.seam.ports.ClusterSide` that needs
only what all of them know."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from intact.audit.log import AuditLog
from intact.audit.steps import record_forged_report
from intact.decide.govern import compile_plan
from intact.model.digest import Digest
from intact.model.seam import Command, Plan
from intact.notify.alert import alert_for_forged
from intact.notify.router import Router

from .casebook import Memory
from .commands import CommandBox
from .library import BaselineLibrary
from .world import World

log = structlog.get_logger()


class AgentSide:
    """To be derived from: whoever does says what it means to receive a report."""

    def __init__(
        self,
        *,
        world: World,
        memory: Memory,
        audit: AuditLog,
        router: Router,
        library: BaselineLibrary,
        commands: CommandBox,
        clock: Callable[[], float],
    ) -> None:
        self._world, self._memory, self._audit, self._router, self._library = world, memory, audit, router, library
        self._commands, self._clock = commands, clock

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
        return self._commands.take(node, wait_s)

    def when_commanded(self, call: Callable[[str], None]) -> None:
        self._commands.when_put(call)
