"""One path of a file tree, as an image declares it or as a container shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from .digest import Algorithms, Digest


class Kind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    CHAR = "char"
    BLOCK = "block"
    FIFO = "fifo"
    SOCKET = "socket"


COMPARED_XATTRS = (b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default", b"user.")
"""Names, or prefixes ending in a dot, of the extended attributes that belong to an entry. Labels of the host's security modules
(`security.selinux`, `security.ima`, …) and overlayfs's own (`trusted.overlay.*`, `user.overlay.*`) say nothing about the image."""


def is_compared_xattr(name: bytes) -> bool:
    """Whether the extended attribute `name` is part of an entry's identity."""
    if name.startswith(b"user.overlay."):
        return False
    return any(name == known or (known.endswith(b".") and name.startswith(known)) for known in COMPARED_XATTRS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A path with everything that is compared.

    `path` is absolute, without `.`/`..`/`//` and without a trailing slash; the root is `b"/"`. `mode` holds the permission bits (0o7777).
    `uid`/`gid` are the container's. `size_bytes` and `digest` belong to regular files; a file that was deliberately not read has no
    digest. `further` has its digests by other algorithms, in order of their names: nothing is ever decided by them; of a file that is known
    by weak ones alone it has all there are, and `digest` is None. `target` is a
    symlink's text, `device` a node's (major, minor). `xattrs` is sorted and holds only the compared ones.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    digest: Digest | None = None
    further: tuple[Digest, ...] = ()
    target: bytes = b""
    device: tuple[int, int] | None = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


def known_by(entry: Entry) -> Algorithms | None:
    """The algorithms by which a file is to be read to compare it with `entry`; None if `entry`'s content is not known."""
    if entry.digest is None and not entry.further:
        return None
    names = tuple(digest.algorithm for digest in entry.further)
    return Algorithms(entry.digest.algorithm, names) if entry.digest is not None else Algorithms.choose(names)


_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Printable by their category, and yet nothing to see: fillers and variation selectors (Unicode, Default_Ignorable_Code_Point)."""


def display_path(path: bytes, limit: int = 4096) -> str:
    """`path` for people and JSON: UTF-8 where it is printable, `\\xNN` where not; never a control or bidi character, nor one that nobody
    can see, bounded length."""
    text = path[:limit].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() and not _UNSEEN.match(c) else c.encode("unicode_escape").decode() for c in text)
    return shown if len(path) <= limit else f"{shown}… ({len(path)} bytes)"


def describe(entry: Entry | None) -> str:
    """`entry` in one line, for people: `sha256:… 0644 0:0`, `symlink -> /x`, `-` for nothing."""
    if entry is None:
        return "-"
    match entry.kind:
        case Kind.FILE:
            what = str(entry.digest) if entry.digest else f"{entry.size_bytes} bytes, not read,"
        case Kind.SYMLINK:
            return f"symlink -> {display_path(entry.target)} {entry.uid}:{entry.gid}"
        case Kind.CHAR | Kind.BLOCK:
            major, minor = entry.device or (0, 0)
            what = f"{entry.kind} {major}:{minor}"
        case _:
            what = str(entry.kind)
    names = ", ".join(display_path(name, 255) for name, _ in entry.xattrs)
    return f"{what} {entry.mode:04o} {entry.uid}:{entry.gid}" + (f" [{names}]" if names else "")


def parent(path: bytes) -> bytes:
    """The directory that holds `path`; the root's is the root."""
    return path.rpartition(b"/")[0] or b"/"


def ancestors(path: bytes) -> tuple[bytes, ...]:
    """All directories above `path`, nearest first, the root last: `/a/b/c` → (`/a/b`, `/a`, `/`)."""
    above = []
    while path != b"/":
        path = parent(path)
        above.append(path)
    return tuple(above)
