"""A plain file tree → one layer.

In: the encoded records of a walk, in any order, each path once. Out: a baseline of one layer, of grade FIRST_SEEN: nobody vouches for a
directory. A tree that never was a tar has no diff_id of its own; the SHA-256 over its encoded records stands in for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Protocol

from intact.model.digest import Digest
from intact.model.encoding import decode_record, record_path, seal_encoded
from intact.model.entry import Kind
from intact.model.errors import InputError
from intact.model.layer import Baseline, Form, Grade, LayerTable

TREE_PREFIX = b"intact tree v1\n"


class EncodedSealer(Protocol):
    """Makes a table of a layer's sorted records."""

    def __call__(self, diff_id: Digest, form: Form, encoded: list[bytes], /) -> LayerTable: ...


def ingest_tree(records: Iterable[bytes], *, source: str, platform: str = "", seal: EncodedSealer = seal_encoded) -> Baseline:
    """The records of one directory, its own at `/`. Raises InputError if there is no root directory or a path comes twice."""
    encoded = sorted(records, key=record_path)
    root = decode_record(encoded[0]) if encoded else None
    if root is None or root.path != b"/" or root.entry is None or root.entry.kind is not Kind.DIRECTORY:
        raise InputError(f"{source}: there is no directory to read", code="Tree")
    for path, following in pairwise(map(record_path, encoded)):
        if path == following:
            raise InputError(f"{source}: {path!r} comes twice", code="Tree")
    hasher = hashlib.sha256(TREE_PREFIX)
    for record in encoded:
        hasher.update(record)
    name = Digest("sha256", hasher.digest())
    return Baseline(key=name, layers=(seal(name, Form.PLAIN, encoded),), grade=Grade.FIRST_SEEN, source=source, platform=platform)
