"""Runs on a kernel under test: every kind of change in a real, mounted overlay, with what the doorbell told and what the scan found.

Prints one line of JSON: release, tier and its reason, and for each kind of change whether it was `heard` (the doorbell led to it) and
`found` (a look at everything sees it). An error ends it with a traceback: nothing here is a matter of taste of the kernel's.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from intact.adapters.linux.doorbell import FanotifyDoorbell
from intact.adapters.linux.known import KnownFiles
from intact.adapters.linux.mounts import HOST_TABLE, confirm_overlay, read_mounts
from intact.adapters.linux.tree import HostTree
from intact.model.container import Mounted, Running
from intact.observe.drift import scan_drift
from intact.observe.ports import View
from tests.attack.staged import CONTAINER, baseline_of

BASE = Path("/var/tmp/observer")
IMAGE, UPPER, WORK, INSIDE = (BASE / name for name in ("image", "1/fs", "1/work", "inside"))
QUIET_S, PATIENCE_S = 0.4, 60.0


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more\n")


def store_through_a_mapping(path: Path) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:1] = b"X"


def send(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("r+b") as writing:
        os.sendfile(writing.fileno(), reading.fileno(), 0, 4)


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a file is created": ("/new", lambda root: (root / "new").write_bytes(b"1")),
    "and written to later": ("/new", lambda root: append(root / "new")),
    "an image file is written to": ("/etc/conf", lambda root: append(root / "etc/conf")),
    "and written to again": ("/etc/conf", lambda root: append(root / "etc/conf")),
    "sendfile into a changed file": ("/etc/conf", lambda root: send(root / "etc/other", root / "etc/conf")),
    "a mapping of a changed file": ("/etc/conf", lambda root: store_through_a_mapping(root / "etc/conf")),
    "truncate(2) of a changed file": ("/etc/conf", lambda root: os.truncate(root / "etc/conf", 3)),
    "a mode is changed": ("/etc/mode", lambda root: (root / "etc/mode").chmod(0o4755)),
    "an owner is changed": ("/etc/owner", lambda root: os.chown(root / "etc/owner", 1000, 1000)),
    "an attribute is set": ("/etc/attribute", lambda root: os.setxattr(root / "etc/attribute", "user.x", b"1")),
    "an image file is deleted": ("/etc/gone", lambda root: (root / "etc/gone").unlink()),
    "an image file is renamed": ("/etc/renamed", lambda root: (root / "etc/rename").rename(root / "etc/renamed")),
    "an image directory is replaced": ("/etc/dir/new", lambda root: subprocess.run(
        ["/usr/bin/busybox", "sh", "-c", "rm -r etc/dir; mkdir etc/dir; echo > etc/dir/new"], cwd=root, check=True)),
    "a symbolic link is made": ("/link", lambda root: (root / "link").symlink_to("/etc")),
    "a hard link is made": ("/etc/hard", lambda root: (root / "etc/hard").hardlink_to(root / "etc/linked")),
    "a FIFO is made": ("/fifo", lambda root: os.mkfifo(root / "fifo")),
}  # fmt: skip


def main() -> None:
    assert "cgroup2" in Path("/proc/mounts").read_text()
    for directory in (IMAGE / "etc/dir", UPPER, WORK, INSIDE):
        directory.mkdir(parents=True)
    for name in ("conf", "other", "mode", "owner", "attribute", "gone", "rename", "linked", "dir/old"):
        (IMAGE / "etc" / name).write_bytes(b"as in the image\n")
    baseline = baseline_of(IMAGE)
    layers = f"lowerdir={IMAGE},upperdir={UPPER},workdir={WORK}"
    subprocess.run(["/usr/bin/busybox", "mount", "-t", "overlay", "overlay", "-o", layers, INSIDE], check=True)
    declared = Mounted(upper=os.fsencode(UPPER), lowers=(os.fsencode(IMAGE),), device=0)
    mounted = confirm_overlay(declared, read_mounts(HOST_TABLE), root_device=os.stat(INSIDE).st_dev)
    assert isinstance(mounted, Mounted), mounted
    running, known = Running(container=CONTAINER, init_pid=1, mounted=mounted), KnownFiles()

    def look(only: frozenset[bytes] | None) -> set[bytes]:
        with HostTree(mounted.upper, known=known) as tree:
            observation = scan_drift(running, tree, baseline=baseline, clock=time.time, only=only)
        assert not observation.unobserved, observation.unobserved
        return {entry.path for entry in observation.present} | set(observation.absent)

    bell = FanotifyDoorbell(BASE, at_most=sys.argv[1] if len(sys.argv) > 1 else "A")
    tier = bell.start()
    view = View(root=os.fsencode(INSIDE), device=mounted.device, upper=mounted.upper)
    assert bell.watch([mounted.upper, *mounted.lowers], view) == {}
    told: dict[str, dict[str, bool]] = {}
    for what, (path, change) in CHANGES.items():
        change(INSIDE)
        heard, until = False, time.monotonic() + PATIENCE_S
        while not heard and tier.name != "C" and time.monotonic() < until:
            rings = bell.wait(QUIET_S).dirty
            heard = mounted.upper in rings and os.fsencode(path) in look(rings[mounted.upper])
        while bell.wait(QUIET_S).dirty:
            continue
        told[what] = {"heard": heard, "found": os.fsencode(path) in look(None)}
    append(IMAGE / "etc/other")
    told["a layer is changed on the host"] = {"heard": mounted.lowers[0] in bell.wait(PATIENCE_S).dirty, "found": True}
    bell.close()
    said = {"release": os.uname().release, "tier": tier.name, "reason": tier.reason, "changes": told}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
