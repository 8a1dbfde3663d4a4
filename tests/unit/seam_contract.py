"""What must hold of the seam whichever way it is carried; `SeamContract` runs against each carrier.

`FileCluster` implements the cluster's side of the port on a file, so that a restarted cluster knows what it had stored. `World` is a
carrier with a cluster behind it that can be taken away, brought back and started anew.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from intact.adapters.codec import decode, encode
from intact.adapters.seam.ports import FORGED, Cluster
from intact.adapters.seam.sender import Sender
from intact.adapters.seam.spool import Spool
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.errors import TemporaryError, TrustError
from intact.model.finding import Change, Difference, Finding, Level, State, Verdict
from intact.model.incident import Incident
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.seam import Command, Coverage, NodeStatus, Plan, PodPlan, Report
from intact.run.cluster.commands import CommandBox

NODE = "node-a"
KEY = Digest.of(b"an image's configuration")
DOCUMENT = bytes(range(256)) * 5000


class FileCluster:
    """The cluster's side, thin but true: stored means on disk, and one id counts once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.box = CommandBox(time.time)
        self.pods: dict[str, str] = {}
        self.alarms: list[tuple[str, str, str]] = []
        self.plan = Plan(etag="1", pods=(PodPlan(pod_uid="uid-1", interval_s=5.0),))
        self.baselines = {KEY: DOCUMENT}
        self.found: dict[str, Incident] = {}
        self.away = False
        self.reports: dict[str, Report] = {}
        if path.exists():
            for line in path.read_bytes().split(b"\n")[:-1]:
                report = decode(Report, line)
                self.reports[report.id] = report

    @property
    def findings(self) -> set[str]:
        return {f.id for r in self.reports.values() for v in r.verdicts for f in v.findings}

    def receive(self, node: str, report: Report) -> None:
        if self.away:
            raise TemporaryError("the store is away")
        with self._lock:
            if report.id in self.reports:
                return
            whole = self._path.read_bytes().rpartition(b"\n") if self._path.exists() else (b"", b"", b"")
            if whole[2]:
                os.truncate(self._path, len(whole[0]) + 1)
            with self._path.open("ab") as file:
                file.write(encode(report) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self.reports[report.id] = report

    def node_of(self, pod_uid: str) -> str | None:
        return self.pods.get(pod_uid)

    def forged(self, node: str, claim: str, reason: str) -> None:
        self.alarms.append((node, claim, reason))

    def plan_for(self, node: str) -> Plan:
        return self.plan

    def baseline_for(self, key: Digest) -> bytes | None:
        return self.baselines.get(key)

    def commands_for(self, node: str, wait_s: float) -> tuple[Command, ...]:
        return self.box.take(node, wait_s)

    def when_commanded(self, call: Callable[[str], None]) -> None:
        self.box.when_put(call)

    def status(self) -> tuple[NodeStatus, ...]:
        return tuple(NodeStatus(node=r.node, heard_at=r.at, tier=r.tier, coverage=r.coverage or ()) for r in self.reports.values())

    def incidents(self, namespace: str) -> tuple[Incident, ...]:
        return tuple(i for i in self.found.values() if not namespace or i.workload.namespace == namespace)

    def incident(self, incident_id: str) -> Incident | None:
        return self.found.get(incident_id)

    def export_audit(self) -> Iterator[bytes]:
        yield from (b"leaf 1\n", b"leaf 2\n")


class World(Protocol):
    """A carrier under test: `seam` as one node sees it, `cluster` behind it now."""

    @property
    def cluster(self) -> FileCluster: ...

    def seam(self, node: str) -> Cluster: ...

    def restarted(self) -> None:
        """The cluster's process ends and starts anew, with what it had stored."""

    def gone(self) -> AbstractContextManager[None]:
        """While inside, nobody is there."""


def make_container(node: str = NODE, *, container_id: str = "c1", pod_uid: str = "uid-1") -> Container:
    return Container(
        id=container_id, name="web", image="web:1", image_key=KEY, node=node, pod=Pod(namespace="shop", name="web-1", uid=pod_uid)
    )


def make_finding(container: Container, path: bytes = b"/usr/bin/\xff\n", *, content: bytes = b"changed") -> Finding:
    expected = Entry(path=path, kind=Kind.FILE, mode=0o755, size_bytes=3, digest=Digest.of(b"was"))
    actual = Entry(path=path, kind=Kind.FILE, mode=0o4755, size_bytes=len(content), digest=Digest.of(content))
    difference = Difference(path=path, change=Change.MODIFIED, expected=expected, actual=actual, fields=("content", "mode"))
    return Finding(
        container=container,
        difference=difference,
        level=Level.HIGH,
        rule="executable",
        scope=Scope.DRIFT,
        baseline_root=KEY,
        grade=Grade.VERIFIED,
        observed_at=10.0,
    )


def make_report(report_id: str, node: str = NODE, *, findings: int = 1, container: Container | None = None) -> Report:
    """A drifted container with `findings` findings, or an intact one."""
    container = container or make_container(node)
    found = tuple(make_finding(container, b"/srv/%s-%d" % (report_id.encode(), n)) for n in range(findings))
    verdict = Verdict(container=container, state=State.DRIFTED if found else State.INTACT, scope=Scope.DRIFT, findings=found, at=11.0)
    return Report(id=report_id, node=node, at=12.0, verdicts=(verdict,), tier="A")


class SeamContract:
    """The contract. A carrier's tests inherit it and give the fixture `world`."""

    def test_a_report_arrives_exactly_as_it_was_sent(self, world: World) -> None:
        report = make_report("r1", findings=3)
        world.seam(NODE).submit(report)
        assert world.cluster.reports == {"r1": report}

    def test_a_report_submitted_twice_counts_once_even_across_a_restart_of_the_cluster(self, world: World) -> None:
        report = make_report("r1")
        world.seam(NODE).submit(report)
        world.restarted()
        world.seam(NODE).submit(report)
        assert list(world.cluster.reports) == ["r1"]
        assert len(world.cluster.findings) == 1

    def test_a_report_is_stored_when_submit_returns(self, world: World) -> None:
        world.seam(NODE).submit(make_report("r1"))
        world.restarted()
        assert list(world.cluster.reports) == ["r1"]

    def test_a_cluster_that_cannot_store_says_so_and_has_not_stored(self, world: World) -> None:
        world.cluster.away = True
        with pytest.raises(TemporaryError):
            world.seam(NODE).submit(make_report("r1"))
        assert not world.cluster.reports

    def test_nothing_is_lost_while_nobody_is_there_and_the_order_is_kept(self, world: World, tmp_path: Path) -> None:
        spool = Spool(tmp_path / "spool", time.time)
        sender = Sender(spool, world.seam(NODE))
        with world.gone():
            for n in range(5):
                spool.append(make_report(f"r{n}"))
            assert not sender.send_oldest(wait_s=0)
            assert sender.delivery.failing
        sender.start()
        try:
            wait_until(lambda: len(spool) == 0)
        finally:
            sender.stop()
            spool.close()
        assert list(world.cluster.reports) == [f"r{n}" for n in range(5)]
        assert len(world.cluster.findings) == 5

    @pytest.mark.parametrize("lie", ["report", "verdict", "finding", "coverage"])
    def test_a_node_that_speaks_for_another_is_refused_and_alarmed(self, world: World, lie: str) -> None:
        own, foreign = make_container(), make_container("node-b")
        verdict = Verdict(container=own, state=State.DRIFTED, scope=Scope.DRIFT)
        match lie:
            case "report":
                report = make_report("r1", "node-b")
            case "verdict":
                report = make_report("r1", container=foreign)
            case "finding":
                mixed = Verdict(container=own, state=State.DRIFTED, scope=Scope.DRIFT, findings=(make_finding(foreign),))
                report = Report(id="r1", node=NODE, at=1.0, verdicts=(verdict, mixed))
            case _:
                coverage = Coverage(
                    container=foreign, verdict="Intact", baseline_root=None, grade="", verified_at=0.0, layers_verified_at=0.0
                )
                report = Report(id="r1", node=NODE, at=1.0, coverage=(coverage,))
        with pytest.raises(TrustError) as refusal:
            world.seam(NODE).submit(report)
        assert refusal.value.code == FORGED
        assert not world.cluster.reports
        assert [node for node, _, _ in world.cluster.alarms] == [NODE]

    def test_a_finding_about_a_pod_that_runs_elsewhere_is_refused_and_alarmed(self, world: World) -> None:
        world.cluster.pods["uid-1"] = "node-b"
        with pytest.raises(TrustError) as refusal:
            world.seam(NODE).submit(make_report("r1"))
        assert refusal.value.code == FORGED
        assert not world.cluster.reports
        assert world.cluster.alarms == [(NODE, "pod uid-1", "the pod is on node node-b")]

    def test_a_pod_the_cluster_knows_here_or_not_yet_is_accepted(self, world: World) -> None:
        world.seam(NODE).submit(make_report("r1"))
        world.cluster.pods["uid-1"] = NODE
        world.seam(NODE).submit(make_report("r2"))
        assert list(world.cluster.reports) == ["r1", "r2"]

    def test_a_forged_report_does_not_hold_up_the_spool_and_is_told_as_a_gap(self, world: World, tmp_path: Path) -> None:
        spool = Spool(tmp_path / "spool", time.time)
        spool.append(make_report("forged", "node-b"))
        spool.append(make_report("r1"))
        sender = Sender(spool, world.seam(NODE))
        assert sender.send_oldest(wait_s=0)
        assert sender.send_oldest(wait_s=0)
        spool.append(make_report("r2"))
        assert sender.send_oldest(wait_s=0)
        spool.close()
        assert list(world.cluster.reports) == ["r1", "r2"]
        assert "refused" in world.cluster.reports["r2"].gaps[0].reason

    def test_the_plan_comes_once_and_again_when_it_changes(self, world: World) -> None:
        seam = world.seam(NODE)
        plan = seam.fetch_plan("")
        assert plan == world.cluster.plan
        assert seam.fetch_plan(plan.etag) is None
        world.cluster.plan = Plan(etag="2")
        assert seam.fetch_plan(plan.etag) == Plan(etag="2")

    def test_a_baseline_comes_byte_for_byte_and_an_unknown_one_is_none(self, world: World) -> None:
        document = world.seam(NODE).fetch_baseline(KEY)
        assert document is not None
        assert hashlib.sha256(document).digest() == hashlib.sha256(DOCUMENT).digest()
        assert world.seam(NODE).fetch_baseline(Digest.of(b"never built")) is None

    def test_commands_reach_only_their_node_and_never_after_they_expired(self, world: World) -> None:
        now = time.time()
        world.cluster.box.put(make_command("mine", NODE, now + 60))
        world.cluster.box.put(make_command("other", "node-b", now + 60))
        world.cluster.box.put(make_command("late", NODE, now - 1))
        assert [c.id for c in world.seam(NODE).fetch_commands(0)] == ["mine"]

    def test_a_command_that_expires_while_it_waits_is_never_delivered(self, world: World) -> None:
        world.cluster.box.put(make_command("soon", NODE, time.time() + 0.05))
        time.sleep(0.06)
        assert world.seam(NODE).fetch_commands(0) == ()

    def test_a_command_wakes_the_node_that_waits_for_it(self, world: World) -> None:
        seam = world.seam(NODE)
        seam.fetch_commands(0)
        threading.Timer(0.3, lambda: world.cluster.box.put(make_command("wake", NODE, time.time() + 60))).start()
        began = time.monotonic()
        commands = seam.fetch_commands(10.0)
        assert [c.id for c in commands] == ["wake"]
        assert 0.2 < time.monotonic() - began < 2.0

    def test_waiting_for_commands_ends_when_it_should(self, world: World) -> None:
        began = time.monotonic()
        assert world.seam(NODE).fetch_commands(0.5) == ()
        assert 0.4 < time.monotonic() - began < 3.0


def make_command(command_id: str, node: str, expires_at: float) -> Command:
    return Command(id=command_id, node=node, kind="Rescan", pod_uid="uid-1", expires_at=expires_at)


def wait_until(holds: Callable[[], bool], timeout_s: float = 15.0) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, f"not within {timeout_s} s"
        time.sleep(0.02)
