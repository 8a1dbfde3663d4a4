"""A layer table as bytes (docs/formats/layer-table.md), and a table that reads such bytes where they lie.

In: records, or the bytes of a table that nobody vouches for yet. Out: the one canonical encoding, or a `MappedTable` over a mapped file
that makes an object only for the record that was asked for. Never believes an offset: every access is bounded, and `load_table` proves
order, form and root of all records before a table is used at all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from mmap import MADV_DONTNEED, mmap

from intact.model.digest import Algorithms, Digest
from intact.model.encoding import (
    MAX_RECORD_BYTES,
    VERSION,
    compute_root,
    decode_digest,
    decode_record,
    encode_header,
    encode_record,
    find_algorithms,
)
from intact.model.entry import Kind, known_by, parent
from intact.model.errors import InputError, TrustError
from intact.model.layer import Form, LayerTable, Record

MAGIC = b"INTACTLT"
MAX_TABLE_BYTES = (1 << 32) - 1
"""What an offset can reach."""
MOST_ASKED = 512
MOST_ASKED_BYTES = 256
"""So many answers about paths of at most this length are remembered."""

_PREFIX = struct.Struct(">8sHBQ")
_OFFSET = struct.Struct(">I")
_PATH = struct.Struct(">H")
_ROOT_BYTES = 32


def encode_table(table: LayerTable) -> bytes:
    """A table → its canonical bytes. Raises InputError if it is too large, TrustError if its root is not that of its records."""
    encoded = [encode_record(record) for record in table.scan()]
    root = compute_root(table.diff_id, table.form, len(encoded), encoded)
    if root != table.root:
        raise TrustError(f"the table of layer {table.diff_id} states the root {table.root}, its records have {root}", code="TableRoot")
    return _join(table.diff_id, table.form, root, encoded)


def seal_table(diff_id: Digest, form: Form, records: Iterable[Record]) -> MappedTable:
    """Sorted records → a table over its own encoding: what ingest hands on, without an object per entry."""
    return seal_encoded_table(diff_id, form, [encode_record(record) for record in records])


def seal_encoded_table(diff_id: Digest, form: Form, encoded: Sequence[bytes]) -> MappedTable:
    """The same of records that are encoded already."""
    data = _join(diff_id, form, compute_root(diff_id, form, len(encoded), encoded), encoded)
    return MappedTable(memoryview(data))


def load_table(data: bytes | memoryview | mmap) -> MappedTable:
    """Bytes that nobody vouches for → a table proven to be well formed and to have the root it states.

    1. Its frame is that of a table. 2. Every record is canonical, in strict order, below a directory of the same table, and known by the
    algorithms that all files are known by. 3. The root over all of them is the one stated. Raises InputError (malformed, 1 and 2) or
    TrustError (3). That this root is the right one is for the caller to know, from a signature or from who computed it.
    """
    table = MappedTable(memoryview(data))  # 1
    root = compute_root(table.diff_id, table.form, len(table), _check_records(table))  # 2 and 3
    if root != table.root:
        raise TrustError(f"the layer table states the root {table.root}, its records have {root}", code="TableRoot")
    return table


def reopen_table(data: memoryview, root: Digest, *, is_untouched: bool = False) -> MappedTable:
    """The bytes of a table that was proven once (`load_table`, `seal_table`) and has lain somewhere since → the table, if it is still the
    one with this `root`; it costs a tenth of proving its form again. `is_untouched`: it was this one before, and nobody wrote there since;
    then it is not read. What was mapped for it is given back: lookups map what they touch.

    Raises InputError (malformed) or TrustError (another root).
    """
    table = MappedTable(data)
    found = table.root if is_untouched else compute_root(table.diff_id, table.form, len(table), table.raws())
    if found == table.root:
        table.algorithms  # noqa: B018 - kept, so that nobody maps the table to ask
    table.release()
    if not found == table.root == root:
        raise TrustError(f"the layer table {root} has the root {found} now", code="TableRoot")
    return table


def _check_records(table: MappedTable) -> Iterator[memoryview]:
    """Step 2, record by record: what comes out has been checked."""
    directories: set[bytes] = set()
    algorithms: Algorithms | None = None
    last = None
    for raw in table.raws():
        record = decode_record(raw)
        path = record.path
        if (last is None) != (path == b"/") or (last is not None and path <= last):
            raise InputError("the records of the layer table are out of order", code="TableFormat")
        if path != b"/" and parent(path) not in directories:
            raise InputError("a record of the layer table lies below something that is no directory", code="TableFormat")
        entry = record.entry
        if entry is not None and entry.kind is Kind.DIRECTORY:
            directories.add(path)
        known = None if entry is None else known_by(entry)
        if known is not None and known != (algorithms := algorithms or known):
            raise InputError("the files of the layer table are known by different algorithms", code="TableFormat")
        last = path
        yield raw


def _join(diff_id: Digest, form: Form, root: Digest, encoded: Sequence[bytes]) -> bytes:
    offsets, at = [0], 0
    for data in encoded:
        at += len(data)
        offsets.append(at)
    if at > MAX_TABLE_BYTES:
        raise InputError(f"the table of layer {diff_id} has more than {MAX_TABLE_BYTES} bytes", code="TableTooLarge")
    head = MAGIC + encode_header(diff_id, form, len(encoded)) + root.value
    return b"".join((head, struct.pack(f">{len(offsets)}I", *offsets), *encoded))


class MappedTable:
    """A LayerTable over its encoding. Opening checks the frame only; use `load_table` for bytes that were not proven before."""

    __slots__ = ("__weakref__", "_algorithms", "_asked", "_count", "_data", "_diff_id", "_form", "_offsets_at", "_records_at", "_root")

    def __init__(self, data: memoryview) -> None:
        try:
            magic, version, form, count = _PREFIX.unpack_from(data, 0)
            if magic != MAGIC:
                raise InputError("not a layer table", code="TableFormat")
            if version != VERSION:
                raise InputError(f"a layer table of version {version}; this program reads version {VERSION}", code="TableVersion")
            self._form = Form(form)
            self._diff_id, at = decode_digest(data, _PREFIX.size)
            self._root = Digest("sha256", bytes(data[at : at + _ROOT_BYTES]))
        except (struct.error, IndexError, KeyError, ValueError) as error:
            raise InputError(f"the head of the layer table is malformed: {error}", code="TableFormat") from None
        self._data = data
        self._algorithms: tuple[Algorithms | None] | None = None
        self._asked: dict[bytes, tuple[Record | None]] = {}
        self._count: int = count
        self._offsets_at = at + _ROOT_BYTES
        self._records_at = self._offsets_at + _OFFSET.size * (count + 1)
        if not 1 <= count <= len(data) or self._records_at > len(data):
            raise InputError("the layer table is cut off", code="TableFormat")
        if self._offset(0) != 0 or self._records_at + self._offset(count) != len(data):
            raise InputError("the layer table has another length than it states", code="TableFormat")

    @property
    def diff_id(self) -> Digest:
        return self._diff_id

    @property
    def root(self) -> Digest:
        return self._root

    @property
    def form(self) -> Form:
        return self._form

    @property
    def algorithms(self) -> Algorithms | None:
        if self._algorithms is None:  # looked for once: the pages it takes are given back
            self._algorithms = (find_algorithms(self.raws()),)
        return self._algorithms[0]

    @property
    def data(self) -> memoryview:
        """The table's bytes."""
        return self._data

    def __len__(self) -> int:
        return self._count

    def raw(self, index: int) -> memoryview:
        """The encoded record at `index`."""
        start, end = self._offset(index), self._offset(index + 1)
        if not start < end <= start + MAX_RECORD_BYTES or self._records_at + end > len(self._data):
            raise InputError("an offset of the layer table is out of range", code="TableFormat")
        return self._data[self._records_at + start : self._records_at + end]

    def raws(self) -> Iterator[memoryview]:
        """All encoded records, in order."""
        return map(self.raw, range(self._count))

    def release(self) -> None:
        """Forgets what was asked, and unmaps the pages of a mapped file: what is asked next maps them again (madvise(2), MADV_DONTNEED)."""
        self._asked.clear()
        if isinstance(self._data.obj, mmap):
            self._data.obj.madvise(MADV_DONTNEED)

    def find(self, path: bytes) -> Record | None:
        """A look asks for each path several times: what it asked first is remembered until `release`."""
        if (known := self._asked.get(path)) is not None:
            return known[0]
        index = self._position(path)
        found = decode_record(self.raw(index)) if index < self._count and self._path(index) == path else None
        if len(self._asked) < MOST_ASKED and len(path) <= MOST_ASKED_BYTES:
            self._asked[path] = (found,)
        return found

    def scan(self, prefix: bytes = b"/") -> Iterator[Record]:
        start = b"/" if prefix == b"/" else prefix + b"/"
        for index in range(self._position(start), self._count):
            raw = self.raw(index)
            if bytes(raw[2 : 2 + len(start)]) != start:
                return
            yield decode_record(raw)

    def paths(self) -> Iterator[bytes]:
        return map(self._path, range(self._count))

    def _position(self, path: bytes) -> int:
        low, high = 0, self._count
        data, size, offsets_at, records_at = self._data, len(self._data), self._offsets_at, self._records_at
        while low < high:  # `_path`, without its calls: thousands of lookups a second are asked for
            middle = (low + high) // 2
            start = records_at + _OFFSET.unpack_from(data, offsets_at + _OFFSET.size * middle)[0] + _PATH.size
            if start > size:
                raise InputError("an offset of the layer table is out of range", code="TableFormat")
            if bytes(data[start : start + _PATH.unpack_from(data, start - _PATH.size)[0]]) < path:
                low = middle + 1
            else:
                high = middle
        return low

    def _path(self, index: int) -> bytes:
        start = self._records_at + self._offset(index)
        data = self._data
        if start + 2 > len(data):
            raise InputError("an offset of the layer table is out of range", code="TableFormat")
        (length,) = _PATH.unpack_from(data, start)
        return bytes(data[start + 2 : start + 2 + length])

    def _offset(self, index: int) -> int:
        offset: int = _OFFSET.unpack_from(self._data, self._offsets_at + _OFFSET.size * index)[0]
        return offset
