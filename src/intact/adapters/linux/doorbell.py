"""The node-wide doorbell: the port `observe.ports.Doorbell` on fanotify.

In: directories to watch (a container's upper and lower ones). Out: `Rings`. Never reads a file, never resolves a name a container chose:
what an event names is found by its handle, in whichever place it is by now.

1. One thread waits for the first event, waits `BATCH_S` more, and takes everything that is queued: the kernel merges what repeats.
2. A directory's handle becomes its path, remembered until some directory is moved.
3. A write names the file as it was first looked up. The file's own handle tells where it is now: that path is dirty too; one with several
   names, or none that can be found, makes its whole watched directory dirty.
4. An overflow makes everything dirty and is counted.
"""

from __future__ import annotations

import errno
import os
import select
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from intact.model.errors import PermanentError
from intact.observe.doorbell import Place, RingBook, WorkPlace
from intact.observe.ports import Process, Rings, Tier

from . import fanotify, processes, syscalls
from .fanotify import ENTRIES, MOVED_FROM, MOVED_TO, ON_DIRECTORY, Q_OVERFLOW, WRITES, Event
from .scratch import mount_overlay

BATCH_S = 0.005
HELD_S = 0.01
_CLIMB_S = 0.25
"""So long of one batch may pass before directories too deep to name are no longer looked for: what happened there counts as lost."""
_LONGEST_STRIDE = 1024
_PATHS_HELD = 16_384
_SELF_TEST_S = 0.5
_UNLINKED = b" (deleted)"
"""What the kernel appends to a path that no longer leads to the file, though another may (d_path)."""


