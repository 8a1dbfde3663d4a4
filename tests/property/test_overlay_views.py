"""What the scan says of random overlays equals what a process inside sees, path by path and bit by bit."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intact.adapters.linux.scratch import mount_overlay
from intact.adapters.linux.tree import HostTree
from intact.model.container import Mounted, Running
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind, ancestors
from intact.model.layer import Baseline
from intact.model.observation import Observation, Unobserved
from intact.observe.drift import scan_drift
from intact.observe.layers import read_layer
from intact.observe.walk import walk_tree
from tests.attack.staged import CONTAINER, baseline_of

pytestmark = pytest.mark.usefixtures("root")

NAMES = ["a", "b", "a.b", "\udcff\n"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["write", "append"]), PATHS, st.sampled_from(["", "x", "y" * 300])),
    st.tuples(st.sampled_from(["mkdir", "replace"]), PATHS, st.just("")),
    st.tuples(st.sampled_from(["remove", "touch", "fifo"]), PATHS, st.just("")),
    st.tuples(st.just("rename"), PATHS, PATHS),
    st.tuples(st.just("link"), PATHS, PATHS),
    st.tuples(st.just("symlink"), PATHS, st.sampled_from(["a", "/nowhere/at/all"])),
    st.tuples(st.just("chmod"), PATHS, st.sampled_from(["644", "4755", "700"])),
    st.tuples(st.just("chown"), PATHS, st.sampled_from(["0", "7"])),
    st.tuples(st.just("attribute"), PATHS, st.sampled_from(["1", "2"])),
)
LAYERS = st.lists(st.lists(STEPS, max_size=12), min_size=2, max_size=4)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(LAYERS)
def test_the_scan_and_the_mounted_view_agree(layers: list[list[tuple[str, str, str]]]) -> None:
    with tempfile.TemporaryDirectory(prefix="intact-views-") as name:
        base = Path(name)
        bottom = base / "layer0"
        bottom.mkdir()
        lowers = [bottom]
        for number, steps in enumerate(layers):
            upper, work = base / f"layer{number + 1}", base / f"work{number}"
            upper.mkdir()
            work.mkdir()
            overlay = mount_overlay(tuple(os.fsencode(lower) for lower in reversed(lowers)), os.fsencode(upper), os.fsencode(work))
            try:
                inside = Path(f"/proc/self/fd/{overlay}")
                for step in steps:
                    with contextlib.suppress(OSError):
                        perform(inside, *step)
                mounted = view(overlay)
            finally:
                os.close(overlay)
            shutil.rmtree(work)
            lowers.append(upper)
        baseline = baseline_of(*lowers[:-1])
        scanned = apply(baseline, scan(lowers[-1], lowers[:-1], baseline))
        assert scanned == mounted
        flattened = {entry.path: entry for entry in baseline_of(*lowers).scan()}
        assert flattened == mounted
        check_resumption(lowers[-1])


def perform(inside: Path, step: str, name: str, argument: str) -> None:
    path = inside / name
    match step:
        case "write" | "append":
            path.parent.mkdir(parents=True, exist_ok=True)
            how = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | (os.O_TRUNC if step == "write" else os.O_APPEND)
            with open(os.open(path, how, 0o644), "w") as file:
                file.write(argument)
        case "mkdir":
            path.mkdir(parents=True)
        case "replace" if path.is_symlink() or not path.is_dir():
            raise NotADirectoryError(name)  # rmtree opens what it is given, and would wait for a FIFO's writer
        case "replace":
            shutil.rmtree(path)
            path.mkdir()
        case "remove":
            path.unlink() if not path.is_dir() or path.is_symlink() else shutil.rmtree(path)
        case "touch":
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        case "fifo":
            os.mkfifo(path)
        case "rename":
            path.rename(inside / argument)
        case "link":
            (inside / argument).hardlink_to(path)
        case "symlink":
            path.symlink_to(argument)
        case "chmod":
            path.chmod(int(argument, 8))
        case "chown":
            os.chown(path, int(argument), int(argument), follow_symlinks=False)
        case "attribute":
            os.setxattr(path, "user.x", argument.encode(), follow_symlinks=False)


def view(overlay: int) -> dict[bytes, Entry]:
    """Brute force, as a process inside would look."""
    found: dict[bytes, Entry] = {}

    def add(real: str, path: bytes) -> None:
        status = os.lstat(real)
        kind = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK, stat.S_IFIFO: Kind.FIFO}[
            stat.S_IFMT(status.st_mode)
        ]
        names = [] if kind in (Kind.SYMLINK, Kind.FIFO) else os.listxattr(real)
        found[path] = Entry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size_bytes=status.st_size if kind is Kind.FILE else 0,
            digest=Digest.of(Path(real).read_bytes()) if kind is Kind.FILE else None,
            target=os.fsencode(os.readlink(real)) if kind is Kind.SYMLINK else b"",
            xattrs=tuple((os.fsencode(n), os.getxattr(real, n)) for n in sorted(names) if n.startswith("user.")),
        )
        if kind is Kind.DIRECTORY:
            for name in os.listdir(real):
                add(f"{real}/{name}", path.rstrip(b"/") + b"/" + os.fsencode(name))

    add(f"/proc/self/fd/{overlay}/.", b"/")
    return found


def scan(upper: Path, lowers: list[Path], baseline: Baseline) -> Observation:
    mounted = Mounted(upper=os.fsencode(upper), lowers=tuple(os.fsencode(lower) for lower in reversed(lowers)), device=0)
    with HostTree(os.fsencode(upper)) as tree:
        observation = scan_drift(Running(container=CONTAINER, init_pid=0, mounted=mounted), tree, baseline=baseline, clock=time.time)
    assert observation.unobserved == ()
    return observation


def apply(baseline: Baseline, observation: Observation) -> dict[bytes, Entry]:
    """The tree that an observation of scope DRIFT speaks of."""
    present = {entry.path: entry for entry in observation.present}
    hidden = set(observation.absent) | set(observation.opaque)
    hidden |= {path for path, entry in present.items() if entry.kind is not Kind.DIRECTORY}
    tree = {
        entry.path: entry
        for entry in baseline.scan()
        if entry.path not in observation.absent and not any(above in hidden for above in ancestors(entry.path))
    }
    tree.update(present)
    return {path: replace(entry, path=path) for path, entry in tree.items()}


def check_resumption(layer: Path) -> None:
    """Going on after any path yields the rest, in the order of bytes; and the walk agrees with the layer where no whiteout is."""
    with HostTree(os.fsencode(layer)) as tree:
        records = list(read_layer(tree))
        assert not any(isinstance(record, Unobserved) for record in records)
        paths = [record.path for record in records]
        assert paths == sorted(paths)
        for index, path in enumerate(paths):
            assert list(read_layer(tree, after=path)) == records[index + 1 :]
        walked = walk_tree(CONTAINER, tree, clock=time.time)
        assert [entry.path for entry in walked.present] == paths
