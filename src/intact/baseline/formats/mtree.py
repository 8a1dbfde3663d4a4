"""BSD mtree specifications (mtree(8) of NetBSD; libarchive's mtree(5)) → a `Listing`.

In: what `mtree -c` and `bsdtar --format=mtree` write, with relative and full paths, `/set` and `/unset`, vis(3) names, comments and
continued lines. Stated is what *every* entry it could apply to states: a keyword that only some have is dropped, and said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from mmap import mmap

from intact.model.digest import SIZES, WEAK, Algorithms, Digest
from intact.model.encoding import MAX_TARGET_BYTES, decode_record, encode_record
from intact.model.entry import Entry, Kind, parent
from intact.model.errors import InputError
from intact.model.layer import Record
from intact.model.stated import EVERY_KIND, Aspect, Stated

from .lines import BOM, MAX_ENTRIES, MAX_LINE_BYTES, Advance, clean_path, ignore_progress, split_lines
from .listing import Listing, find_implied
from .losses import Losses, join_words
from .vis import decode_vis

TYPES = {
    b"file": Kind.FILE, b"dir": Kind.DIRECTORY, b"link": Kind.SYMLINK, b"char": Kind.CHAR, b"block": Kind.BLOCK, b"fifo": Kind.FIFO,
    b"socket": Kind.SOCKET,
}  # fmt: skip
_DIGESTS = {
    name.encode() + suffix: name for name in ("md5", "sha1", "sha256", "sha384", "sha512") for suffix in (b"", b"digest")
}  # fmt: skip
MAX_KEYWORDS = 128
"""That an entry has, with what `/set` gave: each of them is looked at for each entry. mtree and libarchive know some fifty."""
MAX_KEPT_BYTES = 1 << 30
"""Relative names are short where the paths they make are long."""

_PROMISES = {b"ignore": "what lies below counts all the same", b"optional": "the entry is required all the same",
             b"nochange": "it is compared all the same"}  # fmt: skip
_DEVICE_FORMATS = frozenset({b"native", b"linux"})
_APPLIES: dict[Aspect, frozenset[Kind]] = {
    Aspect.MODE: EVERY_KIND - {Kind.SYMLINK},
    Aspect.UID: EVERY_KIND,
    Aspect.GID: EVERY_KIND,
    Aspect.SIZE: frozenset({Kind.FILE}),
    Aspect.TARGET: frozenset({Kind.SYMLINK}),
    Aspect.DEVICE: frozenset({Kind.CHAR, Kind.BLOCK}),
}

_Keywords = dict[bytes, bytes | None]
_Refuse = Callable[[bytes], InputError]


def read_mtree(data: bytes | mmap, *, below: tuple[bytes, ...] = (b"/",), advance: Advance = ignore_progress) -> Listing[bytes]:
    """A specification's bytes → what it states. Raises InputError, with the line, on anything that is none."""
    reading = _Reading()
    for number, line in _join_continued(data, advance):
        reading.take(line, number)
    return reading.finish(hashlib.sha256(data).hexdigest(), below)


def _join_continued(data: bytes | mmap, advance: Advance) -> Iterator[tuple[int, bytes]]:
    """Lines without blanks around them, those that end in a backslash with the next one."""
    held, first = b"", 0
    for number, raw, _ in split_lines(data, b"\n", advance):
        line = (raw.removeprefix(BOM) if number == 1 else raw).removesuffix(b"\r")
        first = first or number
        if line.endswith(b"\\") and not line.endswith(b"\\\\"):
            held += line[:-1] + b" "
            if len(held) > MAX_LINE_BYTES:
                raise InputError(f"line {first} goes on for more than {MAX_LINE_BYTES} bytes", code="ListFormat")
            continue
        yield first, (held + line).strip(b" \t")
        held, first = b"", 0
    if held:
        raise InputError(f"line {first} ends with a backslash, and nothing follows", code="ListFormat", hint="was the file cut off?")


