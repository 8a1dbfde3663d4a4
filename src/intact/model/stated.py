"""What a baseline states of a tree. One made from an image states everything; a list that people bring states what its format can say.

In: entries. Out: what may be compared of them. A baseline never pretends: what its list did not state is taken from the other side before
two entries are compared, and of paths it does not speak of nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from .entry import Entry, Kind, ancestors, display_path


class Aspect(StrEnum):
    """Named as the fields of a difference are."""

    CONTENT = "content"
    WEAK_CONTENT = "weak-content"
    """Content, but by algorithms that decide nothing: that a file differs can be shown, that it does not cannot."""
    SIZE = "size"
    MODE = "mode"
    UID = "uid"
    GID = "gid"
    XATTRS = "xattrs"
    TARGET = "target"
    DEVICE = "device"


EVERY_KIND = frozenset(Kind)
EVERY_ASPECT = frozenset(Aspect) - {Aspect.WEAK_CONTENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """Of which kinds a baseline has every path, and what it says of each. `below`: the directories it speaks of, sorted."""

    kinds: frozenset[Kind] = EVERY_KIND
    aspects: frozenset[Aspect] = EVERY_ASPECT
    below: tuple[bytes, ...] = (b"/",)

    @property
    def is_everything(self) -> bool:
        return self.kinds == EVERY_KIND and self.aspects == EVERY_ASPECT and self.below == (b"/",)

    @property
    def is_weak(self) -> bool:
        """Whether equal content was only shown by algorithms that decide nothing."""
        return Aspect.WEAK_CONTENT in self.aspects and Aspect.CONTENT not in self.aspects

    def speaks_of(self, entry: Entry) -> bool:
        """Whether the baseline would have `entry` if it were there."""
        return entry.kind in self.kinds and self.reaches(entry.path)

    def reaches(self, path: bytes) -> bool:
        """Whether `path` is one of the directories the baseline speaks of, or below one."""
        return self.below == (b"/",) or path in self.below or any(above in self.below for above in ancestors(path))

    def complete(self, entry: Entry, other: Entry) -> Entry:
        """`entry` with what is not stated taken from `other`, so that only what is stated can differ."""
        aspects = self.aspects
        return replace(
            entry,
            mode=entry.mode if Aspect.MODE in aspects else other.mode,
            uid=entry.uid if Aspect.UID in aspects else other.uid,
            gid=entry.gid if Aspect.GID in aspects else other.gid,
            size_bytes=entry.size_bytes if Aspect.SIZE in aspects else other.size_bytes,
            digest=entry.digest if Aspect.CONTENT in aspects else None if Aspect.WEAK_CONTENT in aspects else other.digest,
            further=entry.further if aspects & {Aspect.CONTENT, Aspect.WEAK_CONTENT} else other.further,
            xattrs=entry.xattrs if Aspect.XATTRS in aspects else other.xattrs,
            target=entry.target if Aspect.TARGET in aspects else other.target,
            device=entry.device if Aspect.DEVICE in aspects else other.device,
        )

    def name_missing(self) -> tuple[str, ...]:
        """What is not stated, for people: kinds first, then aspects."""
        kinds = [f"{kind} entries" for kind in Kind if kind not in self.kinds]
        if self.kinds == {Kind.FILE}:
            kinds = ["all that is no regular file"]
        aspects = [aspect.value for aspect in Aspect if aspect in EVERY_ASPECT and aspect not in self.aspects]
        if self.kinds == {Kind.FILE}:
            aspects = [aspect for aspect in aspects if aspect not in (Aspect.TARGET, Aspect.DEVICE)]
        if self.is_weak:
            aspects[aspects.index("content")] = "content by a strong algorithm"
        above = [] if self.below == (b"/",) else ["what lies elsewhere than below " + ", ".join(map(display_path, self.below))]
        return (*kinds, *aspects, *above)


EVERYTHING = Stated()
