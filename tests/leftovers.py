"""What a run of the tests left on the machine.

In: a mark in the environment of every process that the tests start. Out: one line for each process, mount, control group, link, socket
directory and state directory of theirs that is still there. Never reports what somebody else runs on the same machine, and removes nothing.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lab.cgroups import hierarchies
from lab.mounts import read_mounts
from lab.plan import MAX_ID, bridge_name, cgroup_prefix, cluster_state
from lab.postgres import PREFIX as POSTGRES
from lab.processes import is_alive, started_at
from lab.runtime import PREFIX
from lab.settings import state_dir

MARK = "INTACT_TEST_RUN"


class Watch:
    """Made before the tests: knows what was there already."""

    def __init__(self, temporary: Path) -> None:
        self._mark = f"{MARK}={os.getpid()}.{time.time():.3f}".encode()
        os.environ[MARK] = self._mark.decode().partition("=")[2]
        self._temporary = temporary
        self._before = set(self._things())

    def find(self, patience_s: float = 5.0) -> list[str]:
        """What is left now; what is just ending gets `patience_s` seconds to do so."""
        deadline = time.monotonic() + patience_s
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def _left(self) -> list[str]:
        return sorted({*self._processes(), *(set(self._things()) - self._before)})

    def _processes(self) -> Iterator[str]:
        for entry in Path("/proc").glob("[0-9]*"):
            pid = int(entry.name)
            with contextlib.suppress(OSError):
                if pid != os.getpid() and self._mark in (entry / "environ").read_bytes().split(b"\0") and is_alive(pid):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")[:120].decode(errors="replace")
                    yield f"process {pid}: {command}"

    def _things(self) -> Iterator[str]:
        ours = [path.name for path in (*state_dir().glob(PREFIX + "*"), *Path("/run").glob(PREFIX + "*")) if _is_ours(path)]
        clusters = [id for id in range(MAX_ID + 1) if _is_ours(cluster_state(id))]
        places = {str(self._temporary), *(f"/{name}" for name in ours), *(str(cluster_state(id)) for id in clusters)}
        yield from (f"directory of {name}" for name in ours)
        yield from (f"directory {cluster_state(id)}" for id in clusters)
        yield from (f"directory {path}" for path in Path(tempfile.gettempdir()).glob(f"{POSTGRES}{os.getpid()}-*"))
        for mount in read_mounts():
            if any(place in f"{mount.point}/" for place in places):
                yield f"mount {mount.point}"
        groups = [f"{name}*" for name in (f"{PREFIX}{os.getpid()}-", *ours, *(cgroup_prefix(id) for id in clusters))]
        yield from (f"control group {path}" for tree in hierarchies() for group in groups for path in tree.glob(group))
        for id in range(MAX_ID + 1):
            if id in clusters or not cluster_state(id).exists():  # no directory: nobody's any more
                yield from (f"link {path.name}" for path in Path("/sys/class/net").glob(f"{bridge_name(id)}*"))


def _is_ours(state: Path) -> bool:
    """Whether this process, or one that has ended since, made what lies in `state`."""
    owner = state / "owner" if (state / "owner").exists() else state_dir() / state.name / "owner"
    try:
        pid, _, started = owner.read_text().partition(" ")
    except OSError:
        return state.name.startswith(f"{PREFIX}{os.getpid()}-")
    return int(pid) == os.getpid() or not is_alive(int(pid)) or started_at(int(pid)) != started
