"""What is known of workloads and what is decided about them: the decide stage with its memory, its record and its voice.

Every method that changes something does so in the transaction its caller opened: the incident, the decisions, the audit leaves and the
alerts are kept together or not at all. Never acts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from intact.audit.log import AuditLog
from intact.audit.steps import record_decision, record_finding, record_incident
from intact.audit.steps import record_outcome as audit_outcome
from intact.decide.expect import select_counting
from intact.decide.flapping import is_flapping
from intact.decide.govern import DEFAULT, govern
from intact.decide.known_good import note_look
from intact.decide.ports import IncidentStore, RemediationStore, ReportStore, RevisionStore, StartStore, Transactions
from intact.decide.reducer import record_outcome, reduce, resolve
from intact.decide.target import choose_target
from intact.model.alert import Alert
from intact.model.facts import WorkloadFacts
from intact.model.finding import State
from intact.model.incident import Decision, Incident, IncidentState, Outcome, Phase, PodFacts, Reported, Workload
from intact.model.policy import ActionKind, Policy, RollbackTo
from intact.model.revision import RevisionRecord
from intact.notify.alert import alert_for_decision, alert_for_incident, alert_for_outcome, alert_for_silence
from intact.notify.router import Router

from .looks import Looks
from .matters import Matters
from .world import World

RECENT_INCIDENTS = 20
"""Earlier incidents that are looked through for actions and thresholds of a workload."""
SEEN_AGAIN_S = 300.0
TOLD_FINDINGS = 20
"""Findings that an alert about an action is made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The stores of the cluster flow; all in one database, so that one transaction covers them."""

    transactions: Transactions
    incidents: IncidentStore
    revisions: RevisionStore
    remediations: RemediationStore
    reports: ReportStore
    starts: StartStore


IsSigned = Callable[[RevisionRecord, Policy], bool]


class Casebook:
    """Not for use by two threads at once: the flow's lock guards it."""

    def __init__(
        self,
        *,
        world: World,
        memory: Memory,
        audit: AuditLog,
        router: Router,
        looks: Looks,
        matters: Matters,
        doubted: Callable[[], Collection[str]] = tuple,
        is_signed: IsSigned = lambda record, policy: not policy.signed_by,
    ) -> None:
        """`doubted` gives the UIDs of pods whose node is not believed about their image; `is_signed` whether all images of a revision are
        known to be signed as a policy wants it."""
        self._world, self._memory, self._audit, self._router, self._looks = world, memory, audit, router, looks
        self._matters, self._doubted, self._is_signed = matters, doubted, is_signed

    def policy_of(self, pod: PodFacts) -> Policy:
        return govern(pod.namespace, pod.labels, self._world.policies())

    def policy_for(self, incident: Incident) -> Policy:
        """What governs the incident's workload now, by one of its pods; while it has none, the policy that governed it last, if there is
        still one of that name."""
        pod = self._world.pod_of(incident.workload)
        if pod is not None:
            return self.policy_of(pod)
        return next((p for p in self._world.policies() if str(p) == incident.policy), Policy(name=incident.policy))

    def consider(self, workload: Workload, reported: Sequence[Reported], policy: Policy, now: float) -> Incident | None:
        """The workload's last incident with what is new, or without anything new: guard rails and causes change with time too.

        The last one may be resolved: a node may still speak of what that one was about. None if nothing is wrong.
        """
        earlier = self._memory.incidents.of(workload, RECENT_INCIDENTS)
        last = self._memory.incidents.find_open(workload) or next(iter(earlier), None)
        incident, decisions = reduce(last, reported, policy, self._facts(workload, policy, earlier, now), now)
        if incident is None or (incident == last and not decisions):
            return incident
        before = last if last is not None and last.id == incident.id else None
        self._memory.incidents.save(incident)
        counting = select_counting(reported, policy, now)
        fresh = self._memory.incidents.count(incident.id, counting)
        leaves = [record_finding(one.finding, workload=workload, incident=incident.id, now=now) for one in fresh]
        if before is None or decisions or _is_worth_a_leaf(before, incident, now):
            leaves.append(record_incident(incident, opened=before is None, now=now))
        leaves += [record_decision(decision, now=now) for decision in decisions]
        self._audit.append(leaves)
        self._submit(alert_for_incident(before, incident, counting, now=now))
        for decision in decisions:
            self._propose(incident, decision, counting, now)
        return incident

    def weigh(self, subject: Workload, now: float) -> Incident | None:
        """The subject's incident after what the controller itself holds against it has changed; None if nothing is wrong."""
        pod = self._world.pod_of(subject)
        return self.consider(subject, (), DEFAULT if pod is None else self.policy_of(pod), now)

    def settle(self, incident: Incident, now: float) -> Incident:
        """An open incident thought about anew: it is over, or what was refused or unknown before is possible now."""
        policy = self.policy_for(incident)
        earlier = self._memory.incidents.of(incident.workload, RECENT_INCIDENTS)
        facts = self._facts(incident.workload, policy, earlier, now)
        resolved = resolve(incident, facts, now)
        if resolved == incident or is_flapping(incident, earlier, facts.pods, now):
            return self.consider(incident.workload, (), policy, now) or incident
        self._memory.incidents.save(resolved)
        self._audit.append([record_incident(resolved, opened=False, now=now)])
        self._submit(alert_for_incident(incident, resolved, (), now=now))
        return resolved

    def note_outcome(self, outcome: Outcome, now: float) -> None:
        """What came of a decision so far."""
        self._memory.remediations.save(outcome)
        self._audit.append([audit_outcome(outcome, now=now)])
        incident = self._memory.incidents.get(outcome.decision.incident_id)
        if incident is not None:
            incident = record_outcome(incident, outcome)
            self._memory.incidents.save(incident)
            reported = self._memory.incidents.findings(incident.id, TOLD_FINDINGS)
            self._submit(alert_for_outcome(incident, outcome, reported, now=now))

    def note_silence(self, node: str, heard_at: float, now: float) -> None:
        """A node reports nothing any more."""
        self._submit(alert_for_silence(node, heard_at, now=now))

    def note_revision(self, pod: PodFacts, state: State, *, clean: bool, at: float, now: float) -> None:
        """What a rollback may go back to is learnt from every look."""
        records = self._memory.revisions.of(pod.workload)
        record = self._world.revision_of(pod, records, now)
        if record is not None:
            record = note_look(record, state, clean=clean, at=at)
            if record not in records:
                self._memory.revisions.save(record)

    def _propose(self, incident: Incident, decision: Decision, reported: Sequence[Reported], now: float) -> None:
        """Intent first: what is decided is stored before anybody carries it out."""
        if decision.action is not ActionKind.ALERT:
            phase = Phase.REFUSED if decision.refused else Phase.PROPOSED
            proposed = Outcome(decision=decision, phase=phase, message=decision.refused or decision.reason, at=now)
            self._memory.remediations.claim(proposed)
        self._submit(alert_for_decision(incident, decision, reported, now=now))

    def _facts(self, workload: Workload, policy: Policy, earlier: Sequence[Incident], now: float) -> WorkloadFacts:
        """The world's facts, completed by what was seen and done before."""
        facts = self._world.facts(workload, now)
        records = self._memory.revisions.of(workload)
        closed = [incident for incident in earlier if incident.state is IncidentState.RESOLVED]
        last = next((incident.matters for incident in earlier if incident.state is not IncidentState.RESOLVED), ())
        doubted = self._doubted()
        return replace(
            facts,
            matters=self._matters.of(workload, last),
            doubted=tuple(pod.uid for pod in facts.pods if pod.uid in doubted),
            pods=tuple(replace(pod, intact_at=self._looks.intact_at(pod.uid)) for pod in facts.pods),
            targets=tuple(
                (to, choose_target(records, facts.revision, to, policy.guard.soak_s, lambda record: self._is_signed(record, policy)))
                for to in RollbackTo
            ),
            actions=tuple(taken for incident in closed for taken in incident.taken),
            recent=tuple(seen for incident in closed for seen in incident.seen),
            rolled_back=facts.revision in self._own_revisions(earlier),
        )

    def _own_revisions(self, incidents: Iterable[Incident]) -> frozenset[str]:
        """The revisions that this system itself made by rolling the workload back."""
        outcomes = (outcome for incident in incidents for outcome in self._memory.remediations.of(incident.id))
        return frozenset(o.revision for o in outcomes if o.revision and o.decision.action is ActionKind.ROLL_BACK)

    def _submit(self, alert: Alert | None) -> None:
        if alert is not None:
            self._router.submit(alert)


def _is_worth_a_leaf(before: Incident, incident: Incident, now: float) -> bool:
    """Whether more of it has changed than when it was last seen, of which one leaf in `SEEN_AGAIN_S` is enough: its end says the last."""
    is_later = incident.last_seen // SEEN_AGAIN_S != before.last_seen // SEEN_AGAIN_S
    unseen = replace(before, last_seen=incident.last_seen)
    return is_later or record_incident(unseen, opened=False, now=now) != record_incident(incident, opened=False, now=now)
