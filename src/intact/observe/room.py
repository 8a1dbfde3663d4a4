"""What one look may keep in memory: so many entries, and so many bytes of names, link targets and attributes.

In: entries, in whatever order somebody made them. Out: whether an entry is listed, and how many were not. Never reads a file.

A crowd hides nothing, since what matters has room of its own once the common room is full:

1. entries at the image's paths; when that is full too, those of them that differ from the image;
2. files that can be executed or grant rights, and devices;
3. added entries for which some rule would speak;
4. what is left are added entries that no rule speaks for: they are counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from intact.model.entry import Entry, Kind

from .ports import Budget

LONGEST_ATTRIBUTES = 512
"""Attributes of one entry that are longer, and not the image's, are known by their hash."""

Attributes = tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True)
class Room:
    """Room for so many entries and bytes."""

    entries: int
    size_bytes: int

    def take(self, size_bytes: int) -> bool:
        """Whether there was room for one more of this size."""
        if self.entries < 1 or self.size_bytes < size_bytes:
            return False
        self.entries -= 1
        self.size_bytes -= size_bytes
        return True


@dataclass(slots=True)
class Rooms:
    """The rooms of one look. `speaks`: whether a rule would speak for an added entry, whatever it holds; without it nobody knows."""

    limits: Budget
    speaks: Callable[[Entry], bool] | None = None
    silent: int = 0
    """4. Added entries that were counted only, and that no rule speaks for."""
    same: int = 0
    """1. Entries as the image has them that were counted only."""
    left_out: int = 0
    """Entries that were counted only, and may matter."""
    common: Room = field(init=False)
    of_image: Room = field(init=False)
    differing: Room = field(init=False)
    grave: Room = field(init=False)
    spoken_for: Room = field(init=False)

    def __post_init__(self) -> None:
        self.common, self.of_image, self.differing, self.grave, self.spoken_for = (self.make() for _ in range(5))

    def make(self) -> Room:
        return Room(self.limits.entries, self.limits.kept_bytes)

    def admit(self, entry: Entry, expected: Entry | None) -> bool:
        """Whether `entry` is to be listed. False for one of the image means: only if it differs (`admit_differing`)."""
        size_bytes = measure(entry)
        if self.common.take(size_bytes):
            return True
        if expected is not None:
            return self.of_image.take(size_bytes)
        if _grants(entry) and self.grave.take(size_bytes):
            return True
        if self.speaks is not None and not self.speaks(entry):
            self.silent += 1
            return False
        if self.speaks is not None and self.spoken_for.take(size_bytes):
            return True
        self.left_out += 1
        return False

    def admit_differing(self, entry: Entry, expected: Entry) -> bool:
        """1. Whether an entry of the image, read by now, is to be listed though the room for those is full."""
        if entry == expected:
            self.same += 1
            return False
        if self.differing.take(measure(entry)):
            return True
        self.left_out += 1
        return False


def measure(entry: Entry) -> int:
    """The bytes of `entry` whose number somebody else chooses."""
    return len(entry.path) + len(entry.target) + sum(len(name) + len(value) for name, value in entry.xattrs)


def shorten_attributes(xattrs: Attributes) -> Attributes:
    """`xattrs`, or, if they are long, one that stands for all: the same for the same ones, another for others. File capabilities stay as
    they are: rules look for them."""
    size_bytes = sum(len(name) + len(value) for name, value in xattrs)
    if size_bytes <= LONGEST_ATTRIBUTES:
        return xattrs
    whole = hashlib.sha256()
    for name, value in xattrs:
        whole.update(b"%d %d " % (len(name), len(value)) + name + value)
    kept = tuple((name, value) for name, value in xattrs if name == b"security.capability" and len(value) <= LONGEST_ATTRIBUTES)
    said = f"{len(xattrs)} attributes of {size_bytes} bytes, sha256 {whole.hexdigest()}"
    return (*kept, ("user.…".encode(), said.encode()))


def _grants(entry: Entry) -> bool:
    if entry.kind in (Kind.CHAR, Kind.BLOCK):
        return True
    return entry.kind is Kind.FILE and bool(entry.mode & 0o6111 or any(name == b"security.capability" for name, _ in entry.xattrs))
