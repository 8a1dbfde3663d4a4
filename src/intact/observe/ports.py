"""What observation needs from the world: a tree that can be read though its owner is hostile, and a bell that rings when files change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from intact.model.container import Running
from intact.model.derivation import Derivation
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.entry import Entry
from intact.model.live import LiveLook, MountSeen, VolumeLook
from intact.model.observation import Unobserved
from intact.model.process import Ancestor


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one look may cost. Whatever goes beyond is counted and reported, never waited for.

    `entries` and `kept_bytes` (names, link targets, attributes) bound what an observation lists: as much of each kind as `observe.room`
    tells apart; `read_bytes` what is hashed (holes included: they cost the same), `seconds` the whole look.
    """

    entries: int = 50_000
    kept_bytes: int = 16 << 20
    read_bytes: int = 8 << 30
    seconds: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One name in a tree, as it was a moment ago. Valid as an argument of `Tree` only until the walk that yielded it takes its next step.

    `entry` has no digest and the host's uid and gid. `overlay` holds overlayfs's own attributes by their last name (`opaque`, `redirect`,
    `metacopy`, `whiteout`). `directory` and `name` are the reader's own way to the node.
    """

    entry: Entry
    overlay: Mapping[bytes, bytes]
    links: int
    name: bytes
    directory: int
    identity: tuple[int, int, int, int, int]
    """(st_dev, st_ino, size, mtime in ns, ctime in ns)."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file's content is known by: as an `Entry` has it."""

    digest: Digest
    further: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsteady:
    """Content that did not hold still while it was read. `content` is what was read last: if it is not what it should be, the file was not
    either; if it is, that proves nothing."""

    path: bytes
    content: Content
    reason: str

    @property
    def unobserved(self) -> Unobserved:
        return Unobserved(path=self.path, reason=self.reason)


