"""Reports taken in on SQLite and on PostgreSQL, each with findings, an incident and their leaves in the audit log, synced to the same disk.

Prints reports a second, the time until a report is acknowledged, and bytes in the database for each finding. With PostgreSQL a report is
acknowledged from the inbox and taken in by the replica that acts; both are measured.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from intact.adapters.registry.access import RegistryAccess
from intact.adapters.store.inbox import SqlInbox, SqlTerms, TermTransactions
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.policy import Policy
from intact.model.seam import Report
from intact.run.cluster.acting import InboxReader
from intact.run.cluster.baselines import ClusterBaselines
from intact.run.cluster.casebook import Memory
from intact.run.cluster.flow import ClusterFlow
from intact.run.cluster.standalone import Host
from intact.run.storage.keeping import open_own_key, open_store
from intact.run.storage.memory import ClusterState, make_router, open_state
from lab.postgres import Postgres

REPORTS = 300
FINDINGS = 3
NODES = 10
WARM = 20


def make_report(number: int) -> Report:
    node = f"node{number % NODES}"
    pod = Pod(namespace="shop", name=f"web-{node}", uid=f"uid-{node}")
    container = Container(id=f"c-{node}", name="web", image="web:1", image_key=None, node=node, pod=pod)
    findings = tuple(
        Finding(
            container=container,
            difference=Difference(path=path, change=Change.ADDED, expected=None, actual=Entry(path=path, kind=Kind.FILE, mode=0o644)),
            level=Level.HIGH,
            rule="r",
            scope=Scope.DRIFT,
            baseline_root=Digest.of(b""),
            grade=Grade.VERIFIED,
            observed_at=1.0,
        )
        for path in (f"/etc/cron.d/{number}-{each}".encode() for each in range(FINDINGS))
    )
    verdict = Verdict(
        container=container,
        scope=Scope.DRIFT,
        state=State.DRIFTED,
        baseline_root=Digest.of(b""),
        grade=Grade.VERIFIED,
        at=float(number),
        findings=findings,
    )
    return Report(id=f"r{number}", node=node, at=float(number), verdicts=(verdict,))


def make_flow(directory: Path, state: ClusterState, memory: Memory) -> ClusterFlow:
    signer = open_own_key(directory / "own")
    library = ClusterBaselines(open_store(directory / "baselines", signer), signer, access=RegistryAccess())
    host = Host("node0", (Policy(name="bench"),))
    return ClusterFlow(world=host, memory=memory, audit=state.audit, router=make_router(state, []), library=library)


def measure_sqlite(directory: Path) -> None:
    state = open_state(directory)
    flow = make_flow(directory, state, state.memory)
    times = []
    for number in range(REPORTS):
        began = time.perf_counter()
        report = make_report(number)
        flow.receive(report.node, report)
        times.append(time.perf_counter() - began)
    tell("SQLite: acknowledged and taken in", times[WARM:])
    state.database.close()
    size = sum(path.stat().st_size for path in directory.glob("intact.db*"))
    print(f"  {size / (REPORTS * FINDINGS):,.0f} bytes a finding")


def measure_postgres(directory: Path, server: Postgres) -> None:
    url = server.make_database()
    state = open_state(directory, url)
    database, inbox = state.database, SqlInbox(state.database)
    term = SqlTerms(database).begin("bench", time.time())
    flow = make_flow(directory, state, replace(state.memory, transactions=TermTransactions(database, term)))
    times = []
    for number in range(REPORTS):
        began = time.perf_counter()
        report = make_report(number)
        inbox.put(report.node, report, time.time())
        times.append(time.perf_counter() - began)
    tell("PostgreSQL: acknowledged", times[WARM:])
    began = time.perf_counter()
    taken = InboxReader(flow, inbox, database, state.audit).read(threading.Event())
    took = time.perf_counter() - began
    print(f"PostgreSQL: taken in: {taken / took:,.0f} reports/s, {1000 * took / taken:.1f} ms each")
    name = url.partition("?")[0].rpartition("/")[2]
    state.database.close()
    empty = int(server.query("select pg_database_size('template0')")[0])
    size = int(server.query(f"select pg_database_size('{name}')")[0]) - empty
    print(f"  {size / (REPORTS * FINDINGS):,.0f} bytes a finding")


def tell(what: str, times: list[float]) -> None:
    ordered = sorted(times)
    p99 = ordered[int(len(ordered) * 0.99)]
    print(f"{what}: {len(times) / sum(times):,.0f} reports/s, p50 {1000 * statistics.median(times):.1f} ms, p99 {1000 * p99:.1f} ms")


def main() -> None:
    print(f"{REPORTS} reports of {NODES} nodes, {FINDINGS} findings each")
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as directory, Postgres(is_durable=True) as server:
        for name in ("sqlite", "postgresql"):
            Path(directory, name).mkdir(mode=0o700)
        measure_sqlite(Path(directory, "sqlite"))
        measure_postgres(Path(directory, "postgresql"), server)


if __name__ == "__main__":
    main()
