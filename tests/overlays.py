"""Real overlays for tests, mounted nowhere: with idmapped layers, and looked at from inside a user namespace."""

from __future__ import annotations

import ctypes
import os
import pickle
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from intact.adapters.linux import syscalls
from intact.model.container import IdMap
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind, is_compared_xattr

KINDS = {
    stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK, stat.S_IFIFO: Kind.FIFO, stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK, stat.S_IFSOCK: Kind.SOCKET,
}  # fmt: skip
MAPPED = (IdMap(inside=0, outside=1_000_000, count=65_536),)
_CLONE_NEWUSER = 0x10000000
_ATTR_IDMAP = 0x00100000
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


@contextmanager
def user_namespace(lines: tuple[IdMap, ...] = MAPPED) -> Iterator[int]:
    """A descriptor of a new user namespace with these maps of users and groups."""
    ready, unshared = os.pipe()
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        if _libc.unshare(_CLONE_NEWUSER):
            os._exit(1)
        os.write(unshared, b"x")
        os.read(wait, 1)
        os._exit(0)
    for end in (unshared, wait):
        os.close(end)
    try:
        assert os.read(ready, 1) == b"x", "no user namespaces here"
        text = "".join(f"{line.inside} {line.outside} {line.count}\n" for line in lines)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{child}/{name}").write_text(text)
        descriptor = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for end in (ready, go):
            os.close(end)
        os.waitpid(child, 0)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def idmapped(directory: bytes, namespace: int) -> Iterator[bytes]:
    """A name of `directory` under which its owners are shifted as `namespace` maps them (mount_setattr(2), MOUNT_ATTR_IDMAP)."""
    plain = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        view = syscalls._call("open_tree", plain, b"", 1 | os.O_CLOEXEC | syscalls.AT_EMPTY_PATH)
    finally:
        os.close(plain)
    try:
        attributes = struct.pack("<QQQQ", _ATTR_IDMAP, 0, 0, namespace)
        syscalls._call("mount_setattr", view, b"", syscalls.AT_EMPTY_PATH, attributes, len(attributes))
        yield b"/proc/self/fd/%d" % view
    finally:
        os.close(view)


def run_inside(namespace: int | None, do: Callable[[], T]) -> T:
    """What `do` returns when root of `namespace` does it, in a process of its own; here and now if there is none."""
    if namespace is None:
        return do()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            if _libc.setns(namespace, _CLONE_NEWUSER):
                raise OSError(ctypes.get_errno(), "setns")
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            with os.fdopen(writing, "wb") as out:
                pickle.dump(do(), out)
            status = 0
        except BaseException as error:  # whatever it is, the child of a test must not go on as a second test run
            sys.stderr.write(f"inside: {error!r}\n")
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        data = answer.read()
    assert os.waitpid(child, 0)[1] == 0, "it failed inside the user namespace"
    result: T = pickle.loads(data)
    return result


def view(root: str) -> dict[bytes, Entry]:
    """Brute force: everything below `root`, as whoever runs this sees it."""
    found: dict[bytes, Entry] = {}

    def add(real: str, path: bytes) -> None:
        status = os.lstat(real)
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        names = sorted(os.fsencode(name) for name in os.listxattr(real, follow_symlinks=False))
        found[path] = Entry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size_bytes=status.st_size if kind is Kind.FILE else 0,
            digest=Digest.of(Path(real).read_bytes()) if kind is Kind.FILE else None,
            target=os.fsencode(os.readlink(real)) if kind is Kind.SYMLINK else b"",
            device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in (Kind.CHAR, Kind.BLOCK) else None,
            xattrs=tuple((name, os.getxattr(real, name, follow_symlinks=False)) for name in names if is_compared_xattr(name)),
        )
        if kind is Kind.DIRECTORY:
            for name in os.listdir(real):
                add(f"{real}/{name}", path.rstrip(b"/") + b"/" + os.fsencode(name))

    add(f"{root}/.", b"/")
    return found
