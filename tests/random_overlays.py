"""Random overlays, really mounted, in every way that matters; and what must be true of each.

In: a directory, steps that make its layers and steps of a container. Out: nothing, or an AssertionError: what the scan says, and what is
compared, equals what a process inside sees, path by path and bit by bit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from intact.adapters.linux.mounts import uses_user_attributes
from intact.adapters.linux.overlay_index import find_shared
from intact.adapters.linux.scratch import mount_overlay
from intact.adapters.linux.syscalls import mount_detached
from intact.adapters.linux.tree import HostTree
from intact.compare.differ import compare
from intact.model.container import Mounted, Running
from intact.model.entry import Entry, Kind, ancestors
from intact.model.finding import Change
from intact.model.layer import Baseline
from intact.model.observation import Observation, Unobserved
from intact.observe.drift import scan_drift
from intact.observe.layers import read_layer
from intact.observe.walk import walk_tree
from tests.attack.staged import CONTAINER, baseline_of
from tests.overlays import MAPPED, idmapped, run_inside, user_namespace, view

NAMES = ["a", "b", "a.b", "\udcff\n"]
Step = tuple[str, str, str]
STEPS: Mapping[str, Sequence[str]] = {
    "write": ("", "x", "y" * 300), "append": ("x", "y" * 300), "mkdir": ("",), "replace": ("",), "remove": ("",), "touch": ("",),
    "fifo": ("",), "node": ("",), "capability": ("",), "list": ("",), "strip": ("",), "symlink": ("a", "/nowhere/at/all"),
    "chmod": ("644", "4755", "700"), "chown": ("0", "7"), "truncate": ("0", "1", "5000"), "attribute": ("1", "2"),
    "rename": (), "link": (), "exchange": (), "move": (),
}  # fmt: skip
"""What a container may do to a path, and with what; those without arguments take another path."""


def draw_steps(random: Random, most: int) -> list[Step]:
    kinds = [*STEPS, "rename", "move", "move", "write", "append", "chmod", "remove"]
    return [
        (kind, draw_path(random), random.choice(STEPS[kind]) if STEPS[kind] else draw_path(random))
        for kind in (random.choice(kinds) for _ in range(random.randint(0, most)))
    ]


def draw_layers(random: Random) -> list[list[Step]]:
    return [draw_steps(random, 12) for _ in range(random.randint(1, 3))]


def draw_path(random: Random) -> str:
    """A path; or the one with this number of those that there are, so that steps meet something; or a name in or beside that one."""
    chosen = f"#{random.randint(0, 30)}"
    match random.randint(0, 3):
        case 0:
            return "/".join(random.choices(NAMES, k=random.randint(1, 3)))
        case 1:
            return f"{chosen}/{random.choice(NAMES)}"
        case _:
            return chosen


FIRST: list[Step] = [
    ("write", "a/a/b", "1"),
    ("write", "a/a/a", "4444"),
    ("write", "a/b", "22"),
    ("write", "b/a.b", "333"),
    ("link", "a/b", "b/b"),
    ("mkdir", "b/a", ""),
    ("write", "a.b/b/a", "55555"),
    ("symlink", "a.b/a", "b/a"),
]
"""What all trees begin with."""

_NET_BIND = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
_NOBODY = 0xFFFFFFFF
_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *line) for line in [(1, 6, _NOBODY), (2, 4, 7), (4, 4, _NOBODY), (8, 6, 8), (0x10, 6, _NOBODY), (0x20, 4, _NOBODY)]
)
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Way:
    """How the topmost overlay is mounted. `attributes`: the prefix under which all its layers keep overlayfs's attributes."""

    options: tuple[tuple[bytes, bytes | None], ...] = ()
    attributes: str = "trusted.overlay."
    is_mapped: bool = False
    is_relative: bool = False

    @property
    def stated(self) -> tuple[str, ...]:
        """The options as the host's mount table shows them."""
        shown = [os.fsdecode(name if value is None else name + b"=" + value) for name, value in self.options]
        return (*shown, "redirect_dir=on") if "metacopy=on" in shown else tuple(shown)


METACOPY, REDIRECT = (b"metacopy", b"on"), (b"redirect_dir", b"on")
WAYS = {
    "as the runtime does": Way(((b"index", b"off"),)),
    "metacopy": Way((METACOPY,)),
    "redirect_dir": Way((REDIRECT,)),
    "volatile, with metacopy": Way(((b"volatile", None), METACOPY, REDIRECT)),
    "userxattr": Way(((b"userxattr", None),), attributes="user.overlay."),
    "index": Way(((b"index", b"on"),)),
    "index and metacopy": Way(((b"index", b"on"), METACOPY)),
    "index and nfs_export": Way(((b"index", b"on"), (b"nfs_export", b"on"))),
    "relative": Way(is_relative=True),
    "idmapped": Way(is_mapped=True),
    "idmapped, with metacopy": Way((METACOPY,), is_mapped=True),
}


