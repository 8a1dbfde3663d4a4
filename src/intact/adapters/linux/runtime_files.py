"""The files by which a container finds names and hosts: the runtime makes them, and mounts each by itself, so that no layer shows a change.

In: a running container and its mount table. Out: those that are other than they were when the container had started. Never judges, never
reads what is no regular file, nor one of a file system that a server or a process serves.

1. Which they are is fixed: /etc/hosts, /etc/hostname, /etc/resolv.conf, where the container's configuration mounts them so that they can be
   written and `/etc` itself is the image's. Any other file that is mounted by itself is a volume's.
2. What a container does to them in its first `START_S` is what its entry point does; what then stands there is held against all that comes
   later. The kubelet writes /etc/hosts anew with each container of a pod that it starts: with the same content.
3. Of a container that was older when it was first seen, that is what stood there then.
4. Where something lies over such a file, or in its place, the mounts tell of that: it is not opened.
"""

from __future__ import annotations

import errno
import os

from intact.model.container import Running
from intact.model.entry import Entry, Kind
from intact.model.live import MountSeen, Rewritten
from intact.model.observation import Unobserved

from . import syscalls
from .running import File, RunningFiles
from .volumes import SERVED_BY_THE_KERNEL, is_writable_volume
from .walk import say

FILES = frozenset({b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf"})
START_S = 30.0
_ON_THE_OVERLAY = syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_XDEV


def find_rewritten(
    running: Running, table: tuple[MountSeen, ...], files: RunningFiles, before: dict[bytes, Entry]
) -> list[Rewritten | Unobserved]:
    """Those that were rewritten, and those that could not be read. `before`: what they were, kept from look to look. A container whose
    first process left it, or has ended, shows none."""
    mounted = running.mounted
    if mounted is None:
        return []
    wanted = {mount.target for mount in mounted.mounts if mount.target in FILES and is_writable_volume(mount)}
    if not wanted:
        return []
    try:
        root = os.open(f"/proc/{running.init_pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        if syscalls.describe_open(root).device != mounted.device:
            return []
        etc = syscalls.openat2(root, b"etc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, _ON_THE_OVERLAY)
    except OSError:
        return []  # 1
    finally:
        os.close(root)
    try:
        found = [_look_at(etc, target, running, table, files, before) for target in sorted(wanted)]
    finally:
        os.close(etc)
    return [one for one in found if one is not None]


def _look_at(
    etc: int, target: bytes, running: Running, table: tuple[MountSeen, ...], files: RunningFiles, before: dict[bytes, Entry]
) -> Rewritten | Unobserved | None:
    there = [mount for mount in table if mount.target == target]
    if len(there) != 1 or there[0].is_other or there[0].kind not in SERVED_BY_THE_KERNEL:
        return None  # 4
    try:
        held = os.open(target.removeprefix(b"/etc/"), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=etc)
    except OSError as error:
        return None if error.errno == errno.ENOENT else Unobserved(path=target, reason=say(error))
    try:
        device = syscalls.describe_open(held).device
        if device != there[0].device and there[0].kind != b"btrfs":  # which has one for each subvolume
            return None  # 4
        status = os.fstat(held)
        read = files.read(File(link=b"/proc/self/fd/%d" % held, path=target, device=device))
    finally:
        os.close(held)
    known = before.get(target)
    if read is None or (read.digest is None and (known is None or known.size_bytes == read.size_bytes)):
        return Unobserved(path=target, reason="it could not be read")
    entry = Entry(
        path=target,
        kind=Kind.FILE,
        mode=read.mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size_bytes=read.size_bytes,
        digest=read.digest,
    )
    if known is None or status.st_ctime < running.container.started_at + START_S:  # 2, 3
        known = before[target] = entry
    return None if entry == known else Rewritten(before=known, entry=entry, changed_at=status.st_ctime)
