"""A copy of everything that a process remembers, taken while it runs: rows, baselines, and keys if that is wished.

In: where it is kept. Out: one file (docs/formats/backup.md), the same for every kind of store, so that it is also the way from one kind to
another. The rows are of one moment; each baseline is whole, and one that is let go meanwhile is not in it. Private keys are left out unless
asked for, and nothing is encrypted.
"""

from __future__ import annotations

import base64
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intact.adapters.keys.signing import load_private_key
from intact.adapters.store.database import Database
from intact.adapters.store.rows import REVISION, export_rows
from intact.audit.record import format_time
from intact.baseline.ports import BaselineFiles, StoredBaseline
from intact.baseline.signing import KeySigner, PublicKey
from intact.model.digest import Digest
from intact.model.errors import InputError

from .archive import Advance, ArchiveWriter, create_archive
from .memory import AUDIT_KEY, RETIRED_AUDIT_KEYS

KEYS = (f"{AUDIT_KEY}.pem", "baselines/own.pem")
PUBLIC = (f"{AUDIT_KEY}.pub", "baselines/own.pub")
REMEMBERED = ("trust", RETIRED_AUDIT_KEYS)
"""What else of a state directory is kept: the trust that was seen, and public keys that signed the audit log before."""
INDEX = "baselines.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was written. `digest` identifies it; `key` signed it."""

    digest: str
    key: PublicKey
    baselines: int
    tables: int
    has_keys: bool


def write_backup(
    path: Path, *, state_dir: Path, database: Database, files: BaselineFiles, with_keys: bool, now: float, advance: Advance
) -> Backup:
    """Writes the file whole or not at all. Raises IntactError."""
    key_file = state_dir / f"{AUDIT_KEY}.pem"
    if not key_file.exists():
        raise InputError(
            f"there is no {key_file}", code="NoState", hint="name the state directory of the process: its key signs the backup"
        )
    signer = KeySigner(load_private_key(key_file))
    with create_archive(path, advance) as archive:
        _add_rows(archive, database)
        tables, baselines = _add_baselines(archive, files)
        has_keys = _add_state(archive, state_dir, with_keys=with_keys)
        predicate: dict[str, Any] = {
            "baselines": baselines,
            "createdAt": format_time(now),
            "hasKeys": has_keys,
            "revision": REVISION,
            "tables": tables,
        }
        digest = archive.seal(predicate, signer)
    return Backup(digest=digest, key=signer.public, baselines=baselines, tables=tables, has_keys=has_keys)


def _add_rows(archive: ArchiveWriter, database: Database) -> None:
    for name, lines in export_rows(database):
        with tempfile.TemporaryFile() as spool:  # a tar says a member's size before its content
            spool.writelines(lines)
            size_bytes = spool.tell()
            spool.seek(0)
            archive.add(f"rows/{name}.jsonl", size_bytes, spool)


def _add_baselines(archive: ArchiveWriter, files: BaselineFiles) -> tuple[int, int]:
    """How many tables and baselines: each baseline once all its tables are in."""
    added: set[Digest] = set()
    index: list[bytes] = []
    for kept in files.list_baselines():
        stored = files.find(str(kept.key))
        if stored is None or not all(root in added or _add_table(archive, files, root) for root in stored.table_roots):
            continue
        added.update(stored.table_roots)
        index.append(encode_stored(stored))
    archive.add_bytes(INDEX, b"".join(index))
    return len(added), len(index)


def _add_table(archive: ArchiveWriter, files: BaselineFiles, root: Digest) -> bool:
    file = files.open_table(root)
    if file is None:
        return False
    archive.add_bytes(f"tables/{root.algorithm}-{root.hex}.table", file.data)
    return True


def _add_state(archive: ArchiveWriter, state_dir: Path, *, with_keys: bool) -> bool:
    for name in (*PUBLIC, *(KEYS if with_keys else ())):
        if (state_dir / name).is_file():
            archive.add_bytes(f"state/{name}", (state_dir / name).read_bytes())
    for directory in REMEMBERED:
        for path in sorted((state_dir / directory).glob("*")):
            if path.is_file():
                archive.add_bytes(f"state/{directory}/{path.name}", path.read_bytes())
    return with_keys


def encode_stored(stored: StoredBaseline) -> bytes:
    document = {
        "aliases": stored.aliases,
        "diffIds": [str(one) for one in stored.diff_ids],
        "envelope": base64.b64encode(stored.envelope).decode(),
        "key": str(stored.key),
        "platform": stored.platform,
        "tableRoots": [str(one) for one in stored.table_roots],
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def decode_stored(line: bytes) -> StoredBaseline:
    """Raises InputError for what `encode_stored` did not write."""
    try:
        document = json.loads(line)
        return StoredBaseline(
            key=Digest.parse(document["key"]),
            aliases=tuple(map(str, document["aliases"])),
            diff_ids=tuple(map(Digest.parse, document["diffIds"])),
            table_roots=tuple(map(Digest.parse, document["tableRoots"])),
            envelope=base64.b64decode(document["envelope"], validate=True),
            platform=str(document["platform"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise InputError("a baseline in the backup is malformed", code="BackupFormat") from None