@dataclass(slots=True)
class _Reading:
    """A specification half read: what `/set` gave, the directory that relative names are in, and per aspect the entries without it."""

    defaults: _Keywords = field(default_factory=dict)
    where: bytes = b"/"
    is_closed: bool = False
    """The last `..` leaves the root itself, as `mtree -c` writes it; nothing relative can follow."""
    kept: dict[bytes, bytes] = field(default_factory=dict)
    size_bytes: int = 0
    lacking: dict[Aspect, int] = field(default_factory=dict)
    having: set[Aspect] = field(default_factory=set)
    algorithms: set[str] | None = None
    some_algorithms: set[str] = field(default_factory=set)
    losses: Losses = field(default_factory=Losses)

    def take(self, line: bytes, number: int) -> None:
        if not line or line.startswith(b"#"):
            return
        name, *words = line.split()
        if name == b"/set":
            self.defaults = _join_keywords(self.defaults, words, number)
        elif name == b"/unset":
            for word in words:
                if word == b"all":
                    self.defaults.clear()
                self.defaults.pop(word, None)
        elif name == b"..":
            if words:
                raise InputError(f"line {number}: something follows `..`", code="ListFormat")
            if self.is_closed:
                raise InputError(f"line {number}: `..` leads above the root", code="ListPath")
            self.is_closed = self.where == b"/"
            self.where = parent(self.where)
        else:
            self._take_entry(name, _join_keywords(self.defaults, words, number), number)

    def _take_entry(self, name: bytes, keywords: _Keywords, number: int) -> None:
        decoded = decode_vis(name)
        if decoded == b"." or b"/" in decoded:
            path = clean_path(decoded, number)
        elif self.is_closed:
            raise InputError(f"line {number}: {decoded[:200]!r} follows the end of the root directory", code="ListPath")
        else:
            path = clean_path(self.where + b"/" + decoded, number)
            if path == self.where:
                raise InputError(f"line {number}: {name[:100]!r} is no name", code="ListPath")
        entry = self._make_entry(path, keywords, number)
        self.is_closed = False
        self.where = path if entry.kind is Kind.DIRECTORY else parent(path)
        encoded = encode_record(Record(path=path, entry=entry))
        if path != b"/" and self.kept.setdefault(path, encoded) != encoded:
            raise InputError(f"line {number}: {path[:200]!r} comes twice, and not the same", code="ListDuplicate")
        self.kept[path] = encoded
        self.size_bytes += len(encoded)
        if len(self.kept) > MAX_ENTRIES or self.size_bytes > MAX_KEPT_BYTES:
            raise InputError(f"the specification has more than {MAX_ENTRIES} entries, or of too long paths", code="TooManyEntries")

    def _make_entry(self, path: bytes, keywords: _Keywords, number: int) -> Entry:
        def refuse(keyword: bytes) -> InputError:
            return InputError(f"line {number}: {keyword.decode()}={(keywords[keyword] or b'')[:80]!r} cannot be", code="ListFormat")

        kind = TYPES.get(keywords.get(b"type") or b"")
        if kind is None:
            if b"type" in keywords:
                raise refuse(b"type")
            raise InputError(f"line {number}: {path[:200]!r} has no type", code="ListFormat", hint="write the specification with the type")
        if path == b"/" and kind is not Kind.DIRECTORY:
            raise InputError(f"line {number} names the root directory as something else", code="ListPath")
        mode = uid = gid = size = 0
        target, device = b"", None
        stated = set()
        digests: dict[str, Digest] = {}
        for keyword, value in keywords.items():
            match keyword:
                case b"type":
                    pass
                case b"mode":
                    mode = _number(value, 8, 0o7777, refuse, keyword)
                    stated.add(Aspect.MODE)
                case b"uid":
                    uid = _number(value, 10, (1 << 32) - 1, refuse, keyword)
                    stated.add(Aspect.UID)
                case b"gid":
                    gid = _number(value, 10, (1 << 32) - 1, refuse, keyword)
                    stated.add(Aspect.GID)
                case b"size":
                    if kind is Kind.FILE:
                        size = _number(value, 10, (1 << 63) - 1, refuse, keyword)
                        stated.add(Aspect.SIZE)
                case b"link":
                    if kind is Kind.SYMLINK:
                        target = decode_vis(value or b"")
                        if not 0 < len(target) <= MAX_TARGET_BYTES or b"\0" in target:
                            raise refuse(keyword)
                        stated.add(Aspect.TARGET)
                case b"device":
                    if kind in (Kind.CHAR, Kind.BLOCK):
                        device = _parse_device(value or b"", refuse)
                        stated.add(Aspect.DEVICE)
                case _ if keyword in _DIGESTS:
                    if kind is Kind.FILE:
                        digest = _parse_digest(_DIGESTS[keyword], value or b"")
                        if digest is None or digests.setdefault(digest.algorithm, digest) != digest:
                            raise refuse(keyword)
                case _ if keyword in _PROMISES:
                    self.losses.notes[f"`{keyword.decode()}` was not heeded: {_PROMISES[keyword]}"] += 1
                case _:
                    self.losses.parts[keyword.decode("ascii", "backslashreplace")[:40]] += 1
        if kind is Kind.SYMLINK:
            mode = 0o777  # symlink(7): they have no other
        self._count(kind, stated, set(digests))
        strong = sorted(digests.keys() - WEAK)
        deciding = Algorithms.choose(strong).deciding if strong else None
        return Entry(
            path=path, kind=kind, mode=mode, uid=uid, gid=gid, size_bytes=size, target=target, device=device,
            digest=digests.get(deciding or ""), further=tuple(digests[name] for name in sorted(digests) if name != deciding),
        )  # fmt: skip

    def _count(self, kind: Kind, stated: set[Aspect], algorithms: set[str]) -> None:
        for aspect, kinds in _APPLIES.items():
            if kind in kinds:
                if aspect in stated:
                    self.having.add(aspect)
                else:
                    self.lacking[aspect] = self.lacking.get(aspect, 0) + 1
        if kind is Kind.FILE:
            self.algorithms = algorithms if self.algorithms is None else self.algorithms & algorithms
            self.some_algorithms |= algorithms

    def finish(self, digest: str, below: tuple[bytes, ...]) -> Listing[bytes]:
        if not self.kept:
            raise InputError("the specification is empty", code="ListFormat", hint="a list of nothing would say that there is nothing")
        kinds = EVERY_KIND
        implied = find_implied(self.kept)
        if implied:
            kinds -= {Kind.DIRECTORY}
            self.losses.notes[f"{len(implied):,} directories above listed paths are not listed: no directory is compared"] = 1
        algorithms = self.algorithms or set()
        aspects = {aspect for aspect in _APPLIES if aspect not in self.lacking}
        if algorithms:
            aspects.add(Aspect.CONTENT if algorithms - WEAK else Aspect.WEAK_CONTENT)
        elif self.algorithms is None:
            aspects.add(Aspect.CONTENT)
        for aspect in sorted(self.having & self.lacking.keys()):
            self.losses.notes[f"{aspect} is stated of some entries and not of {self.lacking[aspect]:,}: it is not compared"] = 1
        dropped = tuple(sorted(self.some_algorithms - algorithms))
        if dropped:
            self.losses.notes[f"only some files have {join_words(dropped)}: it is not compared"] = 1
        stated = Stated(kinds=kinds, aspects=frozenset(aspects), below=below)
        # Without modes there is something to take back all the same: that of symbolic links, which needs no stating.
        is_uniform = self.some_algorithms == algorithms and not self.lacking.keys() & self.having and Aspect.MODE in aspects
        self.losses.of_all = (*(aspect for aspect in _APPLIES if aspect not in aspects), Aspect.XATTRS)

        def make(_: bytes, encoded: bytes) -> Entry:
            entry = decode_record(encoded).entry
            assert entry is not None
            if is_uniform:
                return entry
            known = [d for d in (entry.digest, *entry.further) if d is not None and d.algorithm in algorithms]
            strong = [d for d in known if d.algorithm not in WEAK]
            deciding = next((d for d in strong if d == entry.digest), strong[0] if strong else None)
            chosen = replace(entry, digest=deciding, further=tuple(d for d in known if d is not deciding))
            return stated.complete(chosen, Entry(path=entry.path, kind=entry.kind, mode=0))

        found = Listing(kept=self.kept, make=make, stated=stated, digest=Digest.parse(f"sha256:{digest}"), losses=self.losses)
        for path in self.kept:
            if not stated.reaches(path) and not any(one.startswith(path.rstrip(b"/") + b"/") for one in below):
                raise InputError(f"{path[:200]!r} is listed, but below none of the named directories", code="ListPath")
        return found


