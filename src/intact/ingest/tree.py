"""A plain file tree → one layer.

In: the entries of a walk, in any order, each path once. Out: a baseline of one layer, of grade FIRST_SEEN: nobody vouches for a directory.
A tree that never was a tar has no diff_id of its own; the SHA-256 over its encoded records stands in for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from intact.model.digest import Digest
from intact.model.encoding import encode_record, seal
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError
from intact.model.layer import Baseline, Form, Grade, Record

from .image import Sealer

TREE_PREFIX = b"intact tree v1\n"


def ingest_tree(entries: Iterable[Entry], *, source: str, platform: str = "", seal: Sealer = seal) -> Baseline:
    """The entries of one directory, its own at `/`. Raises InputError if there is no root directory or a path comes twice."""
    records = sorted((Record(path=entry.path, entry=entry) for entry in entries), key=lambda record: record.path)
    if not records or records[0].path != b"/" or records[0].entry is None or records[0].entry.kind is not Kind.DIRECTORY:
        raise InputError(f"{source}: there is no directory to read", code="Tree")
    hasher = hashlib.sha256(TREE_PREFIX)
    last = b""
    for record in records:
        if record.path == last:
            raise InputError(f"{source}: {record.path!r} comes twice", code="Tree")
        last = record.path
        hasher.update(encode_record(record))
    name = Digest("sha256", hasher.digest())
    return Baseline(key=name, layers=(seal(name, Form.PLAIN, records),), grade=Grade.FIRST_SEEN, source=source, platform=platform)
