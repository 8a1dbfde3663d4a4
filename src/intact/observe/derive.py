"""Where added files come from: a `.pyc` from a source of the image, other code from an archive of the image.

In: entries that a container added, its baseline, its directories. Out: a `Derivation` for each. The bytes that are judged are those whose
digest the entry states, and what they are held against are bytes whose digest the baseline states; a matching name, time or header proves
nothing. Nothing is parsed here: that is the workshop's, in another process.

1. A `.pyc` in `__pycache__` is compiled again from the source beside it, its links followed in the image's tree.
2. Anything else is looked for among the members of the image's archives, those nearest to it first. What no archive has a member of the
   size of needs no search.
3. What cannot be read, or not in time, is not known.
"""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

from intact.model.container import Mounted, Running
from intact.model.derivation import Derivation, Proof
from intact.model.digest import Algorithms
from intact.model.entry import Entry, Kind, ancestors
from intact.model.errors import InputError
from intact.model.hashing import choose_hasher
from intact.model.layer import Baseline
from intact.model.observation import Unobserved
from intact.model.resolve import resolve

from .ports import Content, Node, Tree, Workshop

MAX_BYTECODE_BYTES = 4 << 20
MAX_SOURCE_BYTES = 2 << 20
MAX_MEMBER_BYTES = 64 << 20
MAX_ARCHIVE_BYTES = 256 << 20
MAX_ARCHIVES = 256
MAX_ARCHIVES_BYTES = 1 << 30
"""Of one image, all together."""
MAX_FORGED = 20
"""After so many forged ones the others of a batch are not looked into: they would cost their container nothing, and the node a lot."""
REMEMBERED = 20_000
REMEMBERED_IMAGES = 256

_BYTECODE = re.compile(rb"(?s:(.*))/__pycache__/([^/]+)\.(?:cpython)-[0-9]+(?:\.opt-([12]))?\.pyc")
_ARCHIVES = (b".jar", b".war", b".ear", b".zip", b".whl", b".egg", b".ez")
_NOWHERE = Derivation(proof=Proof.UNKNOWN, reason="no archive of the image holds it")
_MEMBER = Derivation(proof=Proof.DERIVED, reason="equals a member of an archive of the image")

OpenTree = Callable[[bytes], AbstractContextManager[Tree]]
"""Opens a directory of the host. Raises InputError or OSError where there is none."""


@dataclass(slots=True)
class _Archives:
    """The archives of one image, and the sizes of what is in those that were read."""

    entries: tuple[Entry, ...]
    sizes: dict[bytes, array[int]] = field(default_factory=dict)

    def may_hold(self, size: int) -> bool:
        return any(archive.path not in self.sizes or _has(self.sizes[archive.path], size) for archive in self.entries)


