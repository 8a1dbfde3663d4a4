"""Who has which cluster id, and taking everything of a cluster away.

In: an id, or none for any free one. Out: a plan whose bridge and state directory exist, or nothing left of a cluster.
Never takes an id from a cluster that runs. The bridge is the lock: the kernel lets only one make it.
"""

import shutil
import subprocess
import time
from pathlib import Path

from lab import mountpoints, node
from lab.cgroups import remove_groups
from lab.plan import MAX_ID, ClusterPlan, bridge_name, cgroup_prefix, cluster_state
from lab.processes import is_alive, kill_all, started_at
from lab.settings import LabError

UNUSED_S = 180.0  # a cluster of which nothing runs is being started for at most so long


def is_running(id: int) -> bool:
    return bool(node.node_processes(cluster_state(id)))


def remove_cluster(id: int) -> None:
    """Ends and removes everything of cluster `id`, whatever state it is in; nothing happens when there is none."""
    state = cluster_state(id)
    kill_all(node.node_processes(state))
    subprocess.run(["ip", "link", "delete", bridge_name(id)], capture_output=True)
    for link in Path("/sys/class/net").glob(f"{bridge_name(id)}n*"):
        subprocess.run(["ip", "link", "delete", link.name], capture_output=True)
    remove_groups(f"{cgroup_prefix(id)}[0-9]")
    mountpoints.remove(id)
    if state.exists():
        shutil.rmtree(state)
        _remove_empty(state.parent)


def claim(wanted: int | None, nodes: int, binaries: Path, runtime: Path | None = None) -> ClusterPlan:
    """Takes an id by making its bridge: the kernel lets only one succeed. What a dead owner left is removed first."""
    for id in [wanted] if wanted is not None else range(MAX_ID, 0, -1):
        if _is_abandoned(id):
            remove_cluster(id)
        made = subprocess.run(["ip", "link", "add", bridge_name(id), "type", "bridge"], capture_output=True, text=True)
        if made.returncode == 0:
            plan = ClusterPlan(id=id, nodes=nodes, state=cluster_state(id), binaries=binaries, runtime=runtime)
            try:
                if plan.state.exists():
                    shutil.rmtree(plan.state)
                plan.state.mkdir(parents=True)
                plan.save()
            except BaseException:
                remove_cluster(id)
                raise
            return plan
        if "File exists" not in made.stderr:
            raise LabError(f"cannot make a network bridge: {made.stderr.strip()}; this needs root on a Linux machine")
    if wanted is not None:
        raise LabError(f"cluster {wanted} is up already: `python -m lab down --id {wanted}` first, or take another id")
    raise LabError("every cluster id is taken: `python -m lab down --id N` for one of them")


def _is_abandoned(id: int) -> bool:
    """True when nothing of the cluster runs, or the process that owned it is gone."""
    state = cluster_state(id)
    if not state.exists():
        return False
    owner = state / "owner"
    if owner.exists():
        pid, _, started = owner.read_text().partition(" ")
        return not is_alive(int(pid)) or started_at(int(pid)) != started
    return not is_running(id) and time.time() - state.stat().st_mtime > UNUSED_S


def _remove_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return  # another cluster or runtime lives there
