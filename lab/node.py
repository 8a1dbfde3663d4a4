"""Starts and ends one node from outside of it.

In: a node's plan. Out: its init process in namespaces of its own, a cable to the cluster's bridge, its control groups.
Never configures anything inside: that is `nodeinit`'s.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from lab.cgroups import make_group
from lab.nodefiles import write_node_files
from lab.plan import NodePlan
from lab.processes import run, started_at
from lab.settings import REPOSITORY, LabError

NAMESPACES = ("--mount", "--net", "--pid")


def start_node(node: NodePlan, *, timeout_s: float = 10.0) -> None:
    """Returns as soon as the node's init runs; its kubelet joins when the API answers."""
    write_node_files(node)
    make_group(node.cgroup)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    with (node.state / "log/init.log").open("ab") as log:
        # Propagation `slave`: what the machine unmounts is unmounted here too, and nothing of ours goes back.
        unshare = ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "--propagation", "slave"]
        init = [sys.executable, "-m", "lab.nodeinit", str(node.cluster.state), str(node.number)]
        outer = subprocess.Popen(
            [*unshare, *init],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    _save_processes(node, [outer.pid])
    deadline = time.monotonic() + timeout_s
    while not (child := _find_init(outer.pid)):
        if outer.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"{node.name} does not start:\n{(node.state / 'log/init.log').read_text()[-2000:]}")
        time.sleep(0.01)
    _save_processes(node, [outer.pid, child])
    link = node.host_link
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "uplink", "netns", str(child))
    run("ip", "link", "set", link, "master", node.cluster.bridge, "up")


def _find_init(outer: int) -> int | None:
    try:
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        own = Path("/proc/self/ns/net").readlink()
        found = [int(pid) for pid in children if Path(f"/proc/{pid}/ns/net").readlink() != own]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return found[0] if found else None


def _save_processes(node: NodePlan, pids: list[int]) -> None:
    (node.state / "pids.json").write_text(json.dumps([[pid, started_at(pid)] for pid in pids]))


def node_processes(cluster_state: Path) -> list[int]:
    """The processes that hold the nodes of this state directory, those alone that are still the same processes."""
    found = []
    for saved in cluster_state.glob("node*/pids.json"):
        found += [pid for pid, started in json.loads(saved.read_text()) if started and started_at(pid) == started]
    return found


def init_process(node: NodePlan) -> int:
    """The node's init, seen from the machine."""
    saved = node.state / "pids.json"
    pids = json.loads(saved.read_text()) if saved.exists() else []
    if len(pids) != 2 or started_at(pids[1][0]) != pids[1][1]:
        raise LabError(f"{node.name} does not run: `python -m lab down`, then `up`; its logs are in {node.state}/log")
    return int(pids[1][0])


def enter_command(node: NodePlan) -> list[str]:
    """The words to put before a command so that it runs on the node."""
    return ["nsenter", "--target", str(init_process(node)), "--mount", "--net", "--pid", "--"]


def failures(node: NodePlan) -> str:
    """What ended on the node that should not have, with the end of its log; empty when all is well."""
    exits = node.state / "log/exits.log"
    if not exits.exists():
        return ""
    report = exits.read_text()
    for line in report.splitlines():
        log = node.state / f"log/{line.split()[0]}.log"
        if log.exists():
            report += f"--- {log}\n{log.read_text(errors='replace')[-1500:]}\n"
    return f"{node.name}: {report}"
