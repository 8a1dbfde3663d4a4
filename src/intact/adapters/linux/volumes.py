"""What programs came into the volumes of a running container, or changed there, since it was created.

In: a running container. Out: the executable files of its writable volumes whose status changed since. Never judges, never follows a link
of a volume, and never asks a file system that a remote server or a process serves: that is said instead.

1. Volumes are what the container's configuration mounts from the host, writable, outside of /dev, /proc and /sys; of single files that are
   mounted nothing is said: of those of the runtime `runtime_files` tells.
2. Each is entered through the container's own mount namespace, links of the path resolved within its root, and read as `tree` reads.
3. A file counts that may be executed, or begins as an ELF file (elf(5)): a library needs no execute bit. When its status changed (ctime)
   nobody inside can set.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from intact.model.container import DeclaredMount, Running
from intact.model.entry import Entry, Kind, ancestors
from intact.model.live import Brought, MountSeen, VolumeLook
from intact.model.observation import Unobserved
from intact.observe.ports import Content, Node, Unsteady

from . import syscalls
from .known import KnownFiles
from .mount_tables import parse_table
from .tree import HostTree
from .walk import say

SERVED_BY_THE_KERNEL = frozenset(
    {b"tmpfs", b"ramfs", b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"f2fs", b"erofs", b"squashfs", b"overlay"}
)
"""File systems that no server and no process can keep waiting."""
VOLUME_S = 300.0
"""So long the look at one volume takes at most, its rests included."""
MAX_BROUGHT = 512
"""Of one container in one look."""
MAX_READ_BYTES = 256 << 20
"""Of one file, to be named by its bytes."""
_REST_AFTER = 128
_OF_THE_RUNTIME = (b"/dev", b"/proc", b"/sys")
_ELF = b"\x7fELF"


class HostVolumes:
    """Implements `observe.ports.Volumes`. For one thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known = KnownFiles()

    def look(self, running: Running, rest: Callable[[], None]) -> VolumeLook | None:
        mounted, found, unobserved = running.mounted, dict[bytes, Brought](), dict[bytes, Unobserved]()
        if mounted is None:
            return None
        try:
            with open(f"/proc/{running.init_pid}/mountinfo", "rb") as listing:
                table = parse_table(listing.read(8 << 20))
            root = os.open(f"/proc/{running.init_pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if syscalls.describe_open(root).device != mounted.device:
                return None  # another process by now, or one that left: what runs tells of that
            declared = frozenset(mount.target for mount in mounted.mounts)
            for volume in filter(is_writable_volume, mounted.mounts):
                for one in self._look_at(root, volume, table, running.container.started_at, rest):
                    if isinstance(one, Brought):
                        found.setdefault(one.entry.path, one)
                    elif one.path == volume.target or one.path not in declared:  # a volume in a volume is looked at by itself
                        unobserved.setdefault(one.path, one)
                    if len(found) > MAX_BROUGHT:
                        found.popitem()
                        unobserved[volume.target] = Unobserved(path=volume.target, reason=f"more than {MAX_BROUGHT} programs came")
                        break
        finally:
            os.close(root)
        return VolumeLook(
            container=running.container, brought=tuple(found.values()), unobserved=tuple(unobserved.values()), at=self._clock()
        )

    def _look_at(
        self, root: int, volume: DeclaredMount, table: tuple[MountSeen, ...], since: float, rest: Callable[[], None]
    ) -> Iterator[Brought | Unobserved]:
        """2."""
        above = {volume.target, *ancestors(volume.target)}
        foreign = next((m.kind for m in table if m.target in above and m.target != b"/" and m.kind not in SERVED_BY_THE_KERNEL), None)
        if foreign is not None:
            yield Unobserved(path=volume.target, reason=f"{os.fsdecode(foreign)[:40]} may keep whoever reads it waiting: not searched")
            return
        try:
            resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
            place = syscalls.openat2(root, volume.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, resolve)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ENOENT):  # 1; what is not there any more is told by the mounts
                yield Unobserved(path=volume.target, reason=say(error))
            return
        try:
            with HostTree(b"/proc/self/fd/%d" % place, known=self._known) as tree:
                for seen, node in enumerate(tree.walk(seconds=VOLUME_S), 1):
                    if isinstance(node, Unobserved):
                        yield replace(node, path=_join(volume.target, node.path))
                    elif node.entry.kind is Kind.FILE and node.identity[4] >= since * 1e9 and self._is_program(tree, node):  # 3
                        yield self._describe(tree, node, volume.target)
                    if seen % _REST_AFTER == 0:
                        rest()
        finally:
            os.close(place)

    def _is_program(self, tree: HostTree, node: Node) -> bool:
        return bool(node.entry.mode & 0o111) or tree.head(node, len(_ELF)) == _ELF

    def _describe(self, tree: HostTree, node: Node, target: bytes) -> Brought:
        """Of what cannot be read, or does not hold still, the content is not known."""
        content = tree.digest(node, MAX_READ_BYTES)
        known = content.content if isinstance(content, Unsteady) else content if isinstance(content, Content) else None
        entry: Entry = replace(node.entry, path=_join(target, node.entry.path), digest=known.digest if known is not None else None)
        return Brought(entry=entry, changed_at=node.identity[4] / 1e9)


def is_writable_volume(mount: DeclaredMount) -> bool:  # 1
    """Whether the configuration mounts something there from the host that the container may write."""
    said = [option for option in mount.options if option in ("ro", "rw")]
    is_runtimes = any(mount.target == above or mount.target.startswith(above + b"/") for above in _OF_THE_RUNTIME)
    return mount.kind == "bind" and said[-1:] != ["ro"] and not is_runtimes


def _join(target: bytes, path: bytes) -> bytes:
    return target.rstrip(b"/") + path if path != b"/" else target
