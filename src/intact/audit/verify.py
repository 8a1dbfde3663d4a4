"""Verification of an exported log, offline and in one pass: what is in the file is exactly what was signed, or the first thing that is not.

In: the lines of an export, the public keys that are trusted, and any checkpoints kept from earlier. Out: what was verified, or a TrustError
that names the line and the leaf. Memory: the tree's height, whatever the size of the export.

An export cut back to an earlier checkpoint, header and all, is a valid earlier export: only a checkpoint kept elsewhere shows it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from intact.model.errors import InputError, TrustError
from intact.model.merkle import Frontier, hash_leaf

from .export import FORMAT, VERSION, Header, checkpoint_line, leaf_line
from .note import MAX_NOTE_BYTES, Checkpoint, NoteKey, open_checkpoint
from .record import MAX_LEAF_BYTES, Leaf, parse_leaf

MAX_LINE_BYTES = MAX_LEAF_BYTES + MAX_NOTE_BYTES

_LEAF = re.compile(rb'\{"hash":"([0-9a-f]{64})","index":(0|[1-9][0-9]{0,18}),"leaf":(.*)\}\n', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What an export proved to be: the log's last checkpoint and its signed `note`, how many checkpoints led to it, who signed them."""

    checkpoint: Checkpoint
    note: bytes
    checkpoints: int
    keys: tuple[NoteKey, ...]


def verify_export(
    unverified_lines: Iterable[bytes],
    keys: Sequence[NoteKey],
    *,
    kept: Sequence[bytes] = (),
    on_leaf: Callable[[int, Leaf], None] = lambda index, leaf: None,
    on_header: Callable[[Header], None] = lambda header: None,
) -> Verified:
    """Verifies the lines (each with its line end) of an export. `kept` are signed checkpoints from elsewhere; `on_leaf` sees each leaf
    before the checkpoint that covers it is checked, so it must not believe them before this returns. Raises TrustError.

    1. The kept checkpoints are signed by a trusted key.
    2. The first line is a header in its one spelling.
    3. Each leaf line is in its one spelling, has the next index, and its content has the hash it states.
    4. Each checkpoint line is in its one spelling, is signed by a trusted key for this log, and is larger than the one before.
    5. The tree of the leaves before a checkpoint has the root it signs.
    6. So it is for each kept checkpoint: the log continues what was seen then.
    7. The last leaf is covered by the last checkpoint, and leaves and checkpoints are as many as the header states.
    """
    # 1
    waiting = sorted((open_checkpoint(note, keys)[0] for note in kept), key=lambda checkpoint: checkpoint.size)
    # 2
    lines = enumerate(unverified_lines, 1)
    header = _read_header(next(lines, (1, b""))[1])
    on_header(header)
    for checkpoint in waiting:
        if checkpoint.origin != header.origin:
            raise _wrong(
                "AuditOrigin", f"the kept checkpoint is of the log {checkpoint.origin[:80]!r}, the export of {header.origin[:80]!r}"
            )
    frontier, covered, count = Frontier(), Checkpoint(origin=header.origin, size=0, root=Frontier().root), 0
    last_note = b""
    signers: dict[bytes, NoteKey] = {}
    for number, line in lines:
        if line.startswith(b'{"hash":'):
            # 3
            leaf, leaf_hash = _read_leaf(line, number, frontier.size)
            on_leaf(frontier.size, leaf)
            frontier = frontier.append(leaf_hash)
            # 6
            while waiting and waiting[0].size == frontier.size:
                _check_kept(waiting.pop(0), frontier)
        else:
            # 4
            last_note, checkpoint, signer = _read_checkpoint(line, number, keys)
            if checkpoint.origin != header.origin:
                raise _wrong(
                    "AuditOrigin", f"line {number}: a checkpoint of the log {checkpoint.origin[:80]!r} in that of {header.origin[:80]!r}"
                )
            _check_covered(number, checkpoint, frontier, covered)
            covered, count = checkpoint, count + 1
            signers[signer.public] = signer
    # 6
    if waiting and waiting[0].size == 0:
        _check_kept(waiting.pop(0), Frontier())
    if waiting:
        raise _wrong(
            "AuditTruncated", f"cut off: the log had {waiting[-1].size} leaves when the kept checkpoint was made, here are {frontier.size}"
        )
    # 7
    if frontier.size != header.leaves:
        raise _wrong(
            "AuditTruncated", f"the header states {header.leaves} leaves, here are {frontier.size}: cut off, or the header was altered"
        )
    if covered.size != frontier.size or count == 0:
        raise _wrong(
            "AuditUnsigned", f"leaves {covered.size} to {frontier.size - 1} are not covered by any checkpoint: the last one is missing"
        )
    if count != header.checkpoints:
        raise _wrong("AuditTruncated", f"the header states {header.checkpoints} checkpoints, here are {count}: one was removed")
    return Verified(checkpoint=covered, note=last_note, checkpoints=count, keys=tuple(signers.values()))


