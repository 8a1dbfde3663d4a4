"""A whole baseline in one file (docs/formats/baseline.md): a DSSE envelope over its statement, then the tables, then a checksum.

In: a baseline and a signer; out: bytes, and back. A document is never half believed:

1. Its frame is complete, nothing is left over, and it has the checksum it ends with: a changed byte is noticed wherever it is, in a
   signature by a key that is unknown here too.
2. The envelope is signed by a trusted key (`signing.open_envelope`), or unsigned documents were asked for.
3. The statement is a baseline's.
4. Every table is well formed and has the root it states (`table.load_table`).
5. The tables are those of the statement: as many, in order, with the same diff_id, root, form and number of entries, and with
   the algorithms of the statement.
6. The root of the whole is the one stated.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from mmap import mmap

from intact.model.errors import InputError, TrustError
from intact.model.layer import Baseline, Grade, LayerTable

from .signing import MAX_ENVELOPE_BYTES, Opened, PublicKey, Signer, open_envelope, seal_envelope
from .statement import MAX_LAYERS, Statement, decode_statement, encode_statement
from .table import MAX_TABLE_BYTES, MappedTable, encode_table, load_table

MAGIC = b"INTACTBL"
VERSION = 2
_HEAD = struct.Struct(">8sHII")
_LENGTH = struct.Struct(">I")
_SUM_BYTES = 32


def encode_document(baseline: Baseline, signers: Sequence[Signer] = ()) -> bytes:
    """The file's bytes. Without a signer it is unsigned, and loads only where that was asked for."""
    envelope = seal_envelope(encode_statement(baseline), signers)
    return join_document(envelope, baseline.layers)


def join_document(envelope: bytes, tables: Sequence[LayerTable]) -> bytes:
    """A sealed envelope and the tables it speaks of → the file's bytes."""
    parts: list[bytes | memoryview] = [_HEAD.pack(MAGIC, VERSION, len(envelope), len(tables)), envelope]
    for table in tables:
        data = table.data if isinstance(table, MappedTable) else encode_table(table)
        parts += [_LENGTH.pack(len(data)), data]
    return b"".join([*parts, _sum(parts)])


def replace_envelope(document: bytes | memoryview, envelope: bytes) -> bytes:
    """The same tables under another envelope of the same statement. Raises InputError if `document` is none."""
    _, tables = split_document(memoryview(document))
    parts: list[bytes | memoryview] = [_HEAD.pack(MAGIC, VERSION, len(envelope), len(tables)), envelope]
    for table in tables:
        parts += [_LENGTH.pack(len(table)), table]
    return b"".join([*parts, _sum(parts)])


def load_document(
    unverified: bytes | memoryview | mmap,
    *,
    trusted: Sequence[PublicKey] = (),
    refused: Mapping[str, str] | None = None,
    allow_unsigned: bool = False,
    allow_listing: bool = False,
) -> Baseline:
    """Bytes → Baseline of grade SIGNED. `refused`: ids of keys that do not count, and why. `allow_listing`: also one that states only a
    part of each file, for who compares no more than that; unsigned it is SUPPLIED.

    `allow_unsigned`: what no trusted key signed loads too, as FIRST_SEEN; a signature by a trusted key must verify even so. Raises
    InputError (malformed) or TrustError (does not verify).
    """
    envelope, tables = split_document(memoryview(unverified))  # 1
    opened = open_envelope(envelope, trusted=trusted, refused=refused, allow_unsigned=allow_unsigned)  # 2
    statement = decode_statement(opened.payload, allow_listing=allow_listing)  # 3
    return bind_tables(statement, [load_table(table) for table in tables], grade_of(opened, statement))  # 4


def grade_of(opened: Opened, statement: Statement) -> Grade:
    """A baseline is worth what its signature is worth; what an unsigned one says of itself is worth nothing, but that it was supplied."""
    if opened.signer:
        return Grade.SIGNED
    return Grade.SUPPLIED if statement.grade is Grade.SUPPLIED else Grade.FIRST_SEEN


def bind_tables(statement: Statement, tables: Sequence[LayerTable], grade: Grade) -> Baseline:
    """Steps 5 and 6: proven tables and a believed statement → the baseline they make. Raises TrustError if they do not belong together."""
    if len(tables) != len(statement.layers):  # 5
        raise TrustError(f"the baseline states {len(statement.layers)} layers and has {len(tables)}", code="TableMismatch")
    for table, claim in zip(tables, statement.layers, strict=True):
        if (table.diff_id, table.root, table.form, len(table)) != (claim.diff_id, claim.root, claim.form, claim.entries):
            raise TrustError(f"the table of layer {claim.diff_id} is not the one the baseline states", code="TableMismatch")
        if table.algorithms not in (None, statement.algorithms):
            raise TrustError(f"the files of layer {claim.diff_id} are known by other algorithms than stated", code="TableMismatch")
    baseline = Baseline(
        key=statement.key,
        layers=tuple(tables),
        grade=grade,
        source=statement.source,
        aliases=statement.aliases,
        platform=statement.platform,
        stated=statement.stated,
    )
    if baseline.root != statement.root:  # 6
        raise TrustError(f"the baseline states the root {statement.root}, it has {baseline.root}", code="RootMismatch")
    return baseline


def peek_envelope(unverified: bytes) -> bytes | None:
    """The envelope out of the first bytes of a document, not believed; None while there are too few of them. Raises InputError."""
    if len(unverified) < _HEAD.size:
        return None
    magic, version, envelope_bytes, _ = _HEAD.unpack_from(unverified, 0)
    if magic != MAGIC or version != VERSION or envelope_bytes > MAX_ENVELOPE_BYTES:
        raise InputError(f"not a baseline file of version {VERSION}", code="DocumentFormat")
    at = _HEAD.size + envelope_bytes
    return unverified[_HEAD.size : at] if len(unverified) >= at else None


def split_document(unverified: memoryview) -> tuple[bytes, list[memoryview]]:
    """Step 1: the envelope and each table, none of them believed yet."""
    try:
        magic, version, envelope_bytes, count = _HEAD.unpack_from(unverified, 0)
        if magic != MAGIC:
            raise InputError("not a baseline file", code="DocumentFormat", hint="build one with: intact baseline build IMAGE -o FILE")
        if version != VERSION:
            raise InputError(f"a baseline file of version {version}; this program reads version {VERSION}", code="DocumentVersion")
        if envelope_bytes > MAX_ENVELOPE_BYTES or count > MAX_LAYERS:
            raise InputError("the baseline file states an impossible size", code="DocumentFormat")
        at = _HEAD.size + envelope_bytes
        envelope = bytes(unverified[_HEAD.size : at])
        tables = []
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(unverified, at)
            at += _LENGTH.size
            if length > MAX_TABLE_BYTES or at + length > len(unverified):
                raise InputError("the baseline file is cut off", code="Truncated", hint="copy it again")
            tables.append(unverified[at : at + length])
            at += length
    except struct.error:
        raise InputError("the baseline file is cut off, or is none", code="Truncated", hint="copy it again") from None
    if at + _SUM_BYTES != len(unverified):
        raise InputError("the baseline file is cut off, or something follows it", code="DocumentFormat")
    if _sum([unverified[:at]]) != unverified[at:]:
        raise InputError("the baseline file is damaged: its checksum is another", code="Damaged", hint="get it anew")
    return envelope, tables


def _sum(parts: Iterable[bytes | memoryview]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()
