"""What runs in the containers of this host and what is mounted there, now.

In: running containers. Out: a `LiveLook` of each: files that run and are not simply in the read-only part of its overlay, processes that
left its view, and its mounts. Never judges, never resolves a path of a container, never waits for a file system that somebody serves from a
process, and bounds what one look lists.

1. Which processes are a container's: `members`.
2. Each is read once (`running`). What runs the runtime's own program is not the container's yet.
3. A file on the overlay is looked up by name in the writable layer, beneath it and without following anything.
4. The rest is read where its file system is one that the kernel serves by itself.
5. A process with another mount namespace is asked for its table too, for a bounded number of namespaces.
6. So is a thread that has another one than its process; of very many threads, each has its turn.
7. What became of the files that the runtime made for it: `runtime_files`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from intact.model.container import Running
from intact.model.entry import Entry
from intact.model.live import Departed, Departure, LiveLook, MountSeen, Place, Run, Runner
from intact.model.observation import Unobserved

from . import members, mount_tables, syscalls
from .links import TOO_LONG
from .noted import Mapped, Noted
from .past import IN_MEMORY, Layers, PastReader
from .running import File, RunningFiles, Seen, read_process, read_threads
from .runtime_binary import RuntimeBinary, memory_device
from .runtime_files import find_rewritten
from .threads import Headless, Turns
from .volumes import SERVED_BY_THE_KERNEL

MAX_PROCESSES = 20_000
"""Of one container in one look."""
MAX_RUNS = 512
MAX_DEPARTED = 64
MAX_PRIVATE_TABLES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """A container with what its first process had when it was first seen; `host_pid` is a process of the host's beside it, `runtime_files`
    what these were when it had started."""

    running: Running
    device: int
    upper: bytes
    groups: frozenset[bytes]
    mount_namespace: str
    user_namespace: str
    host_pid: int
    host_namespace: str
    disk: int
    runtime_files: dict[bytes, Entry] = field(default_factory=dict)

    @property
    def home(self) -> int:
        """The inode of its mount namespace."""
        return int(self.mount_namespace.strip("mnt:[]"))


class HostLive:
    """Implements `observe.ports.LiveWorld`. `wait` and the looks from one thread, the others from any. Who hears what the kernel notes of
    processes hands it to `noted`; without that, only what runs during a look is seen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tables = mount_tables.MountTables()
        self._members = members.Members()
        self._files = RunningFiles()
        self._turns = Turns()
        self._runtime = RuntimeBinary(self._files)
        self._memory = memory_device()
        self._watched: dict[str, _Watched] = {}
        self._stirred: set[str] = set()
        self.noted = Noted(self._tables.wake)

    def watch(self, running: Running) -> str:
        """Begins to listen to the container's mounts; empty, or why it cannot be looked at. One that has ended has no looks."""
        mounted, pid = running.mounted, running.init_pid
        if mounted is None:
            return running.unobservable
        try:
            seen = read_process(pid, mounted.device)
            if seen is None:
                return ""  # it has ended
            if seen.root_device != mounted.device:
                return "its first process has another root than the container"
            watched = _Watched(
                running=running,
                device=mounted.device,
                upper=mounted.upper,
                groups=members.find_groups(pid, running.container.id),
                mount_namespace=seen.mount_namespace,
                user_namespace=seen.user_namespace,
                host_pid=seen.parent_pid,
                host_namespace=_namespace_of(seen.parent_pid),
                disk=os.stat(mounted.upper).st_dev,
            )
            self._tables.open(running.container.id, pid)
        except (FileNotFoundError, ProcessLookupError):
            return ""
        except OSError as error:
            return f"its processes cannot be looked at: {error.strerror}"
        except Headless as error:
            return f"its processes cannot be looked at: {error}"
        self._watched = {**self._watched, running.container.id: watched}
        self._note_homes()
        return ""

    def forget(self, container_id: str) -> None:
        self._watched = {id: one for id, one in self._watched.items() if id != container_id}
        self._tables.close(container_id)
        self._note_homes()

    def _note_homes(self) -> None:
        """Numbers of devices and inodes are used again by others: what was ordinary is found out anew."""
        self.noted.homes = frozenset(one.home for one in self._watched.values())
        self.noted.ordinary.clear()

    def wake(self) -> None:
        self._tables.wake()

    def wait(self, timeout_s: float) -> frozenset[str]:
        """The containers whose mounts changed before the time was over."""
        return self._tables.wait(timeout_s)

    def take_past(self) -> Iterator[LiveLook]:
        """What was noted of each container since it was asked last, as far as it is in no read-only layer."""
        notes, due, strays = self.noted.drain()
        for pid, thread in strays:
            self._turns.found(pid, thread)
        watched = {one.home: one for one in self._watched.values()}
        self._stirred.update(watched[home].running.container.id for home in due & watched.keys())
        whose: dict[int, list[Mapped]] = {}
        for mapped in notes:
            home = next((home for home in reversed(mapped.namespaces) if home in watched), None)
            if home is not None:
                whose.setdefault(home, []).append(mapped)
        self._files.begin()
        for home, of_one in whose.items():
            look = self._look_back(watched[home], of_one)
            if look is not None:
                yield look

    def _look_back(self, watched: _Watched, notes: list[Mapped]) -> LiveLook | None:
        table, mounted = self._tables.read(watched.running.container.id), watched.running.mounted
        if table is None or mounted is None:
            return None
        with Layers(mounted.upper, mounted.lowers) as layers:
            story = PastReader(
                device=watched.device,
                disk=watched.disk,
                namespace=watched.home,
                init_pid=watched.running.init_pid,
                layers=layers,
                mounts=table.mounts,
                files=self._files,
                safe=self._safe_devices(watched, table),
            ).tell(notes)
        for file in story.ordinary:
            self.noted.is_ordinary(file)
        if not story.runs:
            return None
        return LiveLook(container=watched.running.container, runs=story.runs, mounts=table.mounts, is_past=True, at=self._clock())

    def _safe_devices(self, watched: _Watched, table: mount_tables.Table) -> frozenset[int]:
        served = (mount.device for mount in table.mounts if mount.kind in SERVED_BY_THE_KERNEL)
        return frozenset({watched.device, self._memory, *served})

    def take_stirred(self) -> frozenset[str]:
        stirred, self._stirred = frozenset(self._stirred), set()
        return stirred

    def close(self) -> None:
        self._tables.close_all()

    def look_at_mounts(self, container_id: str) -> tuple[MountSeen, ...] | None:
        """Its table now; None for a container that has ended."""
        table = self._tables.read(container_id)
        return None if table is None else table.mounts

    def look(self, wanted: frozenset[str]) -> Iterator[LiveLook]:
        """One look at each of the `wanted` containers that still runs."""
        watched = {id: self._watched[id] for id in wanted if id in self._watched}
        places = {id: members.Place(groups=one.groups, device=one.device) for id, one in self._watched.items()}
        found = self._members.gather(places)  # 1
        self._files.begin()
        self._turns.begin()
        for container_id, one in watched.items():
            table = self._tables.read(container_id)
            if table is not None:
                yield self._look_at(one, found.get(container_id, []), table)

    def _look_at(self, watched: _Watched, pids: list[int], table: mount_tables.Table) -> LiveLook:
        try:
            upper = os.open(watched.upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            upper = -1
        look = _Look(watched, self._files, upper, self._safe_devices(watched, table))
        try:
            if not table.is_whole:
                look.leave_out(b"/", "more is mounted than one look reads")
            for pid in pids[:MAX_PROCESSES]:
                self._look_at_process(look, pid)
            if len(pids) > MAX_PROCESSES:
                look.leave_out(b"/proc", f"{len(pids) - MAX_PROCESSES} more processes than one look reads")
        finally:
            if upper >= 0:
                os.close(upper)
        rewritten = []
        for one in find_rewritten(watched.running, table.mounts, self._files, watched.runtime_files):  # 7
            if isinstance(one, Unobserved):
                look.leave_out(one.path, one.reason)
            else:
                rewritten.append(one)
        return LiveLook(
            container=watched.running.container,
            runs=tuple(look.runs.values()),
            departed=tuple(look.departed.values()),
            mounts=(*table.mounts, *look.private_mounts),
            rewritten=tuple(rewritten),
            unobserved=tuple(Unobserved(path=path, reason=reason) for path, reason in look.unobserved.items()),
            processes=look.processes,
            at=self._clock(),
        )

    def _look_at_process(self, look: _Look, pid: int) -> None:
        try:
            seen = read_process(pid, look.watched.device)  # 2
        except OSError as error:
            look.leave_out(b"/proc", f"process {pid}: {error.strerror}")
            return
        except Headless as error:
            look.leave_out(b"/proc", f"process {pid}: {error}")
            return
        if seen is None:
            return
        if seen.program.device != look.watched.device and self._runtime.is_run_by(seen.program, look.watched.host_pid):
            return
        look.take(seen)
        if seen.threads > 1:  # 6
            for stray in read_threads(seen, self._turns.choose(pid)):
                self._turns.found(pid, stray.thread)
                look.take_view(stray)


@dataclass(slots=True)
class _Look:
    """One look in the making."""

    watched: _Watched
    files: RunningFiles
    upper: int
    safe: frozenset[int]
    runs: dict[tuple[object, ...], Run] = field(default_factory=dict)
    departed: dict[tuple[object, ...], Departed] = field(default_factory=dict)
    private_mounts: list[MountSeen] = field(default_factory=list)
    unobserved: dict[bytes, str] = field(default_factory=dict)
    processes: int = 0
    _tables: set[str] = field(default_factory=set)
    _in_upper: dict[bytes, bool] = field(default_factory=dict)

    def leave_out(self, path: bytes, reason: str) -> None:
        self.unobserved.setdefault(path, reason)

    def take(self, seen: Seen) -> None:
        self.processes += 1
        if seen.left_out:
            self.leave_out(b"/proc", f"process {seen.pid}: {seen.left_out}")
        departure, runner = self.take_view(seen)
        if departure is Departure.HOST:
            return  # its programs are the host's
        self._take_file(seen.program, runner, is_mapped=False)
        for file in seen.mapped:
            self._take_file(file, runner, is_mapped=True)

    def take_view(self, seen: Seen) -> tuple[Departure | None, Runner]:
        """Whether and how it left the container's view of files."""
        departure = self._find_departure(seen)
        runner = Runner(
            pid=seen.pid,
            started_ticks=seen.started_ticks,
            executable=seen.program.name[:4096],
            is_init=seen.pid == self.watched.running.init_pid,
            is_away=departure in (Departure.MOUNTS, Departure.HOST, Departure.ROOT),
        )
        if departure is not None:
            key = (departure, runner.executable, seen.root)
            if key not in self.departed and len(self.departed) >= MAX_DEPARTED:
                self.leave_out(b"/proc", "more processes left the container's view than are listed")
            else:
                self.departed.setdefault(key, Departed(by=runner, how=departure, root=seen.root[:4096]))
        if departure is Departure.MOUNTS:
            self._read_private_table(runner, seen)
        return departure, runner

    def _find_departure(self, seen: Seen) -> Departure | None:
        if seen.mount_namespace != self.watched.mount_namespace:
            return Departure.HOST if seen.mount_namespace == self.watched.host_namespace else Departure.MOUNTS
        if seen.root_device != self.watched.device:
            return Departure.ROOT
        if seen.user_namespace != self.watched.user_namespace:
            return Departure.USERS
        if seen.root != b"/" and seen.program.path.startswith(seen.root.rstrip(b"/") + b"/"):
            return Departure.JAIL
        return None

    def _read_private_table(self, runner: Runner, seen: Seen) -> None:  # 5
        if seen.mount_namespace in self._tables:
            return
        if len(self._tables) >= MAX_PRIVATE_TABLES:
            self.leave_out(b"/proc", "more private mount namespaces than one look reads")
            return
        self._tables.add(seen.mount_namespace)
        try:
            table = mount_tables.read_private_table(runner, seen.thread)
        except OSError:
            return  # gone, with its namespace
        if seen.root_device == self.watched.device:
            self.private_mounts += table.mounts

    def _take_file(self, file: File, runner: Runner, *, is_mapped: bool) -> None:
        path, place = file.path, self._find_place(file)
        if place is None:
            return
        if file.is_unlinked and place is not Place.UPPER:
            path = file.name
        whose = () if place is Place.UPPER else (runner.pid,)
        key = (place, path, is_mapped, *whose)
        if key in self.runs and not runner.is_init:
            return
        if key not in self.runs and len(self.runs) >= MAX_RUNS:
            self.leave_out(b"/proc", "more runs that is not the image's than is listed")
            return
        run = Run(path=path[:4096], place=place, by=runner, is_mapped=is_mapped)
        if place is not Place.UPPER and file.device in self.safe:  # 4
            read = self.files.read(file, with_digest=False)
            if read is not None and (read.is_elf or not is_mapped):
                read = self.files.read(file)
            if read is not None:
                run = replace(run, size_bytes=read.size_bytes, mode=read.mode, digest=read.digest, is_elf=read.is_elf)
        self.runs[key] = run

    def _find_place(self, file: File) -> Place | None:
        if file.device != self.watched.device:
            is_memory = file.is_unlinked and file.path.startswith(IN_MEMORY)
            return Place.MEMORY if is_memory else Place.ELSEWHERE
        if file.path == TOO_LONG or self._is_in_upper(file.path):
            return Place.UPPER
        return Place.GONE if file.is_unlinked else None

    def _is_in_upper(self, path: bytes) -> bool:  # 3
        if path not in self._in_upper:
            self._in_upper[path] = self._ask_upper(path)
        return self._in_upper[path]

    def _ask_upper(self, path: bytes) -> bool:
        resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_XDEV
        try:
            os.close(syscalls.openat2(self.upper, path.lstrip(b"/"), os.O_PATH | os.O_NOFOLLOW, resolve))
        except FileNotFoundError:
            return False
        except OSError:
            return self.upper >= 0  # something else is there now: a look at the layer will tell
        return True


def _namespace_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""