def _wrong(code: str, message: str) -> TrustError:
    return TrustError(message, code=code)


def _read_header(line: bytes) -> Header:
    try:
        document: dict[str, Any] = json.loads(line[:MAX_LINE_BYTES])
        if document["format"] == FORMAT and document["version"] != VERSION:
            raise _wrong("AuditFormat", f"an export of version {document['version']!r:.20}; this program knows {VERSION}")
        header = Header(origin=document["origin"], leaves=document["leaves"], checkpoints=document["checkpoints"])
        if header.encode() == line:
            return header
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise _wrong("AuditFormat", "line 1 is not the header of an audit export")


def _read_leaf(line: bytes, number: int, expected: int) -> tuple[Leaf, bytes]:
    match = _LEAF.fullmatch(line)
    if match is None:
        raise _wrong("AuditLeaf", f"line {number}: leaf {expected} is broken: cut off, or not as an export writes it")
    stated, index, content = match[1].decode(), int(match[2]), match[3]
    if index > expected:
        missing = f"leaf {expected} is" if index == expected + 1 else f"leaves {expected} to {index - 1} are"
        raise _wrong("AuditMissing", f"line {number}: {missing} missing or moved: leaf {index} stands in that place")
    if index < expected:
        raise _wrong("AuditOrder", f"line {number}: leaf {index} stands where leaf {expected} belongs: repeated or moved")
    leaf_hash = hash_leaf(content)
    if leaf_hash.hex() != stated:
        raise _wrong(
            "AuditEdited", f"line {number}: leaf {index} was edited: its content has the hash {leaf_hash.hex()}, stated is {stated}"
        )
    try:
        leaf = parse_leaf(content)
    except InputError as error:
        raise _wrong("AuditLeaf", f"line {number}: leaf {index}: {error}") from None
    if leaf_line(index, content) != line:
        raise _wrong("AuditLeaf", f"line {number}: leaf {index} is not as an export writes it")
    return leaf, leaf_hash


def _read_checkpoint(line: bytes, number: int, keys: Sequence[NoteKey]) -> tuple[bytes, Checkpoint, NoteKey]:
    try:
        note = json.loads(line)["checkpoint"].encode() if len(line) <= MAX_LINE_BYTES else b""
        if checkpoint_line(note) != line:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _wrong("AuditLine", f"line {number} is neither a leaf nor a checkpoint as an export writes them") from None
    try:
        return note, *open_checkpoint(note, keys)
    except TrustError as error:
        raise TrustError(f"line {number}: {error}", code=error.code) from None


def _check_covered(number: int, checkpoint: Checkpoint, frontier: Frontier, covered: Checkpoint) -> None:
    if checkpoint.size != frontier.size:
        raise _wrong(
            "AuditMissing",
            f"line {number}: a checkpoint of {checkpoint.size} leaves stands behind {frontier.size}: lines were removed or moved",
        )
    if checkpoint.size <= covered.size:
        raise _wrong("AuditOrder", f"line {number}: the checkpoint of {checkpoint.size} leaves stands here twice")
    # 5
    if checkpoint.root != frontier.root:
        which = (
            f"leaf {covered.size} is"
            if checkpoint.size == covered.size + 1
            else f"of leaves {covered.size} to {checkpoint.size - 1} at least one is"
        )
        raise _wrong("AuditEdited", f"line {number}: {which} not what was signed: edited, replaced or added later")


def _check_kept(checkpoint: Checkpoint, frontier: Frontier) -> None:
    if checkpoint.root != frontier.root:
        raise _wrong(
            "AuditForked",
            f"this is not the log of the kept checkpoint: its first {checkpoint.size} leaves had the root {checkpoint.root.hex()}, "
            f"here they have {frontier.root.hex()}: rewritten or forked",
        )
