"""The acting half of a replica as a process of its own, for tests that kill it: `python -m tests.integration.replica URL DIRECTORY NAME`.

Says `acting` on stdout when it acts. Its cluster is declared: the pods `uid-shop-web-NODE`, one on each node of `NODES`.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from intact.adapters.store.inbox import SqlCommands, SqlInbox, SqlTerms, TermTransactions
from intact.run.cluster.acting import CommandWriter, InboxReader, watch_term
from intact.run.cluster.flow import ClusterFlow
from intact.run.cluster.replica import ReplicaSide, SharedCommands
from intact.run.storage.memory import ClusterState, make_router, open_state
from tests.unit.clusters import Library, Pods, Told

NODES = ("node1", "node2", "node3")


def make_world() -> Pods:
    world = Pods()
    for node in NODES:
        world.add(f"web-{node}", node)
    return world


def make_side(state: ClusterState, stop: threading.Event) -> ReplicaSide:
    """What a replica offers to nodes, whether it acts or not."""
    commands = SharedCommands(SqlCommands(state.database), state.database)
    threading.Thread(target=commands.follow, args=(stop,), daemon=True).start()
    return ReplicaSide(
        world=make_world(),
        memory=state.memory,
        inbox=SqlInbox(state.database),
        audit=state.audit,
        router=make_router(state, [Told()]),
        library=Library(),
        commands=commands,
    )


def act(state: ClusterState, name: str, stop: threading.Event) -> ClusterFlow:
    """Begins to act; the flow runs until `stop` is set."""
    database = state.database
    terms = SqlTerms(database)
    term = terms.begin(name, time.time())
    memory = replace(state.memory, transactions=TermTransactions(database, term))
    flow = ClusterFlow(world=make_world(), memory=memory, audit=state.audit, router=make_router(state, [Told()]), library=Library())
    reader, writer = InboxReader(flow, SqlInbox(database), database, state.audit), CommandWriter(flow, SqlCommands(database))
    for work in (lambda: reader.run(stop), lambda: writer.run(stop), lambda: watch_term(terms, term, stop), lambda: flow.run(stop)):
        threading.Thread(target=work, daemon=True).start()
    return flow


def main(url: str, directory: str, name: str) -> None:
    stop = threading.Event()
    act(open_state(Path(directory), url), name, stop)
    print("acting", flush=True)  # noqa: T201
    stop.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