class FanotifyDoorbell:
    """`scratch` is a directory of the file system that holds the snapshots, for the self-test; it is left as it was."""

    def __init__(self, scratch: Path, *, names_writers: bool = True) -> None:
        self._scratch = scratch
        self._names_writers = names_writers
        self._book = RingBook()
        self._rung = threading.Condition()
        self._paths: dict[bytes, bytes | None] = {}
        self._group: fanotify.Group | None = None
        self._thread: threading.Thread | None = None
        self._wake = -1
        self._failed: str | None = None
        self._quiet_since_ticks = processes.ticks_now()
        self._followed: set[bytes] = set()
        self._climb_until = 0.0
        self._described: dict[int, Process | None] = {}

    def start(self) -> Tier:
        """Begins to listen. Tier C, with the reason, is a doorbell that never rings; `watch` and `wait` work all the same."""
        try:
            self._group = fanotify.Group()
            self._group.hear(os.fsencode(self._scratch))
            tier = _test_hearing(self._group, self._scratch)
        except OSError as error:
            tier = Tier(name="C", reason=f"no events: {error.strerror or error}")
        if tier.name == "C":
            self._close_group()
            return tier
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._listen, name="doorbell", daemon=True)
        self._thread.start()
        return tier

    def watch(self, directories: Iterable[bytes]) -> Mapping[bytes, str]:
        wanted = list(directories)
        unheard = {}
        with self._rung:
            self._book.watch(wanted)
            self._paths.clear()
            for directory in wanted:
                try:
                    if self._group:
                        self._group.hear(directory)
                except OSError as error:
                    unheard[directory] = error.strerror or str(error)
        return unheard

    def forget(self, directories: Iterable[bytes]) -> None:
        with self._rung:
            self._book.forget(directories)

    def wait(self, timeout_s: float) -> Rings:
        """Raises PermanentError once if the thread that listens has died: the caller must not go on as if it heard."""
        with self._rung:
            if not self._book and self._failed is None:
                self._rung.wait(timeout_s)
            if self._failed is not None:
                raise PermanentError(f"the doorbell stopped: {self._failed}", hint="restart the agent; a full look follows")
            return self._book.take()

    def close(self) -> None:
        if self._thread:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            os.close(self._wake)
            self._thread = None
        self._close_group()

    def _close_group(self) -> None:
        if self._group:
            self._group.close()
            self._group = None

    def _listen(self) -> None:
        assert self._group is not None
        poll = select.poll()
        poll.register(self._group.descriptor, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            while True:
                ready = dict(poll.poll())
                if self._wake in ready:
                    return
                time.sleep(BATCH_S)  # 1
                reading_since_ticks = processes.ticks_now()
                self._followed.clear()
                self._described.clear()
                self._climb_until = time.monotonic() + _CLIMB_S
                events = deque(self._group.read())
                while events:
                    with self._rung:
                        self._take_in(events)
                        if self._book:
                            self._rung.notify_all()
                    time.sleep(0)  # who waits for the rings so far gets them now
                self._quiet_since_ticks = reading_since_ticks
        except Exception as error:
            with self._rung:
                self._failed = f"{type(error).__name__}: {error}"
                self._rung.notify_all()

    def _take_in(self, events: deque[Event]) -> None:
        """Takes events from the front for `HELD_S`: where finding their paths takes long, nobody waits for all of them."""
        until = time.monotonic() + HELD_S
        while events and time.monotonic() < until:
            event = events.popleft()
            if event.mask & Q_OVERFLOW:  # 4
                self._book.mark_everything()
                self._paths.clear()
            elif event.directory is not None:
                self._take_event(event)
            if event.mask & ON_DIRECTORY and event.mask & (MOVED_FROM | MOVED_TO):
                self._paths.clear()

    def _take_event(self, event: Event) -> None:
        directory = self._find(event, event.directory)
        place = self._book.place(directory) if directory else None
        if isinstance(place, Place):
            is_too_deep = place.inside != b"/" and place.inside.endswith(b"/")
            is_below = bool(event.mask & ENTRIES) or is_too_deep
            path = place.inside if event.name in (b"", b".") or is_too_deep else place.entry(event.name)
            self._book.mark(place.watched, path, with_below=is_below)
            if self._names_writers:
                self._book.sign(place.watched, path, lambda: self._describe(event.pid))
        if place is not None and event.mask & WRITES and not event.mask & ON_DIRECTORY and event.child:
            self._follow_child(event, place, event.child)

    def _follow_child(self, event: Event, place: Place | WorkPlace, child: bytes) -> None:
        """3. Where the written file is now."""
        assert self._group is not None
        if child in self._followed:
            return
        self._followed.add(child)
        links, found, path = 0, None, b""
        for mount in self._group.mounts(event):
            try:
                opened = syscalls.open_by_handle(mount, child, os.O_PATH)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    self._book.mark_whole(place.watched)
                return
            try:
                links, path = os.fstat(opened).st_nlink, _read_path(opened)
            except OSError:
                links, path = 2, b""
            finally:
                os.close(opened)
            found = self._book.place(path)
            if found is not None:
                break
        is_being_copied = isinstance(found, WorkPlace) and not path.endswith(_UNLINKED)
        if links == 0 or (links == 1 and is_being_copied):
            return
        if links == 1 and isinstance(found, Place) and found.watched == place.watched:
            self._book.mark(place.watched, found.inside)
        else:
            self._book.mark_whole(place.watched)

    def _find(self, event: Event, handle: bytes | None) -> bytes | None:
        """2. The path of the directory `handle`; None if gone or nobody's. Too deep for the kernel to write: the nearest above, a slash."""
        assert self._group is not None and handle is not None
        key = event.fsid + handle
        if key in self._paths:
            return self._paths[key]
        try:
            path = self._resolve(event, handle)
        except OSError as error:
            if error.errno != errno.ESTALE:
                self._book.mark_everything()
                return None
            path = None
        if len(self._paths) >= _PATHS_HELD:
            self._paths.clear()
        self._paths[key] = path
        return path

    def _resolve(self, event: Event, handle: bytes) -> bytes | None:
        """The path through the mount that shows it below a watched directory; None if none does: most of what a disk tells is nobody's."""
        assert self._group is not None
        for mount in self._group.mounts(event):
            try:
                path = _resolve_through(mount, handle, self._climb_until)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
                continue  # not in what this mount shows of the disk
            if self._book.place(path) is not None:
                return path
        return None

    def _describe(self, pid: int) -> Process | None:
        """Who has held `pid` since before this batch's first event."""
        if pid not in self._described:
            self._described[pid] = processes.describe_process(pid, alive_since_ticks=self._quiet_since_ticks)
        return self._described[pid]


def _resolve_through(mount: int, handle: bytes, climb_until: float) -> bytes:
    """The path of a directory; too deep for the kernel to write, the nearest above it that is not, and a slash. Raises OSError: ESTALE when
    it is gone; ENOENT when it is too deep for its path and not below the mount's root, as `..` is refused then (path_connected in the
    kernel's fs/namei.c); ENAMETOOLONG when it is so deep that `climb_until` (monotonic) comes first.

    Upwards in long strides, halved as soon as one leads to where the path can be written: trees have been made that are 300,000 deep.
    """
    opened = syscalls.open_by_handle(mount, handle, os.O_PATH)
    try:
        path = _try_path(opened)
        if path is not None:
            return path
        stride = _LONGEST_STRIDE
        while time.monotonic() < climb_until:
            above = os.open(b"/".join([b".."] * stride), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=opened)
            path = _try_path(above)
            if path is None:
                opened, above = above, opened
            os.close(above)
            if path is not None and stride == 1:
                return path + b"/"
            if path is not None:
                stride //= 2
        raise OSError(errno.ENAMETOOLONG, "too deep to be found in time")
    finally:
        os.close(opened)


def _try_path(descriptor: int) -> bytes | None:
    """None if it is too long for the kernel to write."""
    try:
        return _read_path(descriptor)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return None


def _read_path(descriptor: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % descriptor)


def _test_hearing(group: fanotify.Group, scratch: Path) -> Tier:
    """A: a write to a file that is already in an overlay's upper directory is heard; B: only that it was created; C: neither.

    An agent without CAP_DAC_OVERRIDE cannot make a writable overlay (its work directory has mode 0): then only the file system's own events
    are tested, and the kernel's version says whether they include writes through an overlay (since Linux 6.5, "ovl: enable fsnotify events
    on underlying real files").
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix="intact-self-test-") as name:
        base = os.fsencode(name)
        for part in (b"lower", b"upper", b"work"):
            Path(os.fsdecode(base + b"/" + part)).mkdir()
        try:
            place = mount_overlay((base + b"/lower",), base + b"/upper", base + b"/work")
            heard_through = True
        except OSError:
            place = os.open(base + b"/upper", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            heard_through = _kernel_version() >= (6, 5)
        try:
            probe = os.urandom(8).hex().encode()
            writer = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=place)
            try:
                was_created = _hears(group, probe)
                os.write(writer, b"1")
                was_written = _hears(group, probe)
            finally:
                os.close(writer)
        finally:
            os.close(place)
    if was_created and was_written and heard_through:
        return Tier(name="A", reason="every write is heard")
    if was_created:
        return Tier(name="B", reason="writes to files already changed are not heard (Linux before 6.5)")
    return Tier(name="C", reason="the file system tells no events")


def _kernel_version() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def _hears(group: fanotify.Group, name: bytes) -> bool:
    deadline = time.monotonic() + _SELF_TEST_S
    while time.monotonic() < deadline:
        if any(event.name == name for event in group.read()):
            list(group.read())
            return True
        time.sleep(BATCH_S)
    return False
