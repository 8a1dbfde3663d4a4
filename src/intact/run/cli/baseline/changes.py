"""The differences of two images, gathered by the layer that brought them, and printed for people.

Holds no more than it prints: of each layer the first paths, and numbers by directory for what lies beyond.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

import click

from intact.compare.images import Pairing
from intact.model.entry import Entry, Kind, display_path, parent
from intact.model.finding import Change, Difference
from intact.model.layer import Baseline

from .files import clean
from .inputs import Named
from .sizes import show_size

MARKS = {
    Change.ADDED: "+", Change.DELETED: "-", Change.TYPE: "t", Change.MODIFIED: "~", Change.METADATA: "m", Change.UNREAD: "?",
    Change.EXECUTED: "x", Change.MOUNTED: "o",
}  # fmt: skip
_WORDS = {
    Change.ADDED: "added", Change.DELETED: "deleted", Change.TYPE: "other type", Change.MODIFIED: "modified",
    Change.METADATA: "metadata only", Change.UNREAD: "not compared",
    Change.EXECUTED: "executed", Change.MOUNTED: "mounted over",
}  # fmt: skip
_COLOURS = {Change.ADDED: "green", Change.DELETED: "red", Change.TYPE: "magenta", Change.MODIFIED: "yellow", Change.METADATA: "cyan",
            Change.UNREAD: None, Change.EXECUTED: "red", Change.MOUNTED: "red"}  # fmt: skip
DIRECTORIES = 20
"""Lines of a summary by directory."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A layer of B (`is_after`) or of A, counted from 0."""

    is_after: bool
    number: int


@dataclass(slots=True)
class Group:
    """What one layer brought. `below` counts per directory everything in it and below it."""

    counts: Counter[Change] = field(default_factory=Counter)
    size_bytes: int = 0
    lines: list[tuple[Change, str]] = field(default_factory=list)
    direct: dict[bytes, Counter[Change]] = field(default_factory=dict)
    sizes: Counter[bytes] = field(default_factory=Counter)


@dataclass(slots=True)
class Changes:
    """`keep`: how many paths of a layer are named; None for all, 0 where nobody prints them. `unsized`: what A or B alone has and does not
    state the size of."""

    KEEP: ClassVar[int] = 60
    keep: int | None
    unsized: frozenset[Change] = frozenset()
    counts: Counter[Change] = field(default_factory=Counter)
    sizes: Counter[Change] = field(default_factory=Counter)
    groups: dict[Place, Group] = field(default_factory=dict)

    def take(self, difference: Difference, place: Place) -> None:
        size = count_bytes(difference)
        self.counts[difference.change] += 1
        self.sizes[difference.change] += size
        if self.keep == 0:
            return
        group = self.groups.setdefault(place, Group())
        group.counts[difference.change] += 1
        group.size_bytes += size
        if self.keep is None or len(group.lines) < self.keep:
            told = describe_change(difference, sized=difference.change not in self.unsized)
            group.lines.append((difference.change, f"{display_path(difference.path)}  {told}".rstrip()))
        if self.keep is not None:
            above = parent(difference.path)
            group.direct.setdefault(above, Counter())[difference.change] += 1
            group.sizes[above] += size

    def totals(self) -> dict[str, dict[str, int]]:
        return {change.value: {"count": self.counts[change], "bytes": self.sizes[change]} for change in Change if self.counts[change]}


def count_bytes(difference: Difference) -> int:
    """By how much B's files are larger than A's at this path."""
    return _size(difference.actual) - _size(difference.expected)


def _size(entry: Entry | None) -> int:
    return entry.size_bytes if entry is not None and entry.kind is Kind.FILE else 0


def describe_change(difference: Difference, *, sized: bool = True) -> str:
    """What of it changed, in a few words: `mode 0644 -> 0755`, `1.2 kB -> 1.3 kB`."""
    one, other = difference.expected, difference.actual
    if one is None or other is None:
        there = one or other
        return _describe_lone(there, sized) if there is not None else ""
    if one.kind is not other.kind:
        return f"{one.kind} -> {other.kind}"
    words = []
    for name in difference.fields:
        match name:
            case "content":
                same = one.size_bytes == other.size_bytes
                words.append(show_size(other.size_bytes) if same else f"{show_size(one.size_bytes)} -> {show_size(other.size_bytes)}")
            case "mode":
                words.append(f"mode {one.mode:04o} -> {other.mode:04o}")
            case "uid":
                words.append(f"uid {one.uid} -> {other.uid}")
            case "gid":
                words.append(f"gid {one.gid} -> {other.gid}")
            case "xattrs":
                words.append(f"extended attributes {_names(one)} -> {_names(other)}")
            case "target":
                words.append(f"-> {display_path(one.target, 255)} is now -> {display_path(other.target, 255)}")
            case "device":
                words.append(f"{_describe_lone(one, sized)} -> {_describe_lone(other, sized)}")
            case _:
                pass
    return ", ".join(words)


