"""The writable layer of a running container: what it adds, replaces and removes.

In: a container, its overlay's upper directory as a `Tree`, and the image's baseline. Out: an `Observation` of scope DRIFT. Never judges
whether a difference matters, never believes the container's own view, and reads content only where a judgement will need it.

The forms are those of the kernel's Documentation/filesystems/overlayfs.rst:

1. a character device 0:0 is a whiteout: the name is gone;
2. a directory with `opaque` = y hides everything the layers beneath hold below it;
3. `metacopy`: the file's content is still in a layer beneath, the upper file is a hole; `redirect`: a directory's is, under
   another name (`beneath`): such files have the image's content, and what a renamed directory holds is present under its new name;
4. anything else is present, with the owner as the container's user namespace shows it;
5. a file is hashed when it has the kind and size the image declares, or, from a budget of its own, when it is worth reading
   (`choose_reading`); data is not opened; one that does not hold still differs if what was read of it does;
6. beyond the budget only what matters is listed (`room`); the rest is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from intact.model.container import IdMap, Running
from intact.model.digest import SHA256, Algorithms
from intact.model.entry import Entry, Kind, ancestors, parent
from intact.model.errors import InputError
from intact.model.layer import Baseline
from intact.model.observation import Observation, Reading, Scope, Unobserved

from .beneath import Beneath, is_metadata_only, is_moved
from .owners import map_owners
from .ports import Budget, Content, Node, Tree, Unsteady
from .room import Room, Rooms, shorten_attributes

SHOWN_HASH_BYTES = 64 << 20
"""Up to this size a file of other size than the image's is hashed all the same, so that people see both hashes."""
SMALL_BYTES = 1 << 20
"""Up to this size an added file is hashed, whatever it is, where nobody says how much is worth reading."""

_CODE = (b"\x7fELF", b"#!/", b"#! /", b"<?php", b"<?=", b"\xca\xfe\xba\xbe", b"\0asm", b"\x1bLua", b"dex\n")
"""How programs, scripts, PHP, Java classes, WebAssembly, Lua's and Android's bytecode begin (magic(5))."""
_HEAD_BYTES = 16
_WHITEOUT = (0, 0)


def scan_drift(running: Running, tree: Tree, *, baseline: Baseline | None, clock: Callable[[], float],
               only: Iterable[bytes] | None = None, budget: Budget | None = None,
               speaks: Callable[[Entry], bool] | None = None,
               choose_reading: Callable[[Entry, Entry | None], Reading] | None = None) -> Observation:  # fmt: skip
    """Looks at the upper directory: all of it, or `only` the named paths (`Rings.dirty`: one that ends in a slash with all below it).

    `clock` gives Unix seconds. `speaks` tells whether a rule would speak for an added entry (`room`), `choose_reading` how much
    of a file is worth reading that has not the size of the image's file, or that the image has not. Widens `only` to everything when a
    named file has several hard links, since its events carry one name of them. Raises InputError for a container that has no confirmed
    overlay.
    """
    mounted = running.mounted
    if mounted is None:
        raise InputError(f"container {running.container.id} cannot be scanned: {running.unobservable}", code="Unobservable")
    started = clock()
    limits = budget or Budget()
    wanted = None if only is None else frozenset(only)
    choose = choose_reading or read_small
    scan = _Scan(tree, baseline, mounted.uid_map, mounted.gid_map, limits, Beneath.of(mounted, baseline), Rooms(limits, speaks), choose)
    if wanted is not None and not scan.cover(wanted):
        scan = _Scan(tree, baseline, mounted.uid_map, mounted.gid_map, limits, Beneath.of(mounted, baseline), Rooms(limits, speaks), choose)
        scan.cover_everything(wanted)
    elif wanted is None:
        scan.cover_everything()
    scan.tell_bounds()
    return Observation(
        container=running.container,
        scope=Scope.DRIFT,
        present=tuple(sorted(scan.present, key=lambda entry: entry.path)),
        absent=tuple(sorted(scan.absent)),
        opaque=tuple(sorted(scan.opaque)),
        unobserved=tuple(scan.unobserved),
        targets=mounted.targets,
        unlisted=scan.unlisted,
        silent=scan.rooms.silent,
        runnable=tuple(sorted(scan.runnable)),
        started_at=started,
        finished_at=clock(),
    )


