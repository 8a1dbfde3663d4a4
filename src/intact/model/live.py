"""What runs in a container and what is mounted there: the facts of one look, without judgement.

What never reaches the writable layer is seen here alone: programs in memory and on other file systems, names that are gone, mounts over
paths of the image, and processes that left the container's own view of its files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .container import Container
from .digest import Digest
from .entry import Entry
from .observation import Unobserved


class Place(StrEnum):
    """Where a file is that is run or mapped to be run, where it is not simply the read-only part of the container's overlay."""

    UPPER = "upper"
    """The overlay, and its writable layer holds that name."""
    GONE = "gone"
    """The overlay, and no name leads to it any more."""
    MEMORY = "memory"
    """Memory alone: a memfd, shared memory, a deleted file of a tmpfs."""
    ELSEWHERE = "elsewhere"
    """Another file system: a volume, a tmpfs, the host's."""


class Departure(StrEnum):
    """How a process left the view of files that the container's first process has."""

    MOUNTS = "mounts"
    """A mount namespace of its own."""
    HOST = "host"
    """The host's mount namespace."""
    USERS = "users"
    """A user namespace of its own."""
    ROOT = "root"
    """Its root is another file system (pivot_root(2))."""
    JAIL = "jail"
    """Its root is a directory of the container (chroot(2)), and the program it runs comes from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """The process: (pid, start in ticks since boot) is its identity. `executable` is the kernel's word, its own name does not count."""

    pid: int
    started_ticks: int
    executable: bytes
    is_init: bool = False
    is_away: bool = False
    """It has another mount namespace or root than the container's first process."""

    def __str__(self) -> str:
        return f"pid {self.pid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A file that `by` executes, or `is_mapped` to be executed. `path` is as the kernel shows it, without ` (deleted)`."""

    path: bytes
    place: Place
    by: Runner
    is_mapped: bool = False
    size_bytes: int = 0
    mode: int = 0
    digest: Digest | None = None
    is_elf: bool | None = None
    """Whether it begins as an ELF file (elf(5)); None where nobody could read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departed:
    """A process that left the view of its container. `root` is what it has as its root."""

    by: Runner
    how: Departure
    root: bytes = b"/"


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSeen:
    """One line of a mount table (proc_pid_mountinfo(5)): `flags` are the mount's own. `by`: whose table it is, None for the
    container's. `is_other`: something else was mounted there when the table was first read."""

    target: bytes
    kind: bytes
    source: bytes
    root: bytes
    device: int
    flags: tuple[str, ...] = ()
    by: Runner | None = None
    is_other: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A program, or a library, that lies in a volume and was not there, or not so, when the container was created. `changed_at`: Unix
    seconds."""

    entry: Entry
    changed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A file that the runtime made for the container and mounts by itself (/etc/hosts), other than it was when the container had started.
    `changed_at`: Unix seconds."""

    before: Entry
    entry: Entry
    changed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeLook:
    """One look at all volumes of one container, finished at `at` (Unix seconds)."""

    container: Container
    brought: tuple[Brought, ...] = ()
    unobserved: tuple[Unobserved, ...] = ()
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLook:
    """One look at one container at `at` (Unix seconds). `mounts` is the whole table of its first process, and what private tables have
    beyond it. `processes` counts those looked at. `brought` is what the last look at its volumes found, where policy asks for one."""

    container: Container
    runs: tuple[Run, ...] = ()
    departed: tuple[Departed, ...] = ()
    mounts: tuple[MountSeen, ...] = ()
    brought: tuple[Brought, ...] = ()
    rewritten: tuple[Rewritten, ...] = ()
    unobserved: tuple[Unobserved, ...] = ()
    processes: int = 0
    at: float = 0.0
    is_past: bool = False
    """It says what ran since the look before, by the kernel's notes, not what runs. Of what is over by then the content is not known."""