Pack = Callable[[Sequence[Path]], AbstractContextManager[list[Path]]]
"""Gives layers another form: what lies in the directories, as it then lies in others."""


def check_overlay(base: Path, way: Way, layers: list[list[Step]], top: list[Step], *, hollow: bool, pack: Pack | None = None) -> None:
    """Makes the overlay below `base`, has a container take the steps `top` in it, and holds the scan against the mounted views."""
    with ExitStack() as stack:
        lowers = build_lowers(base, layers, way, hollow)
        if pack is not None:
            lowers = stack.enter_context(pack(lowers))
        namespace = stack.enter_context(user_namespace()) if way.is_mapped else None
        image = stack.enter_context(mounted(base, lowers, None, Way(attributes=way.attributes), namespace))
        upper = make_upper(base, "top", namespace)
        overlay = stack.enter_context(mounted(base, lowers, upper, way, namespace))
        run_inside(namespace, lambda: perform_all(overlay, top))
        before, after = run_inside(namespace, lambda: (view(image), view(overlay)))

        baseline = baseline_of(*lowers, user_attributes=way.attributes.startswith("user."))
        assert {entry.path: entry for entry in baseline.scan()} == before
        place = place_of(upper, lowers, way)
        observation = scan(place, baseline)
        assert observation.unobserved == ()
        check_resumption(lowers[-1])
        if find_shared(place):
            return  # the overlay shows what its upper directory does not hold, and that is said
        assert apply(baseline, observation) == after
        expected = differences(before, after)
        assert compared(baseline, observation) == expected
        check_partial_looks(place, baseline, expected)


def check_partial_looks(place: Mounted, baseline: Baseline, expected: dict[bytes, str]) -> None:
    """A look at one path says of it, and of what is below if that is asked, what the look at everything says; of others nothing wrong."""
    for path in sorted(expected)[:8]:
        of_it = compared(baseline, scan(place, baseline, {path}))
        assert of_it.get(path) == expected[path] and of_it.items() <= expected.items()
        below = compared(baseline, scan(place, baseline, {path + b"/"}))
        assert below.items() <= expected.items()
        assert {one for one in expected if one == path or one.startswith(path + b"/")} <= below.keys()


def compared(baseline: Baseline, observation: Observation) -> dict[bytes, str]:
    return {found.path: kind_of(found.change) for found in compare(baseline, observation)}


def build_lowers(base: Path, layers: Sequence[Sequence[Step]], way: Way, hollow: bool) -> list[Path]:
    """The layers' directories, bottom first: each what steps in an overlay over the ones beneath left in its upper directory."""
    bottom = base / "bottom"
    bottom.mkdir()
    lowers = [bottom]
    plain = Way(((b"userxattr", None),), attributes=way.attributes) if way.attributes.startswith("user.") else Way()
    for number, steps in enumerate([[*FIRST, *layers[0]], *layers[1:]]):
        upper = make_upper(base, f"layer{number}", None)
        with mounted(base, lowers, upper, plain, None) as overlay:
            perform_all(overlay, steps)
        if hollow:
            replace_whiteouts(upper, way.attributes)
        lowers.append(upper)
    return lowers


def make_upper(base: Path, name: str, namespace: int | None) -> Path:
    """As runtimes lay it out: the work directory beside it."""
    for path in (base / name / "fs", base / name / "work"):
        path.mkdir(parents=True)
        if namespace is not None:
            os.chown(path, MAPPED[0].outside, MAPPED[0].outside)
    return base / name / "fs"


@contextlib.contextmanager
def mounted(base: Path, lowers: Sequence[Path], upper: Path | None, way: Way, namespace: int | None) -> Iterator[str]:
    """The overlay of `lowers` (bottom first) under `upper`, or of them alone; a name of its root."""
    with ExitStack() as stack:
        names = [os.fsencode(lower) for lower in reversed(lowers)]
        if way.is_relative:
            stack.enter_context(contextlib.chdir(base))
            names = [os.path.relpath(name, os.fsencode(base)) for name in names]
        elif namespace is not None:
            names = [stack.enter_context(idmapped(name, namespace)) for name in names]
        else:
            names = [stack.enter_context(named_shortly(name)) for name in names]
        if upper is None:
            nothing = base / "nothing"
            nothing.mkdir()
            options = ((b"userxattr", None),) if way.attributes.startswith("user.") else ()
            overlay = mount_lowers((*names, stack.enter_context(named_shortly(os.fsencode(nothing)))), options)
        else:
            overlay = mount_overlay(tuple(names), os.fsencode(upper), os.fsencode(upper.parent / "work"), way.options)
        stack.callback(os.close, overlay)
        yield f"/proc/self/fd/{overlay}"


