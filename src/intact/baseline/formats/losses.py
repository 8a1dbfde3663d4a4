"""What a format cannot say, counted while it is written or read, and one sentence of it for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from intact.model.entry import Kind

_WORDS = {
    Kind.FILE: ("file", "files"),
    Kind.DIRECTORY: ("directory", "directories"),
    Kind.SYMLINK: ("symlink", "symlinks"),
    Kind.CHAR: ("character device", "character devices"),
    Kind.BLOCK: ("block device", "block devices"),
    Kind.FIFO: ("FIFO", "FIFOs"),
    Kind.SOCKET: ("socket", "sockets"),
}


@dataclass(slots=True)
class Losses:
    """`entries` that have no place in the format, `parts` of entries that have none, and what it never says `of_all` entries."""

    entries: Counter[Kind] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    of_all: tuple[str, ...] = ()
    notes: Counter[str] = field(default_factory=Counter)
    """What was read and is worth knowing, though nothing is lost by it."""

    def __bool__(self) -> bool:
        return bool(self.entries or self.parts or self.of_all)

    def describe(self) -> str:
        """`312 directories, 40 symlinks, extended attributes of 3 entries, mode and owner of all`; empty where nothing is lost."""
        found = [*name_kinds(self.entries)]
        found += [f"{part} of {count:,} {'entry' if count == 1 else 'entries'}" for part, count in sorted(self.parts.items())]
        if self.of_all:
            found.append(f"{join_words(self.of_all)} of all")
        return ", ".join(found)


def name_kinds(counts: Mapping[Kind, int]) -> tuple[str, ...]:
    """`312 directories`, `1 symlink`."""
    return tuple(f"{counts[kind]:,} {_WORDS[kind][counts[kind] != 1]}" for kind in Kind if counts.get(kind))


def join_words(words: tuple[str, ...]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