class Tree(Protocol):
    """One directory tree of the host whose content belongs to an attacker.

    No symbolic link is followed, no FIFO, socket or device is opened, names are bytes, any depth is reached with a bounded number of
    descriptors. What cannot be read comes as `Unobserved`, never as an exception; for a directory it stands for everything below.
    """

    def walk(
        self, start: bytes = b"/", *, ordered: bool = False, after: bytes = b"", seconds: float = 120.0
    ) -> Iterator[Node | Unobserved]:
        """`start` and everything below. `ordered`: bytewise by path, which holds one directory's names in memory; `after` then leaves out
        the paths up to that one. A path of more than 4096 bytes is shown shortened, with its length and a hash."""

    def visit(self, paths: Iterable[bytes]) -> Iterator[Node | Unobserved]:
        """The named paths and the directories above them, each once, as far as they exist. Silent about what does not exist."""

    def digest(self, node: Node, limit_bytes: int, algorithms: Algorithms = SHA256) -> Content | Unsteady | Unobserved:
        """The digests of a regular file's whole content, holes as zeros; `Unobserved` if it is larger or cannot be read."""

    def head(self, node: Node, size_bytes: int) -> bytes | Unobserved:
        """The first bytes of a regular file."""

    def open(self, node: Node) -> int | Unobserved:
        """A descriptor for reading a regular file, for another process; whoever asks closes it."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that is known to have touched a path: nobody else had its pid at that time. `name` is what it was executed as, `uid` its
    user as the host sees it, None where that is not known; `arguments` are empty where it had exited before anybody could ask."""

    pid: int
    parent_pid: int
    executable: bytes
    arguments: tuple[bytes, ...]
    started_ticks: int
    """Since boot, in clock ticks (proc_pid_stat(5), starttime): with the pid, the process's identity."""
    root_device: int | None
    """st_dev of its root: the container's overlay, if it runs in one."""
    name: bytes = b""
    parents: tuple[Ancestor, ...] = ()
    uid: int | None = None
    started_at: float = 0.0
    """In Unix seconds."""
    has_exited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rings:
    """What changed since the last `wait`. Keys are the watched directories.

    A value is the set of absolute paths inside that directory that may differ now: only themselves, or with everything below them if they
    end in a slash; None means look everywhere. `overflowed`: the kernel dropped events (`lost` of them, or more, since the
    kernel does not say how many), so anything below any watched
    directory may have changed, whatever `dirty` says.
    `floods`: the directories that ring too much to be followed; they ring as a whole, now and then, and once when it is over; `apart` has
    those of their paths that rang where little else does.
    `writers` names, per directory and path, the process that touched it, or None where it had exited; `executed` in the same way who
    executed a file of an upper directory, whether it is still there or not; `replaced` has those paths of which it is known that the file
    that was executed is not there any more.
    """

    dirty: Mapping[bytes, frozenset[bytes] | None] = field(default_factory=lambda: MappingProxyType({}))
    overflowed: bool = False
    lost: int = 0
    floods: frozenset[bytes] = frozenset()
    apart: Mapping[bytes, frozenset[bytes]] = field(default_factory=lambda: MappingProxyType({}))
    writers: Mapping[bytes, Mapping[bytes, Process | None]] = field(default_factory=lambda: MappingProxyType({}))
    executed: Mapping[bytes, Mapping[bytes, Process | None]] = field(default_factory=lambda: MappingProxyType({}))
    replaced: Mapping[bytes, frozenset[bytes]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """How the bell hears. A: every change of a watched directory. B: the same, but writes only where it was shown the overlay (`View`).
    C: it hears nothing."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A container's overlay as the container sees it: `root` is a host path that leads there (`/proc/PID/root`), `device` the st_dev it
    must have, `upper` the watched directory in which what is written through it ends."""

    root: bytes
    device: int
    upper: bytes


class Doorbell(Protocol):
    """Rings when something below a watched directory changes. A ring is a hint where to look, never a fact."""

    def start(self) -> Tier:
        """Begins to listen, after it has tested itself on a scratch overlay."""

    def watch(self, directories: Iterable[bytes], view: View | None = None) -> Mapping[bytes, str]:
        """Adds directories; `view` is the container whose upper directory is among them. What happened before is not told: look once after
        this returns. Returns those that cannot be heard, or not every write below them, and why: only timed looks see them."""

    def forget(self, directories: Iterable[bytes]) -> None: ...

    def wait(self, timeout_s: float) -> Rings:
        """Blocks until something rings or the time is over (then `dirty` is empty)."""

    def catch_up(self, timeout_s: float) -> Rings:
        """What rang until now, be it not taken in yet, as far as that is known within the time: who did what a look has just found."""

    def close(self) -> None: ...


class LiveWorld(Protocol):
    """What runs in the containers of this host and what is mounted there. `wait` and the looks are for one thread, the rest for any."""

    def watch(self, running: Running) -> str:
        """Begins to listen to the container's mounts; empty, or why it cannot be looked at."""

    def forget(self, container_id: str) -> None: ...

    def wait(self, timeout_s: float) -> frozenset[str]:
        """Blocks until mounts changed, somebody called `wake`, or the time is over; whose mounts changed."""

    def take_stirred(self) -> frozenset[str]:
        """Since it was asked last: the containers in which something began that is worth a look before the next beat. A hint."""

    def take_past(self) -> Iterator[LiveLook]:
        """What ran since it was asked last though it may be over (`is_past`); empty where nobody notes that."""

    def look_at_mounts(self, container_id: str) -> tuple[MountSeen, ...] | None:
        """Its whole table now; None for a container that has ended."""

    def look(self, wanted: frozenset[str]) -> Iterator[LiveLook]:
        """One look at each of the `wanted` that still run."""

    def wake(self) -> None: ...

    def close(self) -> None: ...


class Volumes(Protocol):
    """What lies in the volumes of the containers of this host. For one thread."""

    def look(self, running: Running, rest: Callable[[], None]) -> VolumeLook | None:
        """What came there since the container was created; None for one that has ended. `rest` is called now and then, and may take its
        time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What an archive holds: the sizes of its members, as far as they were read, which of the wanted contents, and why it was not read to
    the end."""

    sizes: Sequence[int]
    found: frozenset[Digest]
    reason: str = ""


class Workshop(Protocol):
    """Takes files of images apart, away from whoever asks: the files may be made to harm whoever reads them."""

    def recompile(self, pairs: Iterable[tuple[bytes, bytes, str, int, int]]) -> Iterator[Derivation]:
        """Whether each `.pyc` (content, source, name of the source, its mtime in seconds, level of optimisation) is what its source
        compiles to; in order, one for each."""

    def search(self, descriptor: int, wanted: Sequence[tuple[int, Digest]], algorithm: str) -> Contents | None:
        """What of `wanted` (size, digest) the archive holds, and the sizes of all that it holds; None if it cannot be told."""

    def close(self) -> None: ...
