"""What one name of a directory is: the node that a look compares.

In: a directory's descriptor and a name in it. Out: the entry as the disk has it, overlayfs's own attributes, and what tells the file from
another. Nothing is opened and no link followed; the names of attributes, their number and their coming and going are the container's doing.
"""

from __future__ import annotations

import errno
import os
import stat
from types import MappingProxyType

from intact.model.entry import COMPARED_XATTRS, Entry, Kind, is_compared_xattr
from intact.observe.ports import Node

from .known import Attributes, KnownFiles, identify

_NOTHING: Attributes = ((), ())
_NO_OVERLAY: MappingProxyType[bytes, bytes] = MappingProxyType({})
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK, stat.S_IFCHR: Kind.CHAR,
          stat.S_IFBLK: Kind.BLOCK, stat.S_IFIFO: Kind.FIFO, stat.S_IFSOCK: Kind.SOCKET}  # fmt: skip
_OVERLAY_NAMES = (b"opaque", b"redirect", b"metacopy", b"whiteout")
_ALWAYS_COMPARED = tuple(name for name in COMPARED_XATTRS if not name.endswith(b"."))
_TOO_MANY = (b"user.\xe2\x80\xa6", b"more names than listxattr(2) can tell")
"""Stands for a file's `user.` attributes where there are more: no image has it, so that it is a difference."""


class Nodes:
    """Looks at names. `user_attributes`: the overlay keeps its attributes as `user.overlay.*` (its option `userxattr`)."""

    def __init__(self, known: KnownFiles | None, *, user_attributes: bool) -> None:
        self._known = known
        self._prefix = b"user.overlay." if user_attributes else b"trusted.overlay."

    def examine(self, directory: int, name: bytes, path: bytes) -> Node:
        """The node `name` of an open directory, called `path`. Raises OSError if it cannot be looked at."""
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        identity = identify(status)
        attributes = self._known.attributes(identity) if self._known else None
        if attributes is None:
            attributes = self._attributes(directory, name)
            if self._known:
                self._known.keep_attributes(identity, attributes)
        is_device = kind in (Kind.CHAR, Kind.BLOCK)
        entry = Entry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size_bytes=status.st_size if kind is Kind.FILE else 0,
            target=os.readlink(name, dir_fd=directory) if kind is Kind.SYMLINK else b"",
            device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else None,
            xattrs=attributes[0],
        )
        overlay = MappingProxyType(dict(attributes[1])) if attributes[1] else _NO_OVERLAY
        return Node(entry=entry, overlay=overlay, links=status.st_nlink, name=name, directory=directory, identity=identity)

    def _attributes(self, directory: int, name: bytes) -> Attributes:
        """The compared attributes and overlayfs's own by exact name: one that a nested overlay escaped has no effect (overlayfs.rst)."""
        path = b"/proc/self/fd/%d/%s" % (directory, name)
        try:
            names = [os.fsencode(found) for found in os.listxattr(path, follow_symlinks=False)]
            compared = []
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.EPERM):
                return _NOTHING
            if error.errno != errno.E2BIG:
                raise
            names = [*_ALWAYS_COMPARED, *(self._prefix + last for last in _OVERLAY_NAMES)]
            compared = [_TOO_MANY]
        overlay = []
        for found in sorted(names):
            last = found[len(self._prefix) :] if found.startswith(self._prefix) else b""
            if last in _OVERLAY_NAMES and (value := _attribute(path, found)) is not None:
                overlay.append((last, value))
            elif is_compared_xattr(found) and (value := _attribute(path, found)) is not None:
                compared.append((found, value))
        if not compared and not overlay:
            return _NOTHING
        return tuple(sorted(compared)), tuple(overlay)


def _attribute(path: bytes, name: bytes) -> bytes | None:
    """None if it is gone, though it was listed a moment ago: whoever sets and removes it in a loop does not end the look."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise
