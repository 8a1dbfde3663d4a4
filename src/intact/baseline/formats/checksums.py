r"""Checksum lists as coreutils (`sha256sum(1)`, "cksum output modes") and the BSDs write them: `HASH␠␠path` and `SHA256 (path) = HASH`.

In: a list's bytes → a `Listing` of regular files; or a baseline → lines. A name with a backslash or a line break has these escaped and its
line begins with a backslash; `*` for the second blank means binary mode, which is the same here. What such a list knows is the content of
regular files and nothing else (docs/formats/checksum-lists.md says what happens to everything odd).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap

from intact.model.digest import SIZES, WEAK, Digest
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError
from intact.model.layer import Baseline
from intact.model.stated import Aspect, Stated

from .lines import BOM, MAX_ENTRIES, Advance, clean_path, ignore_progress, split_lines
from .listing import Listing
from .losses import Losses

BY_LENGTH = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
"""Hex digits → the algorithm meant where nobody says another of that length."""

TAGS = {
    b"MD5": "md5", b"SHA1": "sha1", b"SHA224": "sha224", b"SHA256": "sha256", b"SHA384": "sha384", b"SHA512": "sha512",
    b"SHA2-224": "sha224", b"SHA2-256": "sha256", b"SHA2-384": "sha384", b"SHA2-512": "sha512", b"BLAKE3": "blake3",
    b"BELT-HASH": "belt-hash",
}  # fmt: skip
"""As `cksum --tag` and `openssl dgst` name them."""

_PLAIN = re.compile(rb"(\\?)([0-9A-Fa-f]+) [ *](.+)", re.DOTALL)
_TAGGED = re.compile(rb"(\\?)([A-Z0-9-]+) ?\((.+)\) ?= ([0-9A-Fa-f]+)", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.?)", re.DOTALL)
_UNESCAPED = {b"n": b"\n", b"r": b"\r", b"\\": b"\\"}
_STDIN = b"-"


@dataclass(slots=True)
class Checksums:
    """Lists of one tree, read one after the other: of several algorithms each may be a file of its own."""

    zero: bool = False
    """Lines end with NUL and nothing is escaped, as `sha256sum -z` writes."""
    strip: bytes = b""
    below: tuple[bytes, ...] = (b"/",)
    values: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    losses: Losses = field(default_factory=lambda: Losses(of_all=("size", "mode", "owner", "extended attributes")))
    _sums: list[str] = field(default_factory=list)

    def read(self, data: bytes | mmap, advance: Advance = ignore_progress, *, algorithm: str | None = None) -> None:
        """Adds a list, by `algorithm` or the one that its values' length tells. Raises InputError, with the line, if it is none."""
        self._sums.append(hashlib.sha256(data).hexdigest())
        notes = self.losses.notes
        for number, raw, is_ended in split_lines(data, b"\0" if self.zero else b"\n", advance):
            line = raw.removeprefix(BOM) if number == 1 else raw
            if not self.zero:
                line = line.removesuffix(b"\r")
                if not line.strip():
                    continue
                if line.startswith(b"#"):
                    notes["comment lines were skipped"] += 1
                    continue
            if not is_ended:
                notes["the last line has no end: if the list was cut off, so may be its last name"] += 1
            name, path, value = self._parse(line, number, algorithm)
            known = self.values.setdefault(name, {})
            if known.setdefault(path, value) != value:
                raise InputError(f"line {number}: {path[:200]!r} comes twice, with different values", code="ListDuplicate",
                                 hint="two lists in one file? import them apart")  # fmt: skip
            if len(known) > MAX_ENTRIES:
                raise InputError(f"the list has more than {MAX_ENTRIES} files", code="TooManyEntries")

    def finish(self) -> Listing[None]:
        """Everything read, as one listing. Raises InputError if it is empty, or not every file has a value by every algorithm."""
        if not self.values:
            raise InputError("the list is empty", code="ListFormat", hint="a list of nothing would say that there is nothing")
        algorithms = sorted(self.values)
        paths = self.values[algorithms[0]]
        for name in algorithms[1:]:
            odd = next(iter(paths.keys() ^ self.values[name].keys()), None)
            if odd is not None:
                raise InputError(f"{odd[:200]!r} has not the same algorithms as the others ({', '.join(algorithms)})", code="ListMixed",
                                 hint="import one algorithm at a time")  # fmt: skip
        deciding = next((name for name in SIZES if name in self.values and name not in WEAK), None)
        further = [name for name in algorithms if name != deciding]
        values = self.values

        def make(path: bytes, _: None) -> Entry:
            return Entry(
                path=path,
                kind=Kind.FILE,
                mode=0,
                digest=Digest(deciding, values[deciding][path]) if deciding else None,
                further=tuple(Digest(name, values[name][path]) for name in further),
            )

        content = Aspect.CONTENT if deciding else Aspect.WEAK_CONTENT
        stated = Stated(kinds=frozenset({Kind.FILE}), aspects=frozenset({content}), below=self.below)
        for path in paths:
            if not stated.reaches(path):
                raise InputError(f"{path[:200]!r} is listed, but below none of the named directories", code="ListPath")
        total = self._sums[0] if len(self._sums) == 1 else hashlib.sha256("\n".join(self._sums).encode()).hexdigest()
        return Listing(kept=dict.fromkeys(paths), make=make, stated=stated, digest=Digest.parse(f"sha256:{total}"), losses=self.losses)

    def _parse(self, line: bytes, number: int, meant: str | None) -> tuple[str, bytes, bytes]:
        plain = _PLAIN.fullmatch(line)
        if plain is not None:
            escaped, digits, name = plain.groups()
            algorithm = meant or BY_LENGTH.get(len(digits))
        else:
            tagged = _TAGGED.fullmatch(line)
            if tagged is None:
                raise InputError(f"line {number} is not HASH, two blanks and a path: {line[:80]!r}", code="ListFormat", hint=_HINT)
            escaped, tag, name, digits = tagged.groups()
            algorithm = TAGS.get(tag)
            if algorithm is not None and meant not in (None, algorithm):
                raise InputError(f"line {number} is by {algorithm}, not {meant}", code="ListFormat")
        if algorithm is None or len(digits) != 2 * SIZES[algorithm]:
            raise InputError(f"line {number}: {len(digits)} hex digits are no value of {meant or 'any known algorithm'}",
                             code="ListFormat", hint="cut off, or not a checksum list")  # fmt: skip
        if escaped:
            if self.zero:
                raise InputError(f"line {number} is escaped, though lists made with -z are not", code="ListFormat")
            name = unescape_name(name, number)
        if name == _STDIN:
            raise InputError(f"line {number} is the sum of a standard input, not of a file", code="ListPath")
        path = clean_path(name, number, self.strip)
        if path == b"/":
            raise InputError(f"line {number} names the root directory as a file", code="ListPath")
        return algorithm, path, bytes.fromhex(digits.decode())


