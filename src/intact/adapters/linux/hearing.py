"""What the kernel under us tells of changes, found out by trying: the doorbell's tier.

In: notification groups and a scratch directory on the file system that holds the snapshots; it is left as it was. Out: a `Tier`. Never
believes a version where a test can be made.

A: a write to a file that is already in an overlay's upper directory is heard from the disk (since Linux 6.5, "ovl: enable fsnotify events
on underlying real files"). B: the disk tells what is created, removed, renamed and changed in its attributes, the overlay itself the
writes. C: less than that.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from intact.observe.ports import Tier

from .fanotify import Group
from .overlay_marks import OverlayGroup, Written
from .scratch import mount_overlay

TIERS = ("A", "B", "C")
_SELF_TEST_S = 2.0
_LOOK_AGAIN_S = 0.005


@dataclass(slots=True)
class _Heard:
    """What came of a file's creation and of a later write to it."""

    creation: bool = False
    write: bool = False
    write_on_overlay: bool = False


def limit_tier(found: Tier, at_most: str) -> Tier:
    """`found`, or the lesser tier that the operator wants."""
    if TIERS.index(found.name) < TIERS.index(at_most):
        return Tier(name=at_most, reason=f"set by the operator; this kernel would give {found.name}")
    return found


def find_tier(group: Group, overlays: OverlayGroup, scratch: Path) -> Tier:
    """The best tier that the kernel gives; by its version where the disk is full, since whoever filled it would else have made the node
    deaf. Raises OSError if nothing can be made in `scratch` for another reason."""
    try:
        return _try_tiers(group, overlays, scratch)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        name = "A" if _kernel_version() >= (6, 5) else "B"
        return Tier(name=name, reason=f"by the kernel's version, not tested: {error.strerror}")


def _try_tiers(group: Group, overlays: OverlayGroup, scratch: Path) -> Tier:
    """By trying.

    An agent without CAP_DAC_OVERRIDE cannot make a writable overlay (its work directory has mode 0): then only the file system's own
    events are tested, and the kernel's version says the rest.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix="intact-self-test-") as name:
        base = os.fsencode(name)
        for part in (b"lower", b"upper", b"work"):
            Path(os.fsdecode(base + b"/" + part)).mkdir()
        try:
            overlay = mount_overlay((base + b"/lower",), base + b"/upper", base + b"/work")
        except OSError:
            heard = _try_writes(group, None, os.open(base + b"/upper", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            heard.write = heard.write and _kernel_version() >= (6, 5)
            heard.write_on_overlay = True
        else:
            heard = _try_writes(group, overlays, overlay)
    if heard.creation and heard.write:
        return Tier(name="A", reason="every write is heard")
    if heard.creation and heard.write_on_overlay:
        return Tier(name="B", reason="writes are heard through each container's overlay (Linux before 6.5)")
    missing = "writes through overlays" if heard.creation else "any changes"
    return Tier(name="C", reason=f"the kernel does not tell of {missing}: timed looks only")


def _try_writes(group: Group, overlays: OverlayGroup | None, place: int) -> _Heard:
    """Creates a file in `place`, which is closed, and writes to it."""
    heard, probe = _Heard(), os.urandom(8).hex().encode()
    device = os.fstat(place).st_dev
    try:
        if overlays is not None:
            try:
                overlays.hear(b"/proc/self/fd/%d" % place, device)
            except OSError:
                overlays = None
        writer = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=place)
        try:
            heard.creation = _hears(group, probe)
            os.write(writer, b"1")
            heard.write_on_overlay = overlays is not None and _hears_overlay(overlays, b"/" + probe)
            heard.write = _hears(group, probe)
        finally:
            os.close(writer)
    finally:
        os.close(place)
    if overlays is not None:
        overlays.forget(device)
    return heard


def _hears(group: Group, name: bytes) -> bool:
    deadline = time.monotonic() + _SELF_TEST_S
    while time.monotonic() < deadline:
        if any(event.name == name for event in group.read()):
            list(group.read())
            return True
        time.sleep(_LOOK_AGAIN_S)
    return False


def _hears_overlay(overlays: OverlayGroup, path: bytes) -> bool:
    deadline = time.monotonic() + _SELF_TEST_S
    while time.monotonic() < deadline:
        if any(isinstance(told, Written) and told.path == path for told in list(overlays.read())):
            return True
        time.sleep(_LOOK_AGAIN_S)
    return False


def _kernel_version() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)