def _describe_lone(entry: Entry, sized: bool) -> str:
    match entry.kind:
        case Kind.FILE:
            return show_size(entry.size_bytes) if sized else ""
        case Kind.SYMLINK:
            return f"-> {display_path(entry.target, 255)}"
        case Kind.CHAR | Kind.BLOCK if entry.device is not None:
            return f"{entry.kind} {entry.device[0]}:{entry.device[1]}"
        case _:
            return str(entry.kind)


def _names(entry: Entry) -> str:
    return "+".join(display_path(name, 100) for name, _ in entry.xattrs) or "none"


def print_changes(changes: Changes, one: Named, other: Named, pairing: Pairing) -> None:
    """Both sides, what they share, totals, then layer by layer from the lowest."""
    _print_side("A", one)
    _print_side("B", other)
    shared, layers = len(pairing.pairs), len(other.baseline.layers)
    if layers > 1 or shared:
        click.echo(f"{shared} of {layers} layers shared")
    if not changes.counts:
        click.echo("intact: nothing differs", err=True)
        return
    for change, count in sorted(changes.counts.items(), key=lambda item: list(Change).index(item[0])):
        size = changes.sizes[change]
        told = f"  {show_size(size, signed=True)}" if size else ""
        click.echo(click.style(f"  {MARKS[change]} {count:>9,} {_WORDS[change]}{told}", fg=_COLOURS[change]))
    for place in sorted(changes.groups, key=lambda p: (not p.is_after, p.number)):
        _print_group(place, changes, one.baseline, other.baseline)


def _print_side(letter: str, named: Named) -> None:
    baseline = named.baseline
    layers = f"{len(baseline.layers)} layer{'s' if len(baseline.layers) != 1 else ''}"
    click.echo(f"{letter}  {clean(named.name)}  {str(baseline.key)[:19]}  {baseline.grade.title}  {layers}")


def _print_group(place: Place, changes: Changes, before: Baseline, after: Baseline) -> None:
    group = changes.groups[place]
    layers = after.layers if place.is_after else before.layers
    what = f"layer {place.number + 1} of B" if place.is_after else f"gone with layer {place.number + 1} of A"
    size = f"  {show_size(group.size_bytes, signed=True)}" if group.size_bytes else ""
    click.echo("")
    click.echo(click.style(f"{what}  {str(layers[place.number].diff_id)[:19]}  {_show_counts(group.counts)}{size}", bold=True))
    if changes.keep is None or group.counts.total() <= changes.keep:
        for change, line in group.lines:
            click.echo(click.style(f"  {MARKS[change]} {line}", fg=_COLOURS[change]))
        return
    for directory, counts, bytes_below, is_whole in summarise(group):
        told = f"  {show_size(bytes_below, signed=True)}" if bytes_below else ""
        name = display_path(directory).rstrip("/") + ("/**" if is_whole else "/*")
        click.echo(f"  {_show_counts(counts):<24} {name}{told}")
    click.echo(f"  {group.counts.total():,} paths; --all names each")


def _show_counts(counts: Counter[Change]) -> str:
    return " ".join(f"{MARKS[change]}{counts[change]:,}" for change in Change if counts[change])


def summarise(group: Group, limit: int = DIRECTORIES) -> list[tuple[bytes, Counter[Change], int, bool]]:
    """The directories that say most of where the changes lie, in order of path: (directory, counts, bytes, with everything below it).

    Begins with the root and takes the largest apart, one directory after the other, as long as the lines last.
    """
    total: dict[bytes, Counter[Change]] = {}
    sizes: Counter[bytes] = Counter()
    below: dict[bytes, set[bytes]] = {}
    for directory, counts in group.direct.items():
        at = directory
        while True:
            total.setdefault(at, Counter()).update(counts)
            sizes[at] += group.sizes[directory]
            if at == b"/":
                break
            below.setdefault(parent(at), set()).add(at)
            at = parent(at)
    whole = {b"/"}
    apart: set[bytes] = set()
    while True:
        split = max((d for d in whole if below.get(d)), key=lambda d: (total[d].total(), d), default=None)
        if split is None or len(whole) + len(apart) - 1 + len(below[split]) + (split in group.direct) > limit:
            break
        whole.remove(split)
        whole |= below[split]
        if split in group.direct:
            apart.add(split)
    lines = [(directory, total[directory], sizes[directory], bool(below.get(directory))) for directory in whole]
    lines += [(directory, group.direct[directory], group.sizes[directory], False) for directory in apart]
    return sorted(lines, key=lambda line: line[0])