_HINT = "names with NUL ends need -z; mtree and JSON have formats of their own"


def export_checksums(baseline: Baseline, algorithm: str, losses: Losses, *, prefix: bytes = b"", zero: bool = False) -> Iterator[bytes]:
    """`HASH␠␠/path` lines; `sha256sum -c` and its like read them where the image's tree is at `prefix`.

    Raises InputError if the files are not known by `algorithm`.
    """
    losses.of_all = ("size", "mode", "owner", "extended attributes")
    above = prefix.rstrip(b"/")
    for entry in baseline.scan():
        if not baseline.stated.speaks_of(entry):
            continue
        if entry.kind is not Kind.FILE:
            losses.entries[entry.kind] += 1
            continue
        value = next((d.hex for d in (entry.digest, *entry.further) if d is not None and d.algorithm == algorithm), None)
        if value is None:
            if entry.digest is None and not entry.further:
                losses.parts["content that was not read"] += 1
                continue
            raise InputError(f"the files of this baseline are known by {baseline.algorithms}, not by {algorithm}", code="Format",
                             hint="build it with that algorithm too, or export one that it has")  # fmt: skip
        path = above + entry.path
        if zero:
            yield b"%b  %b\0" % (value.encode(), path)
            continue
        name = escape_name(path)
        yield b"%b%b  %b\n" % (b"\\" if name != path else b"", value.encode(), name)


def escape_name(name: bytes) -> bytes:
    """As coreutils' print_filename: a backslash, a line feed and a carriage return become two characters."""
    return name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")


def unescape_name(name: bytes, number: int) -> bytes:
    """The inverse of `escape_name`; raises InputError on an escape that coreutils does not write."""

    def replace(match: re.Match[bytes]) -> bytes:
        if match[1] not in _UNESCAPED:
            raise InputError(f"line {number}: {match[0]!r} is no escape of a checksum list", code="ListFormat")
        return _UNESCAPED[match[1]]

    return _ESCAPED.sub(replace, name)
