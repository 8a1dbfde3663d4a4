"""What a container ran, by the kernel's notes, though it may be over: which of it is in no read-only layer.

In: notes on what its processes executed and mapped, its overlay, its mount table. Out: `Run`s, as far as it is certain where the file was.
Never guesses, and resolves no path of the container but beneath a layer's own directory, following nothing.

1. What is in memory is certain by its name alone. What a process shares with others there (MAP_SHARED) is left to the looks: it is what
   just-in-time compilers do, and takes reading.
2. A file on a mount of the container's is that mount's if the device is. One on a device that is neither the overlay's nor a mount's is
   elsewhere: on a mount of a namespace of its own, or on one that is nowhere.
3. One that a read-only layer holds under that name, in that inode, is ordinary. One that the writable layer holds so is told of.
4. Anything else is asked of the process, as long as it lives: it may have another root, which shortens names.
5. One whose path the kernel could not write for its length is asked of the process, or else elsewhere: no service has any.
6. A file that is in no layer any more is told as gone, without its content; whoever judges has to know that it was there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from intact.model.live import MountSeen, Place, Run, Runner

from . import syscalls
from .links import MOST_WRITTEN, TOO_LONG
from .noted import Mapped
from .processes import TICK_NS
from .running import File, RunningFiles, Seen, read_process
from .threads import Headless

IN_MEMORY = (b"/memfd:", b"/dev/zero", b"/SYSV", b"/anon_hugepage")
_DELETED = b" (deleted)"
_SLACK_TICKS = 50
_RESOLVE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_XDEV


@dataclass(slots=True)
class Layers:
    """The directories of an overlay, opened as they are asked for: the writable one first. `with` closes them."""

    upper: bytes
    lowers: tuple[bytes, ...]
    _open: dict[bytes, int] = field(default_factory=dict)

    def __enter__(self) -> Layers:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            if descriptor >= 0:
                os.close(descriptor)

    @property
    def devices(self) -> frozenset[int]:
        """Those of the read-only ones."""
        found = (self.find(lower, b".") for lower in self.lowers)
        return frozenset(one.st_dev for one in found if one is not None)

    def find(self, directory: bytes, path: bytes) -> os.stat_result | None:
        """What `directory` holds at `path`; None for nothing, and where that cannot be told."""
        if directory not in self._open:
            try:
                self._open[directory] = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                self._open[directory] = -1
        try:
            held = syscalls.openat2(self._open[directory], path.lstrip(b"/"), os.O_PATH | os.O_NOFOLLOW, _RESOLVE)
        except OSError:
            return None
        try:
            return os.fstat(held)
        finally:
            os.close(held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`runs` that are told; `ordinary` are files that need no second look."""

    runs: tuple[Run, ...] = ()
    ordinary: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PastReader:
    """Of one container. `device`: the overlay's, `disk`: of the file system below, which older kernels note instead (before Linux 6.8);
    `safe`: devices whose files keep no reader waiting."""

    device: int
    namespace: int
    init_pid: int
    layers: Layers
    mounts: tuple[MountSeen, ...]
    files: RunningFiles
    safe: frozenset[int]
    disk: int

    def _is_foreign(self, device: int) -> bool:
        """Whether nothing of the container's is on that device. Which is noted of a file system that has many (btrfs) is not certain."""
        own = {self.device, self.disk, *self.layers.devices, *(mount.device for mount in self.mounts)}
        return os.major(self.disk) != 0 and device not in own

    def tell(self, notes: Iterable[Mapped]) -> Story:
        runs: dict[tuple[object, ...], Run] = {}
        ordinary = []
        for mapped in notes:
            if self._is_ordinary(mapped):
                ordinary.append(mapped.file)
            elif (run := self._describe(mapped)) is not None:
                runs[run.path, run.place, run.is_mapped] = run
        return Story(runs=tuple(runs.values()), ordinary=tuple(ordinary))

    def _is_ordinary(self, mapped: Mapped) -> bool:
        """3. Inodes cannot be compared where the read-only layers are on another file system than the writable one."""
        if self._is_in_memory(mapped.path) or self._find_mount(mapped.path) is not None:
            return False
        if self.layers.find(self.layers.upper, mapped.path) is not None:
            return False
        held = next(filter(None, (self.layers.find(lower, mapped.path) for lower in self.layers.lowers)), None)
        return held is not None and (held.st_ino == mapped.inode or held.st_dev != self.disk)

    def _find_place(self, mapped: Mapped, path: bytes) -> Place | None:
        """None where it is not certain."""
        if self._is_in_memory(path):  # 1
            return Place.MEMORY
        name = path.removesuffix(_DELETED)
        is_own = mapped.namespaces[-1] == self.namespace
        mount = self._find_mount(name)
        if mount is not None and not self._is_foreign(mapped.device):  # 2
            return Place.ELSEWHERE if is_own and mount.device == mapped.device else None
        if self._is_foreign(mapped.device):
            return Place.ELSEWHERE
        if mapped.device not in (self.device, self.disk):
            return None
        held = self.layers.find(self.layers.upper, name)
        below = [one for one in (self.layers.find(lower, name) for lower in self.layers.lowers) if one is not None]
        if held is not None:  # 3: a file that was copied up while it was known keeps the inode that it had below
            return Place.UPPER if mapped.inode in (held.st_ino, *(one.st_ino for one in below)) else None
        return Place.GONE if is_own and not below else None  # 6

    def _find_mount(self, name: bytes) -> MountSeen | None:
        """The one of the container's own mounts, other than its root, that a name is on; of several at one place the last."""
        found: MountSeen | None = None
        for mount in self.mounts:
            is_on = mount.target != b"/" and (name == mount.target or name.startswith(mount.target + b"/"))
            if is_on and (found is None or len(mount.target) >= len(found.target)):
                found = mount
        return found

    @staticmethod
    def _is_in_memory(path: bytes) -> bool:
        return path.startswith(IN_MEMORY) and path.endswith(_DELETED)

    def _describe(self, mapped: Mapped) -> Run | None:
        path, place = mapped.path, self._find_place(mapped, mapped.path)
        if place is Place.MEMORY and not mapped.is_private and not mapped.is_program:
            return None
        seen, file = self._ask(mapped) if place is not Place.UPPER else (None, None)
        if mapped.path == TOO_LONG:  # 5
            place = Place.UPPER if file is not None and file.device == self.device else Place.ELSEWHERE
        elif file is not None and place in (None, Place.GONE):  # 4
            path, place = file.path, self._find_place(mapped, file.path)
        if place is None:
            return None
        read = self.files.read(file) if file is not None and file.device in self.safe else None
        if read is None and not mapped.is_private:
            return None
        runner = Runner(
            pid=mapped.pid,
            started_ticks=seen.started_ticks if seen is not None else mapped.started_ns // TICK_NS,
            executable=(seen.program.name if seen is not None else mapped.executable.removesuffix(_DELETED))[:4096],
            is_init=mapped.pid == self.init_pid,
            is_away=mapped.namespaces[-1] != self.namespace,
        )
        run = Run(path=path.removesuffix(_DELETED)[:4096], place=place, by=runner, is_mapped=not mapped.is_program)
        if read is None:
            return run
        return replace(run, size_bytes=read.size_bytes, mode=read.mode, digest=read.digest, is_elf=read.is_elf)

    def _ask(self, mapped: Mapped) -> tuple[Seen | None, File | None]:
        """4. The process, and the file as it has it now; None for each that is gone."""
        with contextlib.suppress(OSError, Headless):
            seen = read_process(mapped.pid, self.device)
            if seen is not None and abs(seen.started_ticks - mapped.started_ns // TICK_NS) <= _SLACK_TICKS:
                name = mapped.path.removesuffix(_DELETED)
                files = (seen.program,) if mapped.is_program else seen.mapped
                return seen, next((file for file in files if _is_called(file.name, name)), None)
        return None, None


def _is_called(path: bytes, noted: bytes) -> bool:
    """Whether a process that has another root may have seen `path` as `noted`."""
    return path.endswith(noted) or (noted == TOO_LONG and len(path) > MOST_WRITTEN)
