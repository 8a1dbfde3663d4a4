"""Control groups of the harness, on cgroup v1, hybrid and plain v2 machines (cgroups(7)).

In: a name of ours below the root of each hierarchy. Out: directories made and removed.
Never touches a group of the machine, except that on v2 the root must hand its controllers down to our group.
"""

import time
from pathlib import Path

from lab.settings import LabError

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")


def is_unified() -> bool:
    """True where the machine has cgroup v2 alone."""
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    if is_unified():
        return [ROOT]
    found = {path.resolve() for path in ROOT.iterdir() if (path / "cgroup.procs").exists()}
    if not found:
        raise LabError(f"no cgroup hierarchy is mounted below {ROOT}: mount cgroup2 there and try again")
    return sorted(found)


def make_group(name: str) -> None:
    """Makes group `name` in every hierarchy, ready for children."""
    for hierarchy in hierarchies():
        group = hierarchy / name
        if is_unified():
            _hand_down(hierarchy)
        group.mkdir(exist_ok=True)
        if is_unified():
            _hand_down(group)
        elif (hierarchy / "cpuset.cpus").exists():
            for setting in ("cpuset.cpus", "cpuset.mems"):
                (group / setting).write_text((hierarchy / setting).read_text())


def _hand_down(group: Path) -> None:
    available = (group / "cgroup.controllers").read_text().split()
    enabled = (group / "cgroup.subtree_control").read_text().split()
    for controller in CONTROLLERS:
        if controller in available and controller not in enabled:
            try:
                (group / "cgroup.subtree_control").write_text("+" + controller)
            except OSError as error:
                raise LabError(f"cannot enable the {controller} controller in {group}: {error}") from error


def find_groups(pattern: str) -> list[Path]:
    return [path for hierarchy in hierarchies() for path in hierarchy.glob(pattern) if path.is_dir()]


def processes_in(group: Path) -> set[int]:
    """Every process in `group` and below."""
    pids: set[int] = set()
    for listing in [group / "cgroup.procs", *group.rglob("cgroup.procs")]:
        try:
            pids.update(int(line) for line in listing.read_text().split())
        except (FileNotFoundError, OSError):
            continue  # the group went away, or is a threaded v2 group whose members its parent lists
    return pids - {0}


def remove_groups(pattern: str, *, timeout_s: float = 5.0) -> None:
    """Removes the groups that match `pattern`, children first; their processes must be dying or dead."""
    deadline = time.monotonic() + timeout_s
    while groups := find_groups(pattern):
        for group in groups:
            children = [path for path in group.rglob("*") if path.is_dir()]
            for path in [*sorted(children, key=lambda path: -len(path.parts)), group]:
                try:
                    path.rmdir()
                except OSError:
                    continue  # still has a dying process: the next round takes it
        if time.monotonic() > deadline:
            raise LabError(f"control groups are still in use: {', '.join(map(str, find_groups(pattern)))}")
        time.sleep(0.02)