@dataclass(slots=True)
class Deriver:
    """Remembers what was established, by image, path and content. `recall` is for one thread and `establish` for another."""

    open_tree: OpenTree
    workshop: Workshop
    _known: OrderedDict[bytes, Derivation] = field(default_factory=OrderedDict)
    _archives: OrderedDict[bytes, _Archives] = field(default_factory=OrderedDict)

    def recall(self, baseline: Baseline, entries: Iterable[Entry]) -> tuple[dict[bytes, Derivation], tuple[Entry, ...]]:
        """What is known of `entries` by path, and those that `establish` must be asked about."""
        root = baseline.root.value
        known, unknown = {}, []
        for entry in entries:
            held = self._known.get(_key(root, entry)) or self._tell_at_once(root, entry)
            if held is None:
                unknown.append(entry)
            else:
                known[entry.path] = held
        return known, tuple(unknown)

    def prepare(self, baseline: Baseline) -> None:
        """Finds the archives of an image, so that where there are none nothing need be waited for."""
        self._find_archives(baseline)

    def establish(self, running: Running, baseline: Baseline, entries: Sequence[Entry]) -> dict[bytes, Derivation]:
        """Finds out about each of `entries`, which takes seconds. Never raises for what the container or the image did."""
        mounted = running.mounted
        found, entries = self.recall(baseline, entries)  # what was asked meanwhile for another container of the image is known
        if mounted is not None and len(mounted.lowers) == len(baseline.layers):
            work = _Work(self.open_tree, self.workshop, mounted, baseline)
            bytecode = [entry for entry in entries if is_bytecode(entry.path)]
            found.update(work.recompile(bytecode))  # 1
            others = [entry for entry in entries if entry.path not in found or found[entry.path] is _NO_SOURCE]
            found.update(work.search(self._find_archives(baseline), others))  # 2
        cannot = Derivation(proof=Proof.UNKNOWN, reason="could not be read")  # 3
        return found | self.remember(baseline, {entry: found.get(entry.path, cannot) for entry in entries})

    def remember(self, baseline: Baseline, derivations: Mapping[Entry, Derivation]) -> dict[bytes, Derivation]:
        """Keeps what was established; returns it by path."""
        root = baseline.root.value
        for entry, derivation in derivations.items():
            self._known[_key(root, entry)] = derivation
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return {entry.path: derivation for entry, derivation in derivations.items()}

    def close(self) -> None:
        self.workshop.close()

    def _tell_at_once(self, root: bytes, entry: Entry) -> Derivation | None:
        """2. What has no source and cannot be in an archive, by its size."""
        if entry.kind is not Kind.FILE or entry.digest is None:
            return Derivation(proof=Proof.UNKNOWN, reason="its content was not read")
        archives = self._archives.get(root)
        if archives is None or is_bytecode(entry.path) or archives.may_hold(entry.size_bytes):
            return None
        return _NOWHERE

    def _find_archives(self, baseline: Baseline) -> _Archives:
        root = baseline.root.value
        held = self._archives.get(root)
        if held is None:
            chosen: list[Entry] = []
            total = 0
            for path in sorted({path for layer in baseline.layers for path in layer.paths() if path[-4:].lower().endswith(_ARCHIVES)}):
                entry = baseline.find(path)
                if entry is None or entry.kind is not Kind.FILE or not 0 < entry.size_bytes <= MAX_ARCHIVE_BYTES:
                    continue
                if len(chosen) >= MAX_ARCHIVES or total + entry.size_bytes > MAX_ARCHIVES_BYTES:
                    break
                chosen.append(entry)
                total += entry.size_bytes
            held = self._archives[root] = _Archives(tuple(chosen))
            while len(self._archives) > REMEMBERED_IMAGES:
                self._archives.popitem(last=False)
        return held


_ONE_OF_MANY = Derivation(proof=Proof.UNKNOWN, reason=f"{MAX_FORGED} others beside it are forged: it was not looked into")
_NO_SOURCE = Derivation(proof=Proof.UNKNOWN, reason="the image has no source of it")