def _look(tree: Tree, wanted: frozenset[bytes], limits: Budget) -> Iterator[Node | Unobserved]:
    """The wanted paths with what is above them, each once."""
    below = {path.rstrip(b"/") or b"/" for path in wanted if path.endswith(b"/")}
    starts = []
    for found in tree.visit(path.rstrip(b"/") or b"/" for path in wanted):
        path = found.path if isinstance(found, Unobserved) else found.entry.path
        if any(above in below for above in ancestors(path)):
            continue
        if path in below and isinstance(found, Node) and found.entry.kind is Kind.DIRECTORY:
            starts.append(path)
        else:
            yield found
    for start in starts:
        yield from tree.walk(start, seconds=limits.seconds)


@dataclass(slots=True)
class _Scan:
    """One look in the making."""

    tree: Tree
    baseline: Baseline | None
    uid_map: tuple[IdMap, ...]
    gid_map: tuple[IdMap, ...]
    limits: Budget
    beneath: Beneath
    rooms: Rooms
    choose_reading: Callable[[Entry, Entry | None], Reading]
    runnable: list[bytes] = field(default_factory=list)
    gone: Room = field(init=False)
    unseen: Room = field(init=False)
    present: list[Entry] = field(default_factory=list)
    absent: list[bytes] = field(default_factory=list)
    opaque: list[bytes] = field(default_factory=list)
    unobserved: list[Unobserved] = field(default_factory=list)
    unlisted: int = 0
    algorithms: Algorithms | None = None
    hashed_bytes: int = 0
    shown_bytes: int = 0

    def __post_init__(self) -> None:
        self.gone, self.unseen = self.rooms.make(), self.rooms.make()

    def cover(self, wanted: frozenset[bytes]) -> bool:
        """Looks; False, and to be done again for everything, if one of the wanted files has other names too, or what is not looked at
        would be taken for deleted, or is below a renamed directory: what that brought with it is not in the upper directory."""
        for found in _look(self.tree, wanted, self.limits):
            if isinstance(found, Node) and (self._has_other_names(found) or self._hides_some(found) or is_moved(found)):
                return False
            self.take(found)
        return True

    def cover_everything(self, first: Iterable[bytes] = ()) -> None:
        """Looks at all of it, at the paths `first` before the rest: whatever bound bites later, it does not bite them."""
        taken: set[bytes] = set()
        for found in self.tree.visit(path.rstrip(b"/") or b"/" for path in first):
            if isinstance(found, Node):
                taken.add(found.entry.path)
                self.take(found)
        for found in self.tree.walk(seconds=self.limits.seconds):
            if isinstance(found, Unobserved) or found.entry.path not in taken:
                self.take(found)
        self._take_moved()

    def _has_other_names(self, found: Node) -> bool:
        return found.links > 1 and found.entry.kind is Kind.FILE

    def _hides_some(self, found: Node) -> bool:
        """Whether `found` is a directory put in place of one of the image: what it holds must be seen to tell what is gone."""
        if self.baseline is None or found.overlay.get(b"opaque") != b"y":
            return False
        return next(self.baseline.scan(found.entry.path), None) is not None

    def take(self, found: Node | Unobserved) -> None:
        if isinstance(found, Unobserved):
            self._note(found)
            return
        path = found.entry.path
        if found.entry.kind is Kind.CHAR and found.entry.device == _WHITEOUT:  # 1
            if self.gone.take(len(path)):
                self.absent.append(path)
            else:
                self.unlisted += 1
            return
        expected = self.baseline.find(path) if self.baseline else None
        unknown = self.beneath.enter(found) if found.entry.kind is Kind.DIRECTORY else None  # 3
        entry = map_owners(found.entry, self.uid_map, self.gid_map)  # 4
        if entry.xattrs and (expected is None or entry.xattrs != expected.xattrs):
            entry = replace(entry, xattrs=shorten_attributes(entry.xattrs))
        is_admitted = self.rooms.admit(entry, expected)
        if not is_admitted and expected is None:
            return
        if found.overlay.get(b"opaque") == b"y" or (is_moved(found) and unknown is None):  # 2
            self.opaque.append(path)
        if path == b"/" and _is_as_the_runtime_makes_it(entry):
            return
        if unknown is not None:
            self._note(unknown)
        elif is_metadata_only(found):  # 3
            shown = self.beneath.find_content(found)
            if isinstance(shown, Unobserved):
                self._note(shown)
            else:
                entry = replace(entry, digest=shown.digest, further=shown.further)
        elif entry.kind is Kind.FILE and (content := self._hash(found, expected)):  # 5
            entry = replace(entry, digest=content.digest, further=content.further)
        if is_admitted or (expected is not None and self.rooms.admit_differing(entry, expected)):
            self.present.append(entry)

    def _take_moved(self) -> None:
        """3. What renamed directories show of the layers beneath, where the upper directory does not say otherwise."""
        moved = [path for path, origin in self.beneath.directories.items() if origin is not None]
        if not moved:
            return
        own = {entry.path for entry in self.present}
        ends = {entry.path for entry in self.present if entry.kind is not Kind.DIRECTORY}
        ends.update(self.absent, self.opaque, (one.path for one in self.unobserved))
        left = 10 * self.limits.entries
        for directory in sorted(moved):
            gone: set[bytes] = set()
            for entry in self.beneath.list_moved(directory):
                left -= 1
                if left < 0:
                    self._note(Unobserved(path=directory, reason="redirect: too many entries in the layers beneath"))
                    return
                above = parent(entry.path)
                if above in gone or (above in ends and above != directory):
                    gone.add(entry.path)
                elif entry.path in own or entry.path in ends:
                    continue
                elif self._admits(entry, self.baseline.find(entry.path) if self.baseline else None):
                    self.present.append(entry)

    def _admits(self, entry: Entry, expected: Entry | None) -> bool:
        return self.rooms.admit(entry, expected) or (expected is not None and self.rooms.admit_differing(entry, expected))

    def tell_bounds(self) -> None:
        """6. A bound that bit is said, never silent. Where entries of the image were only counted, it cannot be told what is missing from a
        directory that hides the layers beneath."""
        self.unlisted += self.rooms.left_out
        if self.rooms.same:
            self.unobserved += [Unobserved(path=path, reason=f"{self.rooms.same} entries as the image has them were counted and not listed")
                                for path in self.opaque]  # fmt: skip
        if self.unlisted:
            self.unobserved.append(Unobserved(path=b"/", reason=f"{self.unlisted} more entries were counted and not listed"))

    def _note(self, unobserved: Unobserved) -> None:
        if self.unseen.take(len(unobserved.path)):
            self.unobserved.append(unobserved)
        else:
            self.unlisted += 1

    def _hash(self, node: Node, expected: Entry | None) -> Content | None:
        """5. The digest, by what the baseline is compared by, where one is wanted; None where the size tells, or nobody will ask."""
        size = node.entry.size_bytes
        is_needed = expected is not None and expected.kind is Kind.FILE and expected.size_bytes == size
        if not is_needed and not self._is_worth_showing(node, expected):
            return None
        if not is_needed:  # a budget of its own, or files that need no hash leave none for those that do
            if self.shown_bytes + size > self.limits.read_bytes // 16:
                return None
            self.shown_bytes += size
        elif self.hashed_bytes + size > self.limits.read_bytes:
            self._note(Unobserved(path=node.entry.path, reason=f"more than {self.limits.read_bytes} bytes to read in one look"))
            return None
        else:
            self.hashed_bytes += size
        if self.algorithms is None:
            self.algorithms = self.baseline.compared_by if self.baseline else SHA256
        result = self.tree.digest(node, size if is_needed else SHOWN_HASH_BYTES, self.algorithms)
        if isinstance(result, Content):
            return result
        if is_needed and isinstance(result, Unsteady) and expected is not None and result.content.digest != expected.digest:
            return result.content  # it never held still, and was not the image's when it was read
        if is_needed:
            self._note(result.unobserved if isinstance(result, Unsteady) else result)
        return None

    def _is_worth_showing(self, node: Node, expected: Entry | None) -> bool:
        """Whether it is to be hashed though its size tells that it is not the image's; notes what begins as code."""
        reading = self.choose_reading(node.entry, expected)
        if reading is Reading.NOTHING:
            return False
        if expected is None:
            head = self.tree.head(node, _HEAD_BYTES)
            if isinstance(head, bytes) and (head.startswith(_CODE) or _is_bytecode(head)):
                self.runnable.append(node.entry.path)
                reading = Reading.WHOLE
        return reading is Reading.WHOLE and node.entry.size_bytes <= SHOWN_HASH_BYTES


def read_small(entry: Entry, expected: Entry | None) -> Reading:
    """What is read where nobody says what is worth it: what is small, may be executed, or was the image's."""
    return Reading.WHOLE if expected is not None or entry.size_bytes <= SMALL_BYTES or entry.mode & 0o111 else Reading.HEAD


def _is_bytecode(head: bytes) -> bool:
    """Whether a file begins as a `.pyc` of Python 3 does: a number from 3000 on and a line end (importlib, MAGIC_NUMBER)."""
    return head[2:4] == b"\r\n" and 3000 <= int.from_bytes(head[:2], "little") < 4000


def _is_as_the_runtime_makes_it(root: Entry) -> bool:
    """The runtime makes the upper directory itself, whatever the image says of `/`: only another mode or owner was set by somebody.
    containerd makes it 0755, containers-storage 0555."""
    return root.mode in (0o755, 0o555) and root.uid == 0 and root.gid == 0 and not root.xattrs
