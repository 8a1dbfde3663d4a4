"""What takes time: actions, their proof, the end of incidents, and what people see of it. A keyed queue, worked on from what was stored.

Each key is one remediation, one incident, one node or the house; it is worked on by one thread at a time, from the state as it is then.
What fails comes back later, and after a restart everything that was begun is taken up again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, NamedTuple, assert_never

import structlog

from intact.model.errors import IntactError
from intact.model.facts import PodState
from intact.model.incident import Incident, IncidentState, Outcome, Phase, Workload
from intact.model.seam import Command, NodeStatus
from intact.run.threads import Threads

from .casebook import Casebook, Memory
from .commands import CommandBox
from .looks import Looks
from .queue import WorkQueue
from .world import World

log = structlog.get_logger()

WORKERS = 4
POLL_ACTION_S = 0.5
"""How often an action on its way is looked at, besides when its pods are reported on."""
POLL_INCIDENT_S = 5.0
POLL_NODE_S = 30.0
SILENT_S = 90.0
"""A node that said nothing for so long, six heartbeats, is not believed to see anything."""
HOUSE_S = 60.0
RESCAN_EXPIRES_S = 60.0
"""A node that has not looked again by then is asked again."""
REGRADE_S = 15.0
"""How often a node is asked again about findings against a baseline that was not good enough for the policy: it may be by now."""
ENDED = (Phase.VERIFIED, Phase.FAILED, Phase.REFUSED)


class Key(NamedTuple):
    kind: Literal["remediation", "incident", "subject", "unsure", "node", "house"]
    name: str


def silence(status: NodeStatus) -> NodeStatus:
    """What is known of a node that says nothing: none of its containers is observed now, whatever it said of them before."""
    coverage = tuple(replace(c, verdict="Unobserved", reason="its node reports nothing") for c in status.coverage)
    return replace(status, coverage=coverage)


class Reconciler:
    """`wake` from any thread; `run` works until told to stop. `lock` guards the casebook; `keep_house` is called about once a minute."""

    def __init__(
        self,
        *,
        world: World,
        memory: Memory,
        casebook: Casebook,
        looks: Looks,
        commands: CommandBox,
        lock: threading.RLock,
        status_of: Callable[[str], NodeStatus | None],
        keep_house: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._world, self._memory, self._casebook, self._looks, self._commands = world, memory, casebook, looks, commands
        self._lock, self._status_of, self._keep_house, self._clock = lock, status_of, keep_house, clock
        self._queue: WorkQueue[Key] = WorkQueue(clock=time.monotonic)
        self._asked: dict[str, float] = {}
        self._subjects: dict[str, Workload] = {}
        self._unsure: dict[str, tuple[Workload, str]] = {}

    def wake_subject(self, subject: Workload) -> None:
        """Something that the controller itself holds against `subject` has changed."""
        name = repr(subject)
        self._subjects[name] = subject
        self.wake(Key("subject", name))

    def wake(self, key: Key, after_s: float = 0.0) -> None:
        self._queue.add(key, after_s)

    def wake_incident(self, incident: Incident) -> None:
        """The incident and what is decided about it."""
        self.wake(Key("incident", incident.id))
        for taken in incident.taken:
            if taken.state not in ENDED:
                self.wake(Key("remediation", taken.name))

    def look_again(self, workload: Workload, pod_uid: str = "", after_s: float = 0.0) -> None:
        """What is known of the workload's pods, or of one, is not enough or may not hold any more: their nodes are to look."""
        name = repr((workload, pod_uid))
        self._unsure[name] = workload, pod_uid
        self.wake(Key("unsure", name), after_s)

    def run(self, stop: threading.Event) -> None:
        """Takes up what was begun, then works until `stop` is set."""
        for outcome in self._memory.remediations.unfinished():
            self.wake(Key("remediation", outcome.decision.name))
        for incident in self._memory.incidents.list_open():
            self.wake(Key("incident", incident.id))
        self.wake(Key("house", ""))
        workers = Threads(stop)
        for number in range(WORKERS):
            workers.start(f"reconcile-{number}", lambda: self._work(stop))
        stop.wait()
        self._queue.close()
        workers.join(30.0)

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            key = self._queue.get(1.0)
            if key is not None:
                self._work_on(key)

    def _work_on(self, key: Key) -> None:
        try:
            again_s = self.reconcile(key, self._clock())
        except IntactError as error:
            retry_s = self._queue.failed(key)
            log.warning("reconcile_failed", kind=key.kind, name=key.name, reason=str(error), again_s=round(retry_s, 1))
            return
        self._queue.done(key)
        if again_s is not None:
            self._queue.add(key, again_s)

    def reconcile(self, key: Key, now: float) -> float | None:
        """One turn of work on `key`; in how many seconds it wants another, None if none. Raises IntactError: try again later."""
        match key.kind:
            case "remediation":
                return self._reconcile_remediation(key.name, now)
            case "incident":
                return self._reconcile_incident(key.name, now)
            case "subject":
                self._reconcile_subject(key.name, now)
                return None
            case "unsure":
                self._reconcile_unsure(key.name, now)
                return None
            case "node":
                return self._reconcile_node(key.name, now)
            case "house":
                self._keep_house(now)
                self._asked = {uid: until for uid, until in self._asked.items() if now < until}
                return HOUSE_S
            case _:
                assert_never(key.kind)

    def _reconcile_remediation(self, name: str, now: float) -> float | None:
        outcome = self._memory.remediations.get(name)
        if outcome is None:
            return None
        if outcome.phase not in ENDED:
            outcome = self._advance(outcome, now)
        again_s = self._world.publish_outcome(outcome, now)
        if outcome.phase not in ENDED:
            return POLL_ACTION_S
        return again_s or None

    def _advance(self, outcome: Outcome, now: float) -> Outcome:
        decision = outcome.decision
        target = next((r for r in self._memory.revisions.of(decision.workload) if r.name == decision.target), None)
        moved = self._world.advance(outcome, target, self._looks, now)
        if moved.phase is Phase.SUCCEEDED:
            self._order_looks(decision.workload, now)
        if moved == outcome:
            return outcome
        log.info("action", name=decision.name, action=decision.action.title, phase=moved.phase.value, message=moved.message)
        with self._lock, self._memory.transactions.transaction():
            self._casebook.note_outcome(moved, now)
        self.wake(Key("incident", decision.incident_id))
        return moved

    def _reconcile_incident(self, incident_id: str, now: float) -> float | None:
        with self._lock, self._memory.transactions.transaction():
            incident = self._memory.incidents.get(incident_id)
            if incident is None:
                return None
            if incident.state is not IncidentState.RESOLVED:
                incident = self._casebook.settle(incident, now)
        for taken in incident.taken:
            if taken.state not in ENDED:
                self.wake(Key("remediation", taken.name))
            else:
                self._show_ended(taken.name, now)
        again_s = self._world.publish_incident(incident, now)
        if incident.state is IncidentState.RESOLVED:
            return again_s or None
        self._ask_again(incident, now)
        return min(again_s or POLL_INCIDENT_S, POLL_INCIDENT_S)

    def _reconcile_subject(self, name: str, now: float) -> None:
        subject = self._subjects.pop(name, None)
        if subject is None:
            return
        try:
            with self._lock, self._memory.transactions.transaction():
                incident = self._casebook.weigh(subject, now)
        except IntactError:
            self._subjects.setdefault(name, subject)
            raise
        if incident is not None:
            self.wake_incident(incident)

    def _reconcile_unsure(self, name: str, now: float) -> None:
        unsure = self._unsure.pop(name, None)
        if unsure is None:
            return
        workload, pod_uid = unsure
        try:
            for pod in self._world.facts(workload, now).pods:
                if pod_uid in ("", pod.uid):
                    self._order_look(pod, now)
        except IntactError:
            self._unsure.setdefault(name, unsure)
            raise

    def _show_ended(self, name: str, now: float) -> None:
        """Refused decisions are shown too: nobody ever carries them out."""
        outcome = self._memory.remediations.get(name)
        if outcome is not None and self._world.publish_outcome(outcome, now) > 0:
            self.wake(Key("remediation", name))

    def _reconcile_node(self, node: str, now: float) -> float | None:
        status = self._status_of(node)
        if status is None:
            return None
        if now - status.heard_at > SILENT_S:
            status = silence(status)
            with self._lock, self._memory.transactions.transaction():
                self._casebook.note_silence(node, status.heard_at, now)
        return self._world.publish_status(status, now) or POLL_NODE_S

    def _ask_again(self, incident: Incident, now: float) -> None:
        """Orders looks at pods that nobody looked at yet, and where the policy requires a better baseline than there was."""
        required = self._casebook.policy_for(incident).require
        if any(one.grade < required for one in incident.seen):
            self._order_looks(incident.workload, now, every_s=REGRADE_S)
        elif any(not self._looks.has(pod.uid) for pod in self._world.facts(incident.workload, now).pods):
            self._order_looks(incident.workload, now)

    def _order_looks(self, workload: Workload, now: float, *, every_s: float = RESCAN_EXPIRES_S) -> None:
        """Asks the nodes to look at every pod of the workload now, unless they were asked less than `every_s` seconds ago."""
        for pod in self._world.facts(workload, now).pods:
            if now >= self._asked.get(pod.uid, 0.0):
                self._asked[pod.uid] = now + every_s
                self._order_look(pod, now)

    def _order_look(self, pod: PodState, now: float) -> None:
        id = f"rescan-{pod.uid}-{now:.6f}"  # one of its own: a node carries out no id twice, and a second look may be asked for at once
        self._commands.put(Command(id=id, node=pod.node, kind="Rescan", pod_uid=pod.uid, expires_at=now + RESCAN_EXPIRES_S))
