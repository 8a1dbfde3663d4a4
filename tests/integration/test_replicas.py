"""Many replicas, one PostgreSQL, one that acts: whoever is killed, everything a node said is counted, once. Real processes, kill -9."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from intact.adapters.keys.signing import generate_key
from intact.adapters.store.inbox import SqlInbox
from intact.audit.export import export_log
from intact.audit.note import NoteKey
from intact.audit.ports import Query
from intact.audit.query import find_leaves
from intact.audit.record import Leaf, LeafKind
from intact.audit.verify import verify_export
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.errors import TemporaryError
from intact.model.finding import Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.seam import CommandOutcome, Coverage, Gap, Report
from intact.run.cluster.replica import ReplicaSide
from intact.run.storage.memory import ClusterState, open_state
from lab.postgres import Postgres
from tests.integration.replica import NODES, act, make_side
from tests.unit.seam_contract import wait_until

PATIENCE_S = 120.0


def container_on(node: str) -> Container:
    pod = Pod(namespace="shop", name=f"web-{node}", uid=f"uid-shop-web-{node}")
    return Container(id=f"c-{node}", name="web", image="web:1", image_key=None, node=node, pod=pod)


def finding(node: str, path: str) -> Finding:
    entry = Entry(path=path.encode(), kind=Kind.FILE, mode=0o644)
    return Finding(
        container=container_on(node),
        difference=Difference(path=path.encode(), change=Change.ADDED, expected=None, actual=entry),
        level=Level.HIGH,
        rule="r",
        scope=Scope.DRIFT,
        baseline_root=Digest.of(b""),
        grade=Grade.VERIFIED,
        observed_at=1.0,
    )


def report(node: str, number: int, **more: object) -> Report:
    found = (finding(node, f"/etc/{node}-{number}"),)
    verdict = Verdict(
        container=container_on(node),
        scope=Scope.DRIFT,
        state=State.DRIFTED,
        baseline_root=Digest.of(b""),
        grade=Grade.VERIFIED,
        at=float(number),
        findings=found,
    )
    return Report(id=f"{node}-{number}", node=node, at=float(number), verdicts=(verdict,), **more)  # type: ignore[arg-type]


@dataclass
class Replicas:
    """Processes and replicas in this process, all on one database."""

    url: str
    directory: Path
    at_end: ExitStack
    made: int = 0

    def open(self) -> ClusterState:
        directory = self._directory()
        state = open_state(directory, self.url)
        self.at_end.callback(state.database.close)
        return state

    def serve(self) -> tuple[ReplicaSide, ClusterState]:
        stop = threading.Event()
        self.at_end.callback(stop.set)
        state = self.open()
        return make_side(state, stop), state

    @contextmanager
    def acting_process(self) -> Iterator[subprocess.Popen[str]]:
        """Killed at the end of the block, if it still lives."""
        directory = self._directory()
        command = [sys.executable, "-m", "tests.integration.replica", self.url, str(directory), directory.name]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None and process.stdout.readline() == "acting\n"
                yield process
            finally:
                process.kill()

    def _directory(self) -> Path:
        self.made += 1
        directory = self.directory / f"replica{self.made}"
        directory.mkdir(mode=0o700)
        for name in ("audit.pem", "audit.pub"):
            (directory / name).write_bytes((self.directory / name).read_bytes())
            (directory / name).chmod(0o600)
        return directory


@pytest.fixture
def replicas(postgres: Postgres, tmp_path: Path) -> Iterator[Replicas]:
    generate_key(tmp_path / "audit")
    with ExitStack() as at_end:
        yield Replicas(postgres.make_database(), tmp_path, at_end)


def leaves(state: ClusterState, kind: LeafKind) -> list[Leaf]:
    return [leaf for _, leaf in find_leaves(state.leaves, Query(kinds=frozenset({kind.value})))]


def recorded_paths(state: ClusterState) -> Counter[str]:
    return Counter(str(leaf.body["path"]) for leaf in leaves(state, LeafKind.FINDING))


def verify(state: ClusterState) -> None:
    verify_export(export_log(state.leaves)[1], [state.audit.key])


def test_a_report_through_a_replica_that_does_not_act_becomes_an_incident(replicas: Replicas) -> None:
    side, state = replicas.serve()
    with replicas.acting_process():
        side.receive("node1", report("node1", 1))
        wait_until(lambda: len(state.memory.incidents.list_open()) == 1, PATIENCE_S)
    (incident,) = state.memory.incidents.list_open()
    assert (incident.workload.name, incident.count, incident.nodes) == ("web", 1, ("node1",))


def test_killing_the_one_that_acts_again_and_again_loses_nothing_and_counts_nothing_twice(replicas: Replicas) -> None:
    """Two replicas take reports of three nodes all the time, some twice, while a third one acts and is killed five times."""
    sides = [replicas.serve(), replicas.serve()]
    state = sides[0][1]
    each, chance = 40, random.Random(1)

    def send(node: str) -> None:
        for number in range(1, each + 1):
            one = report(node, number)
            for side, _ in random.Random(number).sample(sides, 2 if number % 5 == 0 else 1):  # an answer was lost: the node sends again
                side.receive(node, one)

    senders = [threading.Thread(target=send, args=(node,)) for node in NODES]
    for _ in range(5):
        with replicas.acting_process() as process:
            for sender in senders:
                if sender.ident is None:
                    sender.start()
            before = sum(recorded_paths(state).values())
            wanted = min(before + chance.randrange(1, 15), len(NODES) * each)
            wait_until(lambda wanted=wanted: sum(recorded_paths(state).values()) >= wanted, PATIENCE_S)  # type: ignore[misc]
            process.kill()
    for sender in senders:
        sender.join(PATIENCE_S)
    everything = Counter(f"/etc/{node}-{number}" for node in NODES for number in range(1, each + 1))
    with replicas.acting_process():
        wait_until(lambda: recorded_paths(state) == everything, PATIENCE_S)
        wait_until(lambda: len(SqlInbox(state.database)) == 0, PATIENCE_S)
    (incident,) = state.memory.incidents.list_recent(10)
    assert incident.count == len(everything)
    verify(state)


def test_one_that_was_overtaken_writes_nothing_any_more_and_ends(replicas: Replicas) -> None:
    side, state = replicas.serve()
    with replicas.acting_process() as first, replicas.acting_process():
        side.receive("node1", report("node1", 1))
        wait_until(lambda: recorded_paths(state) == Counter({"/etc/node1-1": 1}), PATIENCE_S)
        assert first.wait(PATIENCE_S) == 0
    verify(state)


def test_all_replicas_write_one_audit_log(replicas: Replicas) -> None:
    """Forged reports are recorded by whoever gets them, while the one that acts records what it takes in."""
    (first, state), (second, _) = replicas.serve(), replicas.serve()
    with replicas.acting_process():

        def forge(side: ReplicaSide) -> None:
            for number in range(20):
                side.forged("node1", f"pod {number}", "not its own")

        threads = [threading.Thread(target=forge, args=(side,)) for side in (first, second)]
        for thread in threads:
            thread.start()
        for number in range(20):
            first.receive("node1", report("node1", number))
        for thread in threads:
            thread.join(PATIENCE_S)
        wait_until(lambda: len(recorded_paths(state)) == 20, PATIENCE_S)
    verify(state)
    assert len(leaves(state, LeafKind.FORGED_REPORT)) == 40


def test_an_order_reaches_the_node_through_whichever_replica_it_talks_to(replicas: Replicas) -> None:
    """An open incident without a look at its pods makes the acting replica order one."""
    side, _ = replicas.serve()
    called: list[str] = []
    side.when_commanded(called.append)
    stop = threading.Event()
    replicas.at_end.callback(stop.set)
    act(replicas.open(), "acting", stop)
    side.receive("node1", report("node1", 1))
    found: list[object] = []

    def ordered() -> bool:
        found[:] = side.commands_for("node2", 0.0)
        return bool(found)

    wait_until(ordered, PATIENCE_S)
    (command,) = found
    assert (command.kind, command.node, command.pod_uid) == ("Rescan", "node2", "uid-shop-web-node2")  # type: ignore[attr-defined]
    assert "node2" in called
    outcome = CommandOutcome(command_id=command.id, succeeded=True, message="", at=1.0)  # type: ignore[attr-defined]
    side.receive("node2", Report(id="done", node="node2", at=1.0, outcomes=(outcome,)))
    other, _ = replicas.serve()
    assert all(one.id != command.id for one in other.commands_for("node2", 0.0))  # type: ignore[attr-defined]


def test_what_nodes_said_is_known_to_every_replica(replicas: Replicas) -> None:
    side, _ = replicas.serve()
    covered = Coverage(
        container=container_on("node1"), verdict="Intact", baseline_root=None, grade="", verified_at=1.0, layers_verified_at=0.0
    )
    gap = Gap(since=1.0, until=2.0, reason="nothing watched this node")
    with replicas.acting_process():
        side.receive("node1", Report(id="r", node="node1", at=1.0, coverage=(covered,), gaps=(gap,), tier="A"))
        wait_until(lambda: len(side.status()) == 1, PATIENCE_S)
    (status,) = side.status()
    assert (status.node, status.tier, status.coverage, status.gaps) == ("node1", "A", (covered,), (gap,))


def test_a_node_that_falls_silent_while_nobody_acts_is_missed_by_the_next_one_that_does(replicas: Replicas) -> None:
    side, state = replicas.serve()
    covered = Coverage(
        container=container_on("node1"), verdict="Intact", baseline_root=None, grade="", verified_at=1.0, layers_verified_at=0.0
    )
    with replicas.acting_process():
        side.receive("node1", Report(id="r", node="node1", at=1.0, coverage=(covered,), tier="A"))
        wait_until(lambda: len(side.status()) == 1, PATIENCE_S)
    stop = threading.Event()
    replicas.at_end.callback(stop.set)
    flow = act(state, "next", stop)
    wait_until(lambda: [status.node for status in flow.status()] == ["node1"], PATIENCE_S)


def test_a_report_that_cannot_be_taken_in_is_told_and_stops_nobody_else(replicas: Replicas, postgres: Postgres) -> None:
    side, state = replicas.serve()
    database = replicas.url.partition("?")[0].rpartition("/")[2]
    insert = "insert into inbox (node, id, at, document) values ('node1', 'bad', 1.0, '{\"no\": \"report\"}')"
    side.receive("node1", report("node1", 1))
    postgres.query(insert, database)
    side.receive("node1", report("node1", 2))
    side.receive("node2", report("node2", 1))
    with replicas.acting_process():
        wait_until(lambda: len(recorded_paths(state)) == 3, PATIENCE_S)
        wait_until(lambda: postgres.query("select id from inbox", database) == ["bad"], PATIENCE_S)
    (gap,) = leaves(state, LeafKind.GAP)
    assert gap.node == "node1" and "could not be taken in" in str(gap.body["reason"])


def test_without_the_database_a_report_is_not_taken_and_with_it_again_it_is(tmp_path: Path) -> None:
    with Postgres() as server, ExitStack() as at_end:
        generate_key(tmp_path / "audit")
        replicas = Replicas(server.make_database(), tmp_path, at_end)
        side, state = replicas.serve()
        with replicas.acting_process():
            side.receive("node1", report("node1", 1))
            server.stop()
            with pytest.raises(TemporaryError):
                side.receive("node1", report("node1", 2))
            server.start()
            side.receive("node1", report("node1", 2))
            wait_until(lambda: len(recorded_paths(state)) == 2, PATIENCE_S)
        verify(state)


def test_the_key_that_signed_is_the_one_that_is_pinned(replicas: Replicas) -> None:
    """A replica with another key would be refused by whoever verifies; the fixture gives all of them one, as the Secret does."""
    first, second = replicas.open(), replicas.open()
    assert isinstance(first.audit.key, NoteKey) and first.audit.key == second.audit.key
    assert [leaf.body["verb"] for leaf in leaves(first, LeafKind.KEY_EVENT)] == ["LogBegun"]