@dataclass(slots=True)
class _Work:
    """One container's files, and its image's."""

    open_tree: OpenTree
    workshop: Workshop
    mounted: Mounted
    baseline: Baseline

    def recompile(self, entries: Sequence[Entry]) -> dict[bytes, Derivation]:
        """1. One after the other: at most one pair of files is in memory."""
        found: dict[bytes, Derivation] = {}
        asked: list[bytes] = []
        forged = 0

        def pairs() -> Iterator[tuple[bytes, bytes, str, int, int]]:
            for entry in entries:
                if forged >= MAX_FORGED:
                    found[entry.path] = _ONE_OF_MANY
                    continue
                pair = self._pair(entry)
                if isinstance(pair, Derivation):
                    found[entry.path] = pair
                else:
                    asked.append(entry.path)
                    yield pair

        for number, answer in enumerate(self.workshop.recompile(pairs()) if entries else ()):
            found[asked[number]] = answer
            forged += answer.proof is Proof.FORGED
        return found

    def _pair(self, entry: Entry) -> tuple[bytes, bytes, str, int, int] | Derivation:
        match = _BYTECODE.fullmatch(entry.path)
        assert match is not None
        source = self.baseline.find(resolve(match[1] + b"/" + match[2] + b".py", self.baseline.find) or b"/")
        if source is None or source.kind is not Kind.FILE:
            return _NO_SOURCE
        compiled = self._read(self.mounted.upper, entry, MAX_BYTECODE_BYTES)
        original = self._read(self._layer_of(source.path), source, MAX_SOURCE_BYTES)
        if isinstance(compiled, str) or isinstance(original, str):
            reason = compiled if isinstance(compiled, str) else f"source: {original}"
            return Derivation(proof=Proof.UNKNOWN, reason=str(reason))
        name = match[2].decode("latin-1") + ".py"
        return compiled[0], original[0], name, original[1], int(match[3] or b"0")

    def search(self, archives: _Archives, entries: Sequence[Entry]) -> dict[bytes, Derivation]:
        """2. Each archive once for all of `entries` that are not found yet."""
        found = dict.fromkeys((entry.path for entry in entries), _NOWHERE)
        left = [entry for entry in entries if entry.digest is not None and 0 < entry.size_bytes <= MAX_MEMBER_BYTES]
        for archive in sorted(archives.entries, key=lambda one: _distance(one.path, left)):
            sizes = archives.sizes.get(archive.path)
            wanted = [entry for entry in left if sizes is None or _has(sizes, entry.size_bytes)]
            if not wanted:
                continue
            hits = self._search_one(archives, archive, wanted)
            found.update(dict.fromkeys(hits, _MEMBER))
            left = [entry for entry in left if entry.path not in hits]
        return found

    def _search_one(self, archives: _Archives, archive: Entry, wanted: Sequence[Entry]) -> set[bytes]:
        descriptor = self._open(archive)
        if descriptor is None:
            return set()
        try:
            pairs = [(entry.size_bytes, entry.digest) for entry in wanted if entry.digest is not None]
            contents = self.workshop.search(descriptor, pairs, pairs[0][1].algorithm)
        finally:
            os.close(descriptor)
        if contents is None:
            archives.sizes[archive.path] = array("I")  # it is not asked again
            return set()
        archives.sizes[archive.path] = array("I", sorted(size for size in set(contents.sizes) if size <= MAX_MEMBER_BYTES))
        return {entry.path for entry in wanted if entry.digest in contents.found}

    def _layer_of(self, path: bytes) -> bytes:
        """The host's directory of the layer that has `path` of the image."""
        for directory, table in zip(self.mounted.lowers, reversed(self.baseline.layers), strict=True):
            if table.find(path) is not None:
                return directory
        return b""

    def _read(self, directory: bytes, entry: Entry, limit: int) -> tuple[bytes, int] | str:
        """The content of `entry` in `directory` and its mtime in seconds, if its digest is the one that `entry` states."""
        if entry.digest is None:
            return "its content is not stated"
        if entry.size_bytes > limit:
            return f"more than {limit} bytes"
        with self._stand_at(directory, entry) as standing:
            if standing is None:
                return "is gone"
            tree, node = standing
            content = tree.head(node, limit + 1)
            if isinstance(content, Unobserved):
                return content.reason
            digest = choose_hasher(Algorithms(entry.digest.algorithm))(content).digest()
            return (content, node.identity[3] // 10**9) if digest == entry.digest.value else "changed since it was looked at"

    def _open(self, archive: Entry) -> int | None:
        """A descriptor of the image's `archive`, if its content is what the baseline states."""
        if archive.digest is None:
            return None
        with self._stand_at(self._layer_of(archive.path), archive) as standing:
            if standing is None:
                return None
            tree, node = standing
            content = tree.digest(node, MAX_ARCHIVE_BYTES, Algorithms(archive.digest.algorithm))
            if not isinstance(content, Content) or content.digest != archive.digest:
                return None
            descriptor = tree.open(node)
            return descriptor if isinstance(descriptor, int) else None

    @contextmanager
    def _stand_at(self, directory: bytes, entry: Entry) -> Iterator[tuple[Tree, Node] | None]:
        """The regular file that has the path of `entry` in `directory`, for as long as it is stood at."""
        with ExitStack() as stack:
            try:
                tree = stack.enter_context(self.open_tree(directory))
            except (InputError, OSError):
                yield None
                return
            visit = iter(tree.visit([entry.path]))
            node = next((found for found in visit if isinstance(found, Node) and found.entry.path == entry.path), None)
            yield (tree, node) if node is not None and node.entry.kind is Kind.FILE else None


def is_bytecode(path: bytes) -> bool:
    """Whether `path` is where an interpreter writes bytecode (PEP 3147)."""
    return _BYTECODE.fullmatch(path) is not None


def _key(root: bytes, entry: Entry) -> bytes:
    digest = entry.digest.value if entry.digest is not None else b""
    return hashlib.blake2b(b"\0".join((root, digest, entry.path)), digest_size=16).digest()


def _has(sizes: array[int], size: int) -> bool:
    at = bisect_left(sizes, size)
    return at < len(sizes) and sizes[at] == size


def _distance(archive: bytes, entries: Sequence[Entry]) -> int:
    """How far an archive lies from the first of `entries`: one beside it, or above it, is likely to be where it came from."""
    if not entries:
        return 0
    above = ancestors(entries[0].path)
    return next((number for number, directory in enumerate(above) if archive.startswith(directory.rstrip(b"/") + b"/")), len(above))
