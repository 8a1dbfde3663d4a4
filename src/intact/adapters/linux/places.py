"""Where the files are now that events speak of: by their handles, never by a name that a container chose.

In: events, the group that told them, and who watches what. Out: places in watched directories. Never reads a file, never follows a link.

1. A directory's handle becomes its place, remembered until some directory is moved. Whose it is stays known: nobody moves a directory from
   one container's layer to another's.
2. A file's own handle tells where it is now; its event names it as it was first looked up.
   One that had no other name than its event's is not looked for again until a name comes or goes, be it anywhere on the disk.
3. A directory that is gone counts as where it was last seen: what was executed in it was executed there.
4. One that is made or moved is known by the event that tells of it, should it be gone before anybody asks where it is.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass

from intact.observe.doorbell import Place, RingBook, WorkPlace

from . import syscalls
from .fanotify import Event, Group

_CLIMB_S = 0.25
"""So long of one batch may pass before directories too deep to name are no longer looked for: what happened there counts as lost."""
_LONGEST_STRIDE = 1024
_REMEMBERED = 16_384
UNLINKED = b" (deleted)"
"""What the kernel appends to a path that no longer leads to the file, though another may (d_path)."""


@dataclass(frozen=True, slots=True)
class Found:
    """`place` is None for what is nobody's or too well hidden; `links` counts the file's names."""

    place: Place | WorkPlace | None
    links: int
    is_unlinked: bool


class Places:
    """Handles of `group`'s events, and the directories of `book`."""

    def __init__(self, group: Group, book: RingBook) -> None:
        self._group, self._book = group, book
        self._known: dict[bytes, tuple[int, Place | WorkPlace | None]] = {}
        self._alone: dict[bytes, Place] = {}
        self._moves = 0
        self._climb_until = 0.0

    def clear(self) -> None:
        """Other directories are watched now, or something was lost."""
        self._known.clear()
        self._alone.clear()

    def begin_batch(self) -> None:
        self._climb_until = time.monotonic() + _CLIMB_S

    def note_move(self) -> None:
        """1. A directory was moved: what is known of places may be old."""
        self._moves += 1

    def note_entry(self) -> None:
        """2. A name came, went or was moved: any file may have another one now."""
        self._alone.clear()

    def is_alone(self, event: Event, handle: bytes, place: Place) -> bool:
        """2. Whether the file was found to have no other name than `place`, and nothing can have changed that."""
        return self._alone.get(event.fsid + handle) == place

    def keep_alone(self, event: Event, handle: bytes, place: Place) -> None:
        """2. The file was found to have this name and no other."""
        if len(self._alone) >= _REMEMBERED:
            self._alone.clear()
        self._alone[event.fsid + handle] = place

    def owner(self, event: Event) -> bytes | None:
        """The watched directory of the event, if that is known without looking; None if it is not, or nobody's."""
        assert event.directory is not None
        known = self._known.get(event.fsid + event.directory)
        return known[1].watched if known is not None and known[1] is not None else None

    def directory(self, event: Event) -> Place | WorkPlace | None:
        """The place of the event's directory; None if it is nobody's, or gone before anything was heard of it. Too deep for the kernel
        to write: the nearest above, which then ends in a slash. Raises OSError if it cannot be found, though it may be somewhere."""
        assert event.directory is not None
        key = event.fsid + event.directory
        known = self._known.get(key)
        if known is not None and known[0] == self._moves:
            return known[1]
        try:
            place = self._look_for(event, event.directory)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            place = known[1] if known is not None else None  # 3
        self._remember(key, place)
        return place

    def note_made(self, event: Event) -> None:
        """4. `event` tells of a directory that was made or moved, with its handle."""
        assert event.child is not None
        try:
            above = self.directory(event)
        except OSError:
            return
        if isinstance(above, WorkPlace):
            self._remember(event.fsid + event.child, above)
        elif above is not None and (above.inside == b"/" or not above.inside.endswith(b"/")):
            self._remember(event.fsid + event.child, Place(above.watched, above.entry(event.name)))

    def _remember(self, key: bytes, place: Place | WorkPlace | None) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = self._moves, place

    def file(self, event: Event, handle: bytes) -> Found:
        """2. Raises OSError: ESTALE when it is gone."""
        links, path, place = 0, b"", None
        for mount in self._group.mounts(event):
            opened = syscalls.open_by_handle(mount, handle, os.O_PATH)
            try:
                links, path = os.fstat(opened).st_nlink, _read_path(opened)
            except OSError:
                links, path = 2, b""
            finally:
                os.close(opened)
            place = self._book.place(path)
            if place is not None:
                break
        return Found(place=place, links=links, is_unlinked=path.endswith(UNLINKED))

    def _look_for(self, event: Event, handle: bytes) -> Place | WorkPlace | None:
        """Through the mount that shows it below a watched directory; None if none does: most of what a disk tells is nobody's."""
        for mount in self._group.mounts(event):
            try:
                path = _resolve_through(mount, handle, self._climb_until)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
                continue  # not in what this mount shows of the disk
            place = self._book.place(path)
            if place is not None:
                return place
        return None


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
