"""The cluster's half of the flow: reports of nodes → incidents → decisions → actions, each step recorded before it counts.

`receive` takes a report in one transaction: everything that follows from it is stored, or nothing is and the node sends it again. What
takes time happens afterwards, in `reconcile`.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from intact.audit.log import AuditLog
from intact.audit.record import Leaf
from intact.audit.steps import record_gap
from intact.audit.tally import CleanTally, RestlessTally
from intact.decide.agreement import Own
from intact.decide.build import fold_build
from intact.decide.expect import is_calm, is_clean
from intact.model.container import Container
from intact.model.digest import Digest
from intact.model.finding import State, Verdict
from intact.model.incident import Matter, PodFacts, Reported, Workload
from intact.model.layer import Grade
from intact.model.policy import Cause, Purpose
from intact.model.seam import EXPECTED, Coverage, NodeStatus, Report
from intact.notify.alert import alert_for_blind
from intact.notify.router import Router

from .casebook import Casebook, IsSigned, Memory
from .commands import CommandBox
from .counts import Counts
from .library import BaselineLibrary
from .looks import Looks, pod_key
from .matters import Matters
from .reconcile import SILENT_S, Key, Reconciler
from .side import AgentSide
from .starts import Starts
from .truth import MIN_NODES, Truth
from .world import World

log = structlog.get_logger()

REMEMBERED_S = 7 * 86400.0
"""How long the ids of reports taken in are remembered: longer than a spool holds them."""
REMEMBERED_STATUS_S = 600.0
"""A node that spoke so shortly before a start is known after it, and missed if it says nothing more; one that is long gone is not."""
KEPT_GAPS = 20
WHY_EXPECTED = "what differs is expected by its policy or as pods of its template start, or is of level Info"


def bound_times(report: Report, now: float) -> Report:
    """`report` with no time later than `now`: a node's clock, or a node that lies, must not reach into the future of others."""
    return replace(
        report,
        verdicts=tuple(
            replace(
                verdict,
                at=min(verdict.at, now),
                findings=tuple(replace(finding, observed_at=min(finding.observed_at, now)) for finding in verdict.findings),
            )
            for verdict in report.verdicts
        ),
        coverage=report.coverage
        and tuple(
            replace(covered, verified_at=min(covered.verified_at, now), layers_verified_at=min(covered.layers_verified_at, now))
            for covered in report.coverage
        ),
    )


def is_blind(verdict: Verdict) -> bool:
    """Whether nothing of the container could be looked at."""
    return verdict.state is State.UNOBSERVED and any(one.path == b"/" for one in verdict.unobserved)


