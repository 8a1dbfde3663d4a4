"""What the cluster's half keeps in one state directory: the database, the audit log with its key, baselines with theirs."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from intact.adapters.keys.signing import generate_key, load_ed25519_key, load_public_key
from intact.adapters.store.database import Database
from intact.adapters.store.incidents import SqlIncidentStore, SqlRemediationStore, SqlRevisionStore
from intact.adapters.store.leaves import SqlLeafStore
from intact.adapters.store.outbox import SqlOutbox
from intact.adapters.store.reports import SqlReportStore
from intact.adapters.store.starts import SqlStartStore
from intact.audit.log import AuditLog
from intact.audit.note import NoteKey
from intact.model.errors import InputError, PermanentError, TemporaryError
from intact.notify.ports import Sink
from intact.notify.router import Router
from intact.run.cluster.casebook import Memory

AUDIT_KEY = "audit"
RETIRED_AUDIT_KEYS = "audit.retired"
AUDIT_ORIGIN = "intact.dev/audit"
RESTORING, REPLACED = ".restore", "old"
"""Where a restore prepares what it then puts in place, and what was there while it does so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """Everything opened; all stores share one database."""

    database: Database
    memory: Memory
    audit: AuditLog
    leaves: SqlLeafStore
    outbox: SqlOutbox


def open_state(directory: Path, database_url: str = "") -> ClusterState:
    """Opens the state in `directory`, or begins it; it is this process's until the process ends. With a `database_url` only keys are there,
    and what is remembered is shared with others.

    Raises IntactError with what to do where it cannot be used.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise TemporaryError(f"another process uses {directory}", code="StateInUse", hint="stop it, or name another directory") from None
    if (directory / RESTORING / REPLACED).exists():
        os.close(lock)
        raise PermanentError(f"a restore into {directory} was not finished", code="StateInUse", hint="run intact restore --replace again")
    database = Database.open(database_url) if database_url else Database.in_directory(directory)
    leaves = SqlLeafStore(database)
    return ClusterState(
        database=database,
        memory=Memory(
            transactions=database,
            incidents=SqlIncidentStore(database),
            revisions=SqlRevisionStore(database),
            remediations=SqlRemediationStore(database),
            reports=SqlReportStore(database),
            starts=SqlStartStore(database),
        ),
        audit=_open_audit(directory, leaves),
        leaves=leaves,
        outbox=SqlOutbox(database),
    )


def make_router(state: ClusterState, sinks: Sequence[Sink]) -> Router:
    return Router(state.outbox, sinks, clock=time.time)


def _open_audit(directory: Path, leaves: SqlLeafStore) -> AuditLog:
    """The log with its own key: `audit.pem`, and `audit.pub` for whoever verifies an export. The public keys in `audit.retired` signed it
    before."""
    stem = directory / AUDIT_KEY
    if not stem.with_suffix(".pem").exists():
        generate_key(stem)
    private = load_ed25519_key(stem.with_suffix(".pem"))
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return AuditLog(
        leaves, key=NoteKey(name=AUDIT_ORIGIN, public=public), signer=private, now=time.time(), retired=read_retired_keys(directory)
    )


def read_retired_keys(directory: Path) -> tuple[NoteKey, ...]:
    """Those that signed the log in `directory` before. Raises InputError for a file that is none."""
    return tuple(read_audit_key(path) for path in sorted((directory / RETIRED_AUDIT_KEYS).glob("*.pub")))


def read_audit_key(path: Path) -> NoteKey:
    key = load_public_key(path)
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} is not an Ed25519 key", code="Key")
    return NoteKey(name=AUDIT_ORIGIN, public=key.public_bytes(Encoding.Raw, PublicFormat.Raw))
