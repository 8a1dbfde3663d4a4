"""The cluster's half of the flow: reports of nodes → incidents → decisions → actions, each step recorded before it counts.

`receive` takes a report in one transaction: everything that follows from it is stored, or nothing is and the node sends it again. What
takes time (the API server, the network) happens afterwards in `step`, from what was stored, and is taken up again after a restart.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import structlog

from intact.audit.log import AuditLog
from intact.audit.record import Leaf
from intact.audit.steps import (
    record_decision,
    record_finding,
    record_forged_report,
    record_gap,
    record_incident,
    record_verdict,
)
from intact.audit.steps import record_outcome as audit_outcome
from intact.audit.tally import CleanTally
from intact.decide.expect import is_clean, select_counting
from intact.decide.govern import compile_plan, govern
from intact.decide.known_good import note_look
from intact.decide.ports import IncidentStore, RemediationStore, ReportStore, RevisionStore, Transactions
from intact.decide.reducer import record_outcome, reduce, resolve
from intact.decide.target import choose_target
from intact.model.alert import Alert
from intact.model.digest import Digest
from intact.model.errors import IntactError
from intact.model.facts import PodState, WorkloadFacts
from intact.model.finding import State, Verdict
from intact.model.incident import Decision, Incident, IncidentState, Outcome, Phase, PodFacts, Reported, Workload
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.policy import ActionKind, Policy, RollbackTo
from intact.model.seam import Command, Coverage, NodeStatus, Plan, Report
from intact.notify.alert import alert_for_decision, alert_for_forged, alert_for_incident, alert_for_outcome
from intact.notify.router import Router

from .commands import CommandBox
from .world import ActionContext, World

log = structlog.get_logger()

RESCAN_EXPIRES_S = 60.0
"""A node that has not looked again by then is asked again."""
REMEMBERED_S = 7 * 86400.0
"""How long the ids of reports taken in are remembered: longer than a spool holds them."""
RECENT_INCIDENTS = 200
"""Earlier incidents that are looked through for actions and thresholds of a workload."""
TOLD_FINDINGS = 20
"""Findings that an alert about an action is made from."""
HOUSEKEEPING_S = 60.0
STEP_S = 0.5


class BaselineLibrary(Protocol):
    """The cluster's own baselines, computed from bytes it verified itself."""

    def root_of(self, key: Digest) -> Digest | None: ...

    def document(self, key: Digest) -> bytes | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The stores of the cluster flow; all in one database, so that one transaction covers them."""

    transactions: Transactions
    incidents: IncidentStore
    revisions: RevisionStore
    remediations: RemediationStore
    reports: ReportStore


@dataclass(frozen=True, slots=True)
class _Look:
    """The last look at one container in one scope."""

    verdict: Verdict
    clean: bool


class ClusterFlow:
    """Implements `adapters.seam.ports.ClusterSide`. Threads: any number call the seam's methods; one calls `run`."""

    def __init__(
        self,
        *,
        world: World,
        memory: Memory,
        audit: AuditLog,
        router: Router,
        library: BaselineLibrary,
        clock: Callable[[], float] = time.time,
        on_verdict: Callable[[Verdict], None] = lambda verdict: None,
    ) -> None:
        self._world = world
        self._memory = memory
        self._audit = audit
        self._router = router
        self._library = library
        self._clock = clock
        self._on_verdict = on_verdict
        self._lock = threading.RLock()
        self._work = threading.Event()
        self._looks: dict[str, dict[tuple[str, Scope], _Look]] = {}
        self._tally = CleanTally()
        self._unpublished: dict[str, Incident] = {}
        self._nodes: dict[str, NodeStatus] = {}
        self._commands = CommandBox(clock)
        self._asked: dict[str, float] = {}
        self._next_housekeeping = 0.0

    # -- the seam ----------------------------------------------------------------------------------------------------

    def receive(self, node: str, report: Report) -> None:
        """Takes a report in, once, in these steps: 1 remember its id, 2 what the node says of itself, 3 what it saw, 4 what follows."""
        now = self._clock()
        with self._lock, self._memory.transactions.transaction():
            # 1
            if not self._memory.reports.receive(report.id, node, now):
                return
            # 2
            leaves = [record_gap(node, gap, now=now) for gap in report.gaps]
            self._hear_node(node, report, now)
            # 3
            reported: dict[Workload, list[Reported]] = defaultdict(list)
            for verdict in report.verdicts:
                leaves += self._take_verdict(verdict, reported, now)
            # 4
            for workload, found in reported.items():
                leaves += self._reduce(workload, found, self._policy_of(found[0].pod), now)
            self._audit.append(leaves)
        for outcome in report.outcomes:
            self._commands.settle(node, outcome.command_id)
        self._work.set()

    def node_of(self, pod_uid: str) -> str | None:
        return self._world.node_of(pod_uid)

    def forged(self, node: str, claim: str, reason: str) -> None:
        now = self._clock()
        log.warning("forged_report", node=node, claim=claim, reason=reason)
        with self._lock, self._memory.transactions.transaction():
            self._audit.append([record_forged_report(node, claimed=claim, reason=reason, now=now)])
            self._router.submit(alert_for_forged(node, claim, reason, now=now))

    def plan_for(self, node: str) -> Plan:
        return compile_plan(self._world.pods_on(node), self._world.policies())

    def baseline_for(self, key: Digest) -> bytes | None:
        return self._library.document(key)

    def commands_for(self, node: str, wait_s: float) -> tuple[Command, ...]:
        return self._commands.take(node, wait_s)

    def when_commanded(self, call: Callable[[str], None]) -> None:
        self._commands.when_put(call)

    # -- for people --------------------------------------------------------------------------------------------------

    def status(self) -> tuple[NodeStatus, ...]:
        """What every node said last."""
        with self._lock:
            return tuple(self._nodes[node] for node in sorted(self._nodes))

    # -- a report ----------------------------------------------------------------------------------------------------

    def _hear_node(self, node: str, report: Report, now: float) -> None:
        known = self._nodes.get(node)
        if report.coverage:
            self._memory.reports.save_coverage(node, now, report.coverage, report.tier)
            for covered in report.coverage:
                self._soak(covered, now)
        coverage = report.coverage or (known.coverage if known else ())
        gaps = (*(known.gaps if known else ()), *report.gaps)[-20:]
        self._nodes[node] = NodeStatus(node=node, heard_at=now, tier=report.tier, coverage=coverage, gaps=gaps)

    def _take_verdict(self, verdict: Verdict, reported: dict[Workload, list[Reported]], now: float) -> list[Leaf]:
        pod = self._world.locate(verdict.container, now)
        policy = govern(pod.namespace, pod.labels, self._world.policies())
        verdict = self._regrade(verdict)
        clean = is_clean(verdict, policy, now)
        short = replace(verdict, findings=(), aggregates=())
        self._looks.setdefault(pod.uid, {})[verdict.container.id, verdict.scope] = _Look(short, clean)
        self._on_verdict(verdict)
        self._remember_revision(pod, verdict.state, clean, verdict.at, now)
        if verdict.findings:
            reported[pod.workload].extend(Reported(finding=finding, pod=pod) for finding in verdict.findings)
        if verdict.state is State.INTACT:
            return list(self._tally.add(verdict, now))
        return [record_verdict(verdict, workload=pod.workload, now=now)]

    def _regrade(self, verdict: Verdict) -> Verdict:
        """A node's word on a baseline counts as `Verified` only where the cluster computed the same root itself."""
        key, root = verdict.container.image_key, verdict.baseline_root
        if key is None or root is None or verdict.grade is None:
            return verdict
        own = self._library.root_of(key)
        grade = Grade.VERIFIED if own == root else min(verdict.grade, Grade.NODE_REPORTED)
        return replace(verdict, grade=grade, findings=tuple(replace(f, grade=grade) for f in verdict.findings))

    def _reduce(self, workload: Workload, reported: Sequence[Reported], policy: Policy, now: float) -> list[Leaf]:
        """The workload's last incident with what is new, or without anything new: guard rails and causes change with time too."""
        last = self._last_incident(workload)
        incident, decisions = reduce(last, reported, policy, self._facts(workload, policy, now), now)
        if incident is None or (incident == last and not decisions):
            return []
        before = last if last is not None and last.id == incident.id else None
        self._memory.incidents.save(incident)
        reported = select_counting(reported, policy, now)
        fresh = self._memory.incidents.count(incident.id, reported)
        leaves = [record_finding(one.finding, workload=workload, incident=incident.id, now=now) for one in fresh]
        leaves.append(record_incident(incident, opened=before is None, now=now))
        self._unpublished[incident.id] = incident
        self._submit(alert_for_incident(before, incident, reported, now=now))
        return leaves + self._propose(incident, decisions, reported, now)

    def _last_incident(self, workload: Workload) -> Incident | None:
        """The open one, else the last resolved: a node may still speak of what that one was about."""
        known = self._memory.incidents.find_open(workload)
        return known or next((i for i in self._memory.incidents.list_recent(RECENT_INCIDENTS) if i.workload == workload), None)

    def _propose(self, incident: Incident, decisions: tuple[Decision, ...], reported: Sequence[Reported], now: float) -> list[Leaf]:
        """Intent first: what is decided is stored and recorded here, and carried out by `step`."""
        for decision in decisions:
            if decision.action is not ActionKind.ALERT:
                phase = Phase.REFUSED if decision.refused else Phase.PROPOSED
                message = decision.refused or decision.reason
                self._memory.remediations.claim(Outcome(decision=decision, phase=phase, message=message, at=now))
            self._submit(alert_for_decision(incident, decision, reported, now=now))
        return [record_decision(decision, now=now) for decision in decisions]

    def _submit(self, alert: Alert | None) -> None:
        if alert is not None:
            self._router.submit(alert)

    # -- what is known of a workload ---------------------------------------------------------------------------------

    def _policy_of(self, pod: PodFacts) -> Policy:
        return govern(pod.namespace, pod.labels, self._world.policies())

    def _facts(self, workload: Workload, policy: Policy, now: float) -> WorkloadFacts:
        """The world's facts, completed by what was seen and done before."""
        facts = self._world.facts(workload, now)
        records = self._memory.revisions.of(workload)
        earlier = [i for i in self._memory.incidents.list_recent(RECENT_INCIDENTS) if i.workload == workload]
        closed = [i for i in earlier if i.state is IncidentState.RESOLVED]
        return replace(
            facts,
            pods=tuple(replace(pod, intact_at=self._intact_at(pod)) for pod in facts.pods),
            targets=tuple((to, choose_target(records, facts.revision, to, policy.guard.soak_s)) for to in RollbackTo),
            actions=tuple(taken for incident in closed for taken in incident.taken),
            recent=tuple(seen for incident in closed for seen in incident.seen),
            rolled_back=facts.revision in self._own_revisions(workload, earlier),
        )

    def _own_revisions(self, workload: Workload, incidents: Iterable[Incident]) -> frozenset[str]:
        """The revisions that this system itself made by rolling the workload back."""
        outcomes = (outcome for incident in incidents for outcome in self._memory.remediations.of(incident.id))
        return frozenset(o.revision for o in outcomes if o.revision and o.decision.action is ActionKind.ROLL_BACK)

    def _intact_at(self, pod: PodState) -> float | None:
        looks = self._looks.get(pod.uid, {}).values()
        if not looks or not all(look.clean for look in looks):
            return None
        return min((look.verdict.at for look in looks if look.verdict.scope is not Scope.LAYERS), default=None)

    def _remember_revision(self, pod: PodFacts, state: State, clean: bool, at: float, now: float) -> None:
        """What a rollback may go back to is learnt from every look."""
        records = self._memory.revisions.of(pod.workload)
        record = self._world.revision_of(pod, records, now)
        if record is not None:
            record = note_look(record, state, clean=clean, at=at)
            if record not in records:
                self._memory.revisions.save(record)

    def _soak(self, covered: Coverage, now: float) -> None:
        """A node's coverage tells the last clean look, which a verdict told only once."""
        pod = self._world.locate(covered.container, now)
        looks = self._looks.get(pod.uid, {})
        look = looks.get((covered.container.id, Scope.DRIFT))
        if look is not None and look.clean and covered.verified_at > look.verdict.at:
            looks[covered.container.id, Scope.DRIFT] = replace(look, verdict=replace(look.verdict, at=covered.verified_at))
            self._remember_revision(pod, look.verdict.state, True, covered.verified_at, now)

    # -- actions -----------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Carries on what reports began, until `stop` is set."""
        while not stop.is_set():
            self._work.wait(STEP_S)
            self._work.clear()
            self.step(self._clock())
        self._audit.append(list(self._tally.flush(self._clock())))

    def step(self, now: float) -> None:
        """1 actions, 2 incidents that are over, 3 what others may see, 4 housekeeping."""
        for outcome in self._memory.remediations.unfinished():  # 1
            self._advance(outcome, now)
        for incident in self._memory.incidents.list_open():  # 2
            self._settle(incident, now)
        self._publish(now)  # 3
        if now >= self._next_housekeeping:  # 4
            self._next_housekeeping = now + HOUSEKEEPING_S
            self._keep_house(now)

    def _advance(self, outcome: Outcome, now: float) -> None:
        decision = outcome.decision
        records = self._memory.revisions.of(decision.workload)
        policy = self._policy_of(decision.pod) if decision.pod else self._policy_named(decision.policy)
        earlier = [i for i in self._memory.incidents.list_recent(RECENT_INCIDENTS) if i.workload == decision.workload]
        context = ActionContext(
            records=records,
            soak_s=policy.guard.soak_s,
            own_revisions=self._own_revisions(decision.workload, earlier),
            verdicts={uid: tuple(look.verdict for look in looks.values()) for uid, looks in self._looks.items()},
        )
        try:
            moved = self._world.advance(outcome, context, now)
        except IntactError as error:
            log.warning("action_delayed", action=decision.action.title, workload=str(decision.workload), reason=str(error))
            return
        if moved.phase is Phase.SUCCEEDED:
            self._order_looks(decision.workload, now)
        if moved == outcome:
            return
        log.info("action", name=decision.name, action=decision.action.title, phase=moved.phase.value, message=moved.message)
        with self._lock, self._memory.transactions.transaction():
            self._memory.remediations.save(moved)
            self._audit.append([audit_outcome(moved, now=now)])
            incident = self._memory.incidents.get(decision.incident_id)
            if incident is not None:
                incident = record_outcome(incident, moved)
                self._memory.incidents.save(incident)
                self._unpublished[incident.id] = incident
                reported = self._memory.incidents.findings(incident.id, TOLD_FINDINGS)
                self._submit(alert_for_outcome(incident, moved, reported, now=now))
        self._work.set()

    def _settle(self, incident: Incident, now: float) -> None:
        """Closes an incident whose pods are gone or intact again, else thinks about it anew; asks for a look at pods nobody saw yet."""
        with self._lock:
            policy = self._policy_named(incident.policy)
            facts = self._facts(incident.workload, policy, now)
            unknown = {pod.uid for pod in facts.pods if pod.uid not in self._looks}
            resolved = resolve(incident, facts, now)
            with self._memory.transactions.transaction():
                if resolved == incident:
                    self._audit.append(self._reduce(incident.workload, (), policy, now))
                else:
                    self._memory.incidents.save(resolved)
                    self._audit.append([record_incident(resolved, opened=False, now=now)])
                    self._submit(alert_for_incident(incident, resolved, (), now=now))
                    self._unpublished[incident.id] = resolved
        if unknown:
            self._order_looks(incident.workload, now)

    def _policy_named(self, name: str) -> Policy:
        """The policy as it is now, or the default where it is gone."""
        return next((p for p in self._world.policies() if str(p) == name), Policy(name=name))

    def _order_looks(self, workload: Workload, now: float) -> None:
        """Asks the nodes to look at every pod of the workload now, unless they were asked a moment ago."""
        for pod in self._world.facts(workload, now).pods:
            if now >= self._asked.get(pod.uid, 0.0):
                self._asked[pod.uid] = now + RESCAN_EXPIRES_S
                id = f"rescan-{pod.uid}-{int(now)}"
                self._commands.put(Command(id=id, node=pod.node, kind="Rescan", pod_uid=pod.uid, expires_at=now + RESCAN_EXPIRES_S))

    # -- telling -----------------------------------------------------------------------------------------------------

    def _publish(self, now: float) -> None:
        """Shows what changed; what the world wants later, or could not take, is kept for then."""
        with self._lock:
            incidents, self._unpublished = self._unpublished, {}
            nodes = list(self._nodes.values())
        for incident in incidents.values():
            outcomes = self._memory.remediations.of(incident.id)
            shown = [partial(self._world.publish_incident, incident), *(partial(self._world.publish_outcome, o) for o in outcomes)]
            waiting = [show for show in shown if not self._show(show, now)]
            if waiting:
                with self._lock:
                    self._unpublished.setdefault(incident.id, incident)
        for status in nodes:
            self._show(partial(self._world.publish_status, status), now)

    @staticmethod
    def _show(publish: Callable[[float], float], now: float) -> bool:
        try:
            return publish(now) == 0.0
        except IntactError as error:
            log.warning("not_published", reason=str(error))
            return False

    def _keep_house(self, now: float) -> None:
        with self._lock, self._memory.transactions.transaction():
            self._memory.reports.forget_before(now - REMEMBERED_S)
            self._audit.append(list(self._tally.due(now)))
        self._asked = {uid: until for uid, until in self._asked.items() if now < until}