@contextlib.contextmanager
def named_shortly(directory: bytes) -> Iterator[bytes]:
    """A name that leaves room for others in the 256 bytes of an option (fsconfig(2))."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield b"/proc/self/fd/%d" % descriptor
    finally:
        os.close(descriptor)


def replace_whiteouts(layer: Path, prefix: str) -> None:
    """Writes a layer's whiteouts in their other form (overlayfs.rst, "Nesting overlayfs mounts")."""
    for above, _, names in os.walk(layer):
        gone = [name for name in names if (status := os.lstat(f"{above}/{name}")).st_rdev == 0 and not status.st_size and is_node(status)]
        if not gone or read_attribute(above, prefix + "opaque") == b"y":
            continue
        os.setxattr(above, prefix + "opaque", b"x")
        for name in gone:
            os.unlink(f"{above}/{name}")
            Path(above, name).touch()
            os.setxattr(f"{above}/{name}", prefix + "whiteout", b"y")


def perform_all(overlay: str, steps: Sequence[Step]) -> None:
    for step, name, argument in steps:
        with contextlib.suppress(OSError):
            perform(
                Path(overlay),
                step,
                resolve(overlay, name, only_directories=step == "move"),
                resolve(overlay, argument) if not STEPS[step] else argument,
            )


def resolve(overlay: str, name: str, *, only_directories: bool = False) -> str:
    """What a path that was drawn stands for now."""
    if not name.startswith("#"):
        return name
    number, _, below = name[1:].partition("/")
    root = overlay + "/."
    existing = sorted(
        os.path.relpath(f"{above}/{one}", root)
        for above, directories, files in os.walk(root)
        for one in (directories if only_directories else (*directories, *files))
    )
    if not existing:
        return below or "a"
    chosen = existing[int(number) % len(existing)]
    if not below:
        return chosen
    is_directory = stat.S_ISDIR(os.lstat(f"{overlay}/{chosen}").st_mode)
    return os.path.join(chosen if is_directory else os.path.dirname(chosen), below)


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
        case "rename" | "move":
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
        case "strip":
            for attribute in os.listxattr(path, follow_symlinks=False):
                os.removexattr(path, attribute, follow_symlinks=False)
        case "capability":
            os.setxattr(path, "security.capability", _NET_BIND, follow_symlinks=False)
        case "list":
            os.setxattr(path, "system.posix_acl_access", _ACL, follow_symlinks=False)
        case "truncate":
            os.truncate(path, int(argument))
        case "node":
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        case "exchange":
            exchange(path, inside / argument)


def exchange(one: Path, other: Path) -> None:
    if _libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


def is_node(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode)


def read_attribute(path: str, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name)
    except OSError:
        return None


def mount_lowers(lowers: tuple[bytes, ...], options: tuple[tuple[bytes, bytes | None], ...]) -> int:
    return mount_detached(b"overlay", ((b"lowerdir", b":".join(lowers)), *options))


def differences(before: dict[bytes, Entry], after: dict[bytes, Entry]) -> dict[bytes, str]:
    """By brute force, without the root, which the runtime makes."""
    found = dict.fromkeys(after.keys() - before.keys(), "added") | dict.fromkeys(before.keys() - after.keys(), "deleted")
    found |= {path: "changed" for path in before.keys() & after.keys() if before[path] != after[path] and path != b"/"}
    return found


def kind_of(change: Change) -> str:
    assert change is not Change.UNREAD
    return {Change.ADDED: "added", Change.DELETED: "deleted"}.get(change, "changed")


def place_of(upper: Path, lowers: Sequence[Path], way: Way) -> Mounted:
    ids = MAPPED if way.is_mapped else ()
    return Mounted(
        upper=os.fsencode(upper),
        lowers=tuple(os.fsencode(lower) for lower in reversed(lowers)),
        device=0,
        options=way.stated,
        uid_map=ids,
        gid_map=ids,
    )


def scan(place: Mounted, baseline: Baseline, only: Set[bytes] | None = None) -> Observation:
    with HostTree(place.upper, user_attributes=uses_user_attributes(place)) as tree:
        running = Running(container=CONTAINER, init_pid=0, mounted=place)
        return scan_drift(running, tree, baseline=baseline, clock=time.time, only=only)


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
