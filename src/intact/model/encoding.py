"""The canonical encoding of a layer's records, and the root over them (docs/formats/layer-table.md).

In: records; out: bytes, one way only, so that two different records never encode alike. Decoding refuses every other spelling. All numbers
are big-endian. Never reads a file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import chain

from .digest import SIZES, WEAK, Algorithms, Digest
from .entry import Entry, Kind
from .errors import InputError
from .hashing import split_values
from .layer import Form, MemoryTable, Record
from .merkle import merkle_root

VERSION = 1
MAX_PATH_BYTES = 4096
MAX_TARGET_BYTES = 4096
MAX_XATTRS = 1024
MAX_XATTR_BYTES = 1 << 16
MAX_RECORD_BYTES = 1 << 20

KIND_CODES = {Kind.FILE: 1, Kind.DIRECTORY: 2, Kind.SYMLINK: 3, Kind.CHAR: 4, Kind.BLOCK: 5, Kind.FIFO: 6, Kind.SOCKET: 7}
WHITEOUT_CODE = 0
_FILE_CODE = KIND_CODES[Kind.FILE]
_KINDS = {code: kind for kind, code in KIND_CODES.items()}

ALGORITHM_CODES = {"sha256": 1, "sha384": 2, "sha512": 3, "sha224": 4, "blake3": 5, "belt-hash": 6, "md5": 7, "sha1": 8}
_ALGORITHMS = {code: name for name, code in ALGORITHM_CODES.items()}

OPAQUE_FLAG = 1
IMPLICIT_FLAG = 2

_META = struct.Struct(">HII")
_PATH = struct.Struct(">H")
_SIZE = struct.Struct(">QB")
_FILE = struct.Struct(">BBHIIQ")
_DEVICE = struct.Struct(">II")
_XATTR = struct.Struct(">HI")
_HEADER = struct.Struct(">HBQ")


def encode_record(record: Record) -> bytes:
    """Record → bytes: path, kind, flags, mode and owner, what belongs to the kind, extended attributes. Raises InputError where a weak
    digest is to decide."""
    entry = record.entry
    path = _PATH.pack(len(record.path)) + record.path
    if entry is None:
        return path + bytes((WHITEOUT_CODE, 0))
    kind = entry.kind
    flags = (OPAQUE_FLAG if record.opaque else 0) | (IMPLICIT_FLAG if record.implicit else 0)
    parts = [path, bytes((KIND_CODES[kind], flags)), _META.pack(entry.mode, entry.uid, entry.gid)]
    if kind is Kind.FILE:
        if entry.digest is not None and entry.digest.algorithm in WEAK:
            raise InputError(f"{entry.digest.algorithm} decides nothing: {entry.path[:100]!r}", code="TableFormat")
        digests = (entry.digest, *entry.further) if entry.digest is not None else entry.further
        parts.append(_SIZE.pack(entry.size_bytes, len(digests)))
        parts += [encode_digest(digest) for digest in digests]
    elif kind is Kind.SYMLINK:
        parts += [_PATH.pack(len(entry.target)), entry.target]
    elif kind in (Kind.CHAR, Kind.BLOCK):
        parts.append(_DEVICE.pack(*(entry.device or (0, 0))))
    parts.append(_PATH.pack(len(entry.xattrs)))
    for name, value in entry.xattrs:
        parts += [_XATTR.pack(len(name), len(value)), name, value]
    return b"".join(parts)


def encode_file(
    path: bytes, mode: int, uid: int, gid: int, size_bytes: int, digests: bytes, xattrs: tuple[tuple[bytes, bytes], ...]
) -> bytes:
    """What `encode_record` makes of a regular file, without an object for it; `digests` as `encode_values` gives them."""
    head = _FILE.pack(_FILE_CODE, 0, mode, uid, gid, size_bytes)
    if not xattrs:
        return b"".join((_PATH.pack(len(path)), path, head, digests, b"\0\0"))
    parts = [_PATH.pack(len(path)), path, head, digests, _PATH.pack(len(xattrs))]
    for name, value in xattrs:
        parts += [_XATTR.pack(len(name), len(value)), name, value]
    return b"".join(parts)


def encode_values(algorithms: Algorithms, values: bytes) -> bytes:
    """What a hasher for `algorithms` returned, as a record has it: their number, then each digest."""
    if not algorithms.further:
        return bytes((1, ALGORITHM_CODES[algorithms.deciding], len(values))) + values
    deciding, further = split_values(algorithms, values)
    return bytes((1 + len(further),)) + b"".join(map(encode_digest, (deciding, *further)))


def decode_record(data: bytes | memoryview) -> Record:
    """Bytes → Record; raises InputError unless `data` is exactly what `encode_record` would write."""
    data = bytes(data)
    try:
        record = _decode(data)
        canonical = encode_record(record)
    except (struct.error, IndexError, KeyError) as error:
        raise InputError(f"a record of the layer table is malformed: {error}", code="TableFormat") from None
    if canonical != data:
        raise InputError("a record of the layer table is not in its canonical form", code="TableFormat")
    _check(record)
    return record


def record_path(data: bytes | memoryview) -> bytes:
    """The path alone, for looking a record up."""
    (length,) = _PATH.unpack_from(data, 0)
    return bytes(data[2 : 2 + length])


def _decode(data: bytes) -> Record:
    (length,) = _PATH.unpack_from(data, 0)
    path = data[2 : 2 + length]
    at = 2 + length
    code, flags = data[at], data[at + 1]
    at += 2
    if code == WHITEOUT_CODE:
        return Record(path=path, entry=None)
    kind = _KINDS[code]
    mode, uid, gid = _META.unpack_from(data, at)
    at += _META.size
    size, target, device = 0, b"", None
    digests: list[Digest] = []
    if kind is Kind.FILE:
        size, number = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        for _ in range(number):
            digest, at = decode_digest(data, at)
            digests.append(digest)
    elif kind is Kind.SYMLINK:
        (length,) = _PATH.unpack_from(data, at)
        target = data[at + 2 : at + 2 + length]
        at += 2 + length
    elif kind in (Kind.CHAR, Kind.BLOCK):
        device = _DEVICE.unpack_from(data, at)
        at += _DEVICE.size
    (count,) = _PATH.unpack_from(data, at)
    at += 2
    xattrs = []
    for _ in range(count):
        name_length, value_length = _XATTR.unpack_from(data, at)
        at += _XATTR.size
        xattrs.append((data[at : at + name_length], data[at + name_length : at + name_length + value_length]))
        at += name_length + value_length
    deciding = digests.pop(0) if digests and digests[0].algorithm not in WEAK else None
    entry = Entry(path=path, kind=kind, mode=mode, uid=uid, gid=gid, size_bytes=size, digest=deciding, further=tuple(digests),
                  target=target, device=device, xattrs=tuple(xattrs))  # fmt: skip
    return Record(path=path, entry=entry, opaque=bool(flags & OPAQUE_FLAG), implicit=bool(flags & IMPLICIT_FLAG))


def _check(record: Record) -> None:
    """What an encoding can spell but a tree cannot hold."""
    path, entry = record.path, record.entry
    if not is_table_path(path):
        raise InputError(f"the layer table names an impossible path: {path[:100]!r}", code="TableFormat")
    if entry is None:
        return
    names = [name for name, _ in entry.xattrs]
    if (
        entry.mode > 0o7777
        or names != sorted(set(names))
        or ((record.opaque or record.implicit) and entry.kind is not Kind.DIRECTORY)
        or b"\0" in entry.target
        or (path == b"/" and entry.kind is not Kind.DIRECTORY)
        or not _can_stand(entry.digest, entry.further)
    ):
        raise InputError(f"the layer table holds an impossible entry: {path[:100]!r}", code="TableFormat")


def _can_stand(deciding: Digest | None, further: tuple[Digest, ...]) -> bool:
    """Whether a strong digest decides, or none does, and the further ones are of other algorithms, in strictly ascending order of names."""
    names = [digest.algorithm for digest in further]
    if deciding is None:
        return WEAK.issuperset(names) and names == sorted(set(names))
    return deciding.algorithm not in {*WEAK, *names} and names == sorted(set(names))


def find_algorithms(records: Iterable[bytes | memoryview]) -> Algorithms | None:
    """By what the files among encoded `records` are known, as the first of them with a digest has it; None if none has one."""
    for data in records:
        at = 2 + _PATH.unpack_from(data, 0)[0]
        if data[at] != _FILE_CODE:
            continue
        at += 2 + _META.size
        _, number = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        names = []
        for _ in range(number):
            digest, at = decode_digest(data, at)
            names.append(digest.algorithm)
        if names:
            return Algorithms.choose(names)
    return None


def is_table_path(path: bytes) -> bool:
    """Whether `path` is absolute, without `.`, `..`, empty parts, NUL or a trailing slash, and at most MAX_PATH_BYTES long."""
    if path == b"/":
        return True
    if not path.startswith(b"/") or len(path) > MAX_PATH_BYTES or b"\0" in path:
        return False
    return not {b"", b".", b".."} & set(path[1:].split(b"/"))


def encode_digest(digest: Digest) -> bytes:
    """Algorithm, length, value."""
    return bytes((ALGORITHM_CODES[digest.algorithm], len(digest.value))) + digest.value


def decode_digest(data: bytes | memoryview, at: int) -> tuple[Digest, int]:
    """The digest at offset `at` and the offset after it; KeyError or InputError if there is none."""
    algorithm, length = _ALGORITHMS[data[at]], data[at + 1]
    if length != SIZES[algorithm]:
        raise InputError(f"a {algorithm} digest of {length} bytes in the layer table", code="TableFormat")
    return Digest(algorithm, bytes(data[at + 2 : at + 2 + length])), at + 2 + length


def encode_header(diff_id: Digest, form: Form, count: int) -> bytes:
    """The first leaf: it binds version, form, the number of records and the layer they describe."""
    return _HEADER.pack(VERSION, form, count) + encode_digest(diff_id)


def compute_root(diff_id: Digest, form: Form, count: int, encoded: Iterable[bytes | memoryview]) -> Digest:
    """RFC 6962 root over the header and the `count` encoded records in order of path, none of which is kept."""
    return Digest("sha256", merkle_root(chain((encode_header(diff_id, form, count),), encoded)))


def seal(diff_id: Digest, form: Form, records: Iterable[Record]) -> MemoryTable:
    """Records sorted by path → a table in memory, with its root."""
    kept = tuple(records)
    return MemoryTable(diff_id, compute_root(diff_id, form, len(kept), map(encode_record, kept)), kept, form)


def seal_encoded(diff_id: Digest, form: Form, encoded: Sequence[bytes]) -> MemoryTable:
    """Encoded records sorted by path → a table in memory, with its root."""
    return MemoryTable(diff_id, compute_root(diff_id, form, len(encoded), encoded), tuple(map(decode_record, encoded)), form)