class ClusterFlow(AgentSide):
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
        corroborating_nodes: int = MIN_NODES,
        is_signed: IsSigned = lambda record, policy: not policy.signed_by,
    ) -> None:
        super().__init__(world=world, memory=memory, audit=audit, router=router, library=library, commands=CommandBox(clock), clock=clock)
        self._on_verdict = on_verdict
        self._lock = threading.RLock()
        self._tally, self._restless = CleanTally(), RestlessTally()
        self._nodes: dict[str, NodeStatus] = {}
        self._looks = Looks()
        self._asked: dict[str, frozenset[str]] = {}
        self._starts = Starts(memory.starts)
        self._counts = Counts(memory.starts)
        self._matters = Matters()
        self._truth = Truth(own=self._own, nodes=self._count_nodes, minimum=corroborating_nodes, is_supplied=library.has_supplied)
        self._awaited: set[str] = set()
        self._await_until = 0.0
        self._casebook = Casebook(
            world=world,
            memory=memory,
            audit=audit,
            router=router,
            looks=self._looks,
            matters=self._matters,
            doubted=self._truth.doubted_pods,
            is_signed=is_signed,
        )
        self._reconciler = Reconciler(
            world=world,
            memory=memory,
            casebook=self._casebook,
            looks=self._looks,
            commands=self._commands,
            lock=self._lock,
            status_of=self._nodes.get,
            keep_house=self._keep_house,
            clock=clock,
        )

    def run(self, stop: threading.Event) -> None:
        """Carries on what reports began, until `stop` is set."""
        with self._lock:
            now, before = self._clock(), self._memory.reports.statuses()
            self._awaited = {status.node for status in before} - self._nodes.keys()
            self._await_until = now + SILENT_S
            for status in before:
                if status.node in self._awaited and now - status.heard_at < REMEMBERED_STATUS_S:
                    self._nodes[status.node] = status
                    self._reconciler.wake(Key("node", status.node), SILENT_S)
        self._reconciler.run(stop)
        with self._lock:
            self._audit.append([*self._tally.flush(self._clock()), *self._restless.flush()])

    # -- the seam ----------------------------------------------------------------------------------------------------

    def receive(self, node: str, report: Report) -> None:
        """Takes a report in, once.

        1. Each container is found in the world. 2. The report's id is remembered. 3. What the node says of itself is noted, and 4 what it
        saw. 5. What follows from it is decided. 6. Everything is recorded.
        """
        now = self._clock()
        report = bound_times(report, now)
        pods = [self._world.locate(verdict.container, now) for verdict in report.verdicts]  # 1
        touched = []
        with self._lock, self._memory.transactions.transaction():
            if not self._memory.reports.receive(report.id, node, now):  # 2
                return
            leaves = [record_gap(node, gap, now=now) for gap in report.gaps]
            self._hear_node(node, report, leaves, now)  # 3
            reported: dict[Workload, list[Reported]] = defaultdict(list)
            for verdict, pod in zip(report.verdicts, pods, strict=True):
                leaves += self._take_verdict(verdict, pod, reported[pod.workload], now)  # 4
            self._audit.append(leaves)  # 6
            for workload, found in reported.items():
                if found:
                    touched.append(self._casebook.consider(workload, found, self._casebook.policy_of(found[0].pod), now))  # 5, 6
                else:
                    touched.append(self._memory.incidents.find_open(workload))
        for outcome in report.outcomes:
            self._commands.settle(node, outcome.command_id)
        for incident in filter(None, touched):
            self._reconciler.wake_incident(incident)
        if report.coverage is not None:
            self._reconciler.wake(Key("node", node))
        self._look_again()

    def forged(self, node: str, claim: str, reason: str) -> None:
        with self._lock:
            super().forged(node, claim, reason)

    # -- what the controller itself holds ----------------------------------------------------------------------------

    def hold(self, cause: Cause, matters: Iterable[Matter]) -> None:
        """All that stands against nodes and images for `cause` now: what is new opens an incident about its subject, what is not there any
        more ends it. Say it again whenever it may have changed; the same said twice is nothing. From any thread; returns at once."""
        for subject in self._matters.hold(cause, matters, self._clock()):
            self._reconciler.wake_subject(subject)

    def learn(self, key: Digest) -> None:
        """The cluster's own baseline of an image is new, another, or gone: what the nodes say of it is weighed again."""
        if self._truth.learn(key):
            self._hold_nodes()

    def dispute_of(self, key: Digest) -> str:
        """Who has which root of the image, where nodes do not agree; empty where they do."""
        return self._truth.dispute(key)

    def _hold_nodes(self) -> None:
        """What nodes are accused of. After a start the nodes that spoke before are heard first: with half of them it would be half true."""
        if self._awaited and self._clock() < self._await_until:
            return
        self.hold(Cause.NODE, self._truth.matters(self._clock()))

    def _own(self, key: Digest) -> Own | None:
        """What the cluster answers for itself; what a person supplied proves nothing against a node."""
        known = self._library.known(key)
        return Own(root=known.root, algorithms=known.algorithms) if known is not None and known.grade >= Grade.VERIFIED else None

    def _count_nodes(self) -> int:
        return max(self._world.node_count(), len(self._nodes))

    # -- for people --------------------------------------------------------------------------------------------------

    def status(self) -> tuple[NodeStatus, ...]:
        """What every node said last."""
        with self._lock:
            return tuple(self._nodes[node] for node in sorted(self._nodes))

    # -- a report ----------------------------------------------------------------------------------------------------

    def _hear_node(self, node: str, report: Report, leaves: list[Leaf], now: float) -> None:
        known = self._nodes.get(node)
        coverage = known.coverage if known else ()
        gaps = (*(known.gaps if known else ()), *report.gaps)[-KEPT_GAPS:]
        if report.coverage is not None:
            self._awaited.discard(node)
            if self._truth.hear(node, report.coverage, self._world.declared_on(node)) or not self._matters.has_heard(Cause.NODE):
                self._hold_nodes()
            coverage = tuple(self._regrade_coverage(covered) for covered in report.coverage)
            self._ask_untold(node, coverage, now)
            self._memory.reports.save_coverage(node, now, coverage, report.tier, gaps)
            self._looks.keep(node, coverage)
            for covered in coverage:
                self._confirm(covered, now)
                leaves += self._settle_start(covered, now)
        self._nodes[node] = NodeStatus(node=node, heard_at=now, tier=report.tier, coverage=coverage, gaps=gaps)

    def _ask_untold(self, node: str, coverage: Iterable[Coverage], now: float) -> None:
        """How a container differs may have been told to an earlier life of this process: then its node is to tell it again, once."""
        untold = {one.container.id: one.container for one in coverage if one.differs and not self._looks.has(pod_key(one.container))}
        for id in untold.keys() - self._asked.get(node, frozenset()):
            pod = self._world.locate(untold[id], now)
            self._reconciler.look_again(pod.workload, pod.uid)
        self._asked[node] = frozenset(untold)

    def _confirm(self, covered: Coverage, now: float) -> None:
        """A node's coverage tells of the last clean look at a container, which a verdict told only once."""
        verdict = self._looks.confirm(covered.container, covered.verified_at)
        if verdict is not None:
            pod = self._world.locate(covered.container, now)
            self._casebook.note_revision(pod, verdict.state, clean=True, at=covered.verified_at, now=now)

    def _settle_start(self, covered: Coverage, now: float) -> list[Leaf]:
        """What a container started with is known once its node looked at it after its pod was ready; what an odd node says teaches
        nothing."""
        in_pod = covered.container.pod
        if in_pod is None or self._is_odd(covered.container) or self._starts.is_settled(covered.container, now):
            return []
        if self._world.node_of(in_pod.uid) is None:
            return []
        pod = self._world.locate(covered.container, now)
        return self._starts.settle(covered, pod, is_spread=lambda: self._is_spread(pod.workload, now), now=now)

    def _is_spread(self, workload: Workload, now: float) -> bool:
        return len({pod.node for pod in self._world.facts(workload, now).pods}) > 1

    def _look_again(self) -> None:
        """At pods of which it is to be known what they started with, or whose start was let pass before others' was known."""
        with self._lock:
            wishes = self._starts.take_wishes()
        for workload, pod_uid, after_s in wishes:
            self._reconciler.look_again(workload, pod_uid, after_s)

    def _take_verdict(self, verdict: Verdict, pod: PodFacts, reported: list[Reported], now: float) -> list[Leaf]:
        verdict, leaves, policy = self._regrade(verdict), list[Leaf](), self._casebook.policy_of(pod)
        differs = verdict.state is State.DRIFTED
        if policy.workload is Purpose.BUILD:
            verdict = fold_build(verdict)
        if not self._is_odd(verdict.container):
            verdict, leaves = self._starts.weigh(verdict, pod, is_spread=lambda: self._is_spread(pod.workload, now), now=now)
        leaves += self._counts.count(verdict, pod, now)
        clean = is_clean(verdict, policy, now) and not self._is_odd(verdict.container)
        if is_blind(verdict) and self._looks.has_seen(verdict.container) and not pod.is_ending:
            self._router.submit(alert_for_blind(verdict, now=now))
        self._looks.note(verdict, clean=clean, calm=is_calm(verdict, policy, now), differs=differs)
        self._on_verdict(verdict)
        self._casebook.note_revision(pod, verdict.state, clean=clean, at=verdict.at, now=now)
        reported.extend(Reported(finding=finding, pod=pod) for finding in verdict.findings)
        if verdict.state is State.INTACT:
            return [*leaves, *self._tally.add(verdict, now)]
        return [*leaves, *self._restless.add(verdict, pod.workload, now)]

    def _regrade(self, verdict: Verdict) -> Verdict:
        if verdict.grade is None:
            return verdict
        grade = self._grade(verdict.container, verdict.baseline_root, verdict.grade)
        return replace(verdict, grade=grade, findings=tuple(replace(f, grade=grade) for f in verdict.findings))

    def _regrade_coverage(self, covered: Coverage) -> Coverage:
        if not covered.grade:
            return covered
        container, key = covered.container, covered.container.image_key
        claimed = next((grade for grade in Grade if grade.title == covered.grade), Grade.FIRST_SEEN)
        covered = replace(covered, grade=self._grade(container, covered.baseline_root, claimed).title)
        if claimed is Grade.SIGNED and covered.baseline_root in self._library.withdrawn():
            return replace(covered, verdict=State.UNOBSERVED.value, reason="its baseline was withdrawn")
        doubt = self._truth.doubts(container.node, key) if key is not None else ""
        if doubt and self._is_odd(container) and covered.verdict == State.INTACT.value:
            return replace(covered, verdict=State.UNOBSERVED.value, reason=doubt)
        if covered.verdict == State.DRIFTED.value and not doubt and self._looks.expects(container):
            return replace(covered, verdict=EXPECTED, reason=covered.reason or WHY_EXPECTED)
        return replace(covered, reason=covered.reason or doubt)

    def _grade(self, container: Container, root: Digest | None, claimed: Grade) -> Grade:
        """How far the baseline is to be trusted that a node compared with: as the cluster's own, where it is that; else as the node's word,
        and that of others who computed the same."""
        key = container.image_key
        if key is None or root is None:
            return min(claimed, Grade.NODE_REPORTED)
        known = self._library.known(key)
        held = known.grade if known is not None and known.root == root else None
        if held is not None and held >= Grade.VERIFIED:
            return held
        if claimed >= Grade.NODE_REPORTED and self._truth.is_corroborated(container.node, key, root):
            return Grade.CORROBORATED
        if held is not None and claimed is not Grade.VERIFIED:
            return held  # it was sent to the node, which computed nothing
        return min(claimed, Grade.NODE_REPORTED)

    def _is_odd(self, container: Container) -> bool:
        return container.image_key is not None and self._truth.is_odd(container.node, container.image_key)

    def _keep_house(self, now: float) -> None:
        with self._lock, self._memory.transactions.transaction():
            self._memory.reports.forget_before(now - REMEMBERED_S)
            self._starts.keep_house(now)
            self._audit.append([*self._tally.due(now), *self._restless.due(now)])
        self._truth.keep(self._world.declared_on)
        self._hold_nodes()
        self._world.keep_house(now)