def _join_keywords(defaults: _Keywords, words: list[bytes], number: int) -> _Keywords:
    found = dict(defaults)
    for word in words:
        keyword, equals, value = word.partition(b"=")
        if not keyword.isalnum():
            raise InputError(f"line {number}: {word[:80]!r} is no keyword of mtree", code="ListFormat", hint="blanks in names are \\040")
        found[keyword] = value if equals else None
    if len(found) > MAX_KEYWORDS:
        raise InputError(f"line {number}: more than {MAX_KEYWORDS} keywords", code="ListFormat")
    return found


def _number(value: bytes | None, base: int, limit: int, refuse: _Refuse, keyword: bytes) -> int:
    digits = value or b""
    if not digits or len(digits) > 24 or not frozenset(digits) <= frozenset(b"0123456789"[:base]):
        raise refuse(keyword)
    number = int(digits, base)
    if number > limit:
        raise refuse(keyword)
    return number


def _parse_device(value: bytes, refuse: _Refuse) -> tuple[int, int]:
    """`native,MAJOR,MINOR`, or one number as stat(2) gives it on Linux (makedev(3))."""
    form, *numbers = value.split(b",")
    try:
        if form in _DEVICE_FORMATS and len(numbers) == 2:
            major, minor = (int(number, 0) for number in numbers)
        elif not numbers:
            whole = int(form, 0)
            major, minor = (whole >> 8 & 0xFFF) | (whole >> 32 & ~0xFFF), (whole & 0xFF) | (whole >> 12 & ~0xFF)
        else:
            raise refuse(b"device")
    except ValueError:
        raise refuse(b"device") from None
    if not (0 <= major < 1 << 32 and 0 <= minor < 1 << 32):
        raise refuse(b"device")
    return major, minor


def _parse_digest(algorithm: str, value: bytes) -> Digest | None:
    try:
        return Digest(algorithm, bytes.fromhex(value.decode("ascii"))) if len(value) == 2 * SIZES[algorithm] else None
    except ValueError:
        return None
