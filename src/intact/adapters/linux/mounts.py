"""The host's own mount table, and whether it confirms what a runtime declares of a container's overlay.

In: the text of a mountinfo file (proc_pid_mountinfo(5)) of the host's mount namespace, and a declared overlay. Out: the overlay's device,
or the reason why it is not confirmed. Never reads a container's table: a container can mount an overlay of its own that names a host
directory as `upperdir`, and have its reader look there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from intact.model.container import Mounted
from intact.model.entry import display_path
from intact.model.errors import TemporaryError

from . import syscalls
from .threads import Headless, find_thread

HOST_TABLE = Path("/proc/1/mountinfo")
DEFAULTS = Path("/sys/module/overlay/parameters")

_NO_DEFAULTS: Mapping[str, bytes] = MappingProxyType({})
_ESCAPE = re.compile(rb"\\([0-7]{3})")
_UNDERSTOOD = {
    "rw", "ro", "relatime", "noatime", "nodev", "nosuid", "noexec", "lowerdir", "upperdir", "workdir", "index", "nfs_export", "xino",
    "uuid", "userxattr", "volatile", "fsync", "metacopy", "redirect_dir", "default_permissions", "seclabel", "context", "lowerdir+",
    "datadir+", "verity",
}  # fmt: skip
"""Options of overlayfs that the drift scan knows how to read, or that change nothing of what is in the upper directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of the table. `options` are the super block's, in order, values unescaped."""

    device: int
    root: bytes
    target: bytes
    kind: bytes
    source: bytes
    options: tuple[tuple[str, bytes], ...]

    def option(self, name: str) -> bytes | None:
        return next((value for key, value in self.options if key == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unconfirmed:
    """Why the host's table does not bear out what the runtime declares."""

    reason: str


def read_mounts(path: Path = HOST_TABLE) -> tuple[Mount, ...]:
    """The table at `path`. Raises TemporaryError if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TemporaryError(
            f"cannot read the host's mount table {path}: {error.strerror}", hint="run in the host's pid namespace"
        ) from None
    return parse_mounts(data)


def parse_mounts(data: bytes) -> tuple[Mount, ...]:
    """Every line that has the documented shape; octal escapes (`\\040`) undone after splitting."""
    mounts = []
    for line in data.split(b"\n"):
        before, _, after = line.partition(b" - ")
        first, last = before.split(b" "), after.split(b" ")
        if len(first) < 6 or len(last) < 3:
            continue
        major, _, minor = first[2].partition(b":")
        options = tuple(_split_option(item) for item in last[2].split(b","))
        mounts.append(
            Mount(
                device=os.makedev(int(major), int(minor)),
                root=_unescape(first[3]),
                target=_unescape(first[4]),
                kind=last[0],
                source=_unescape(last[1]),
                options=options,
            )
        )
    return tuple(mounts)


def confirm_overlay(
    declared: Mounted, mounts: tuple[Mount, ...], *, root_device: int, defaults: Mapping[str, bytes] = _NO_DEFAULTS
) -> Mounted | Unconfirmed:
    """What the runtime declares, with device and options as the host's table has them, or why it cannot be believed.

    1. `root_device` (`processes.root_device` of the container's first process) is the device of an overlay in the host's table;
    2. that overlay's upper directory is the declared one: the same directory, whatever it is called in either place;
    3. every option of that overlay is understood; those that the table leaves out are the kernel's `defaults` (`read_defaults`);
    4. no lower directory is on a FUSE file system: what its server shows is not what lies anywhere, and it may never answer.
    Lower directories are not compared: for idmapped and for many layers the table shows names that lead nowhere.
    """
    overlay = next((mount for mount in mounts if mount.device == root_device and mount.kind == b"overlay"), None)  # 1
    if overlay is None:
        return Unconfirmed(reason="the root of its first process is no overlay of the host's mount table")
    upper = overlay.option("upperdir")
    if upper is None:
        return Unconfirmed(reason="its overlay has no upper directory")
    if not _is_same_directory(upper, declared.upper):  # 2
        return Unconfirmed(
            reason=f"upperdir is {display_path(upper)} in the host's mount table, {display_path(declared.upper)} for the runtime"
        )
    unknown = sorted({name for name, _ in overlay.options} - _UNDERSTOOD)
    if unknown:  # 3
        return Unconfirmed(reason=f"overlay option not understood: {', '.join(unknown)}")
    if any(_is_fuse(mount) for mount in mounts):  # 4
        for lower in declared.lowers:
            holder = find_mount(lower, mounts)
            if holder is not None and _is_fuse(holder):
                return Unconfirmed(reason=f"its layer {display_path(lower)} is on a FUSE file system ({display_path(holder.kind)})")
    shown = {name: value for name, value in overlay.options if not _is_layer(name)}
    options = tuple(name if not value else f"{name}={os.fsdecode(value)}" for name, value in {**defaults, **shown}.items())
    return replace(declared, device=overlay.device, options=options)


def find_mount(path: bytes, mounts: tuple[Mount, ...]) -> Mount | None:
    """The mount that an absolute path without symbolic links is on: the last one of the longest target. Asks no file system."""
    found: Mount | None = None
    for mount in mounts:
        above = mount.target.rstrip(b"/") + b"/"
        if (path + b"/").startswith(above) and (found is None or len(mount.target) >= len(found.target)):
            found = mount
    return found


def _is_fuse(mount: Mount) -> bool:
    return mount.kind in (b"fuse", b"fuseblk") or mount.kind.startswith(b"fuse.")


def read_defaults(path: Path = DEFAULTS) -> dict[str, bytes]:
    """What overlayfs does where its mount says nothing, as the options that would say it. Nothing where the kernel does not tell: then no
    option is taken for granted."""
    found = {}
    for option in ("metacopy", "index", "nfs_export"):
        if _read_switch(path / option):
            found[option] = b"on"
    if _read_switch(path / "redirect_dir"):
        found["redirect_dir"] = b"on"
    elif _read_switch(path / "redirect_always_follow"):
        found["redirect_dir"] = b"follow"
    return found


def _read_switch(path: Path) -> bool:
    try:
        return path.read_bytes().strip() in (b"Y", b"1")
    except OSError:
        return False


def uses_user_attributes(mounted: Mounted) -> bool:
    """Whether the overlay keeps its own attributes as `user.overlay.*` (option `userxattr`); all others ignore those."""
    return "userxattr" in mounted.options


def _is_same_directory(first: bytes, second: bytes) -> bool:
    if first == second:
        return True
    try:
        return os.path.samestat(os.stat(first), os.stat(second))
    except OSError:
        return False


def _is_layer(name: str) -> bool:
    return name.rstrip("+") in ("lowerdir", "upperdir", "workdir", "datadir")


def _split_option(item: bytes) -> tuple[str, bytes]:
    name, _, value = item.partition(b"=")
    return os.fsdecode(name), _unescape(value)


def _unescape(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)


def root_device(pid: int) -> int | None:
    """st_dev of a process's root: its container's overlay, unless it pivoted elsewhere. None if the process is gone."""
    try:
        return syscalls.device_of(b"/proc/%d/root" % (find_thread(pid) or pid))
    except (OSError, Headless):
        return None
