"""A disk that is really full: the store says so, keeps nothing by halves, and goes on once there is room."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.adapters.store.database import Database
from intact.adapters.store.leaves import SqlLeafStore
from intact.adapters.store.reports import SqlReportStore
from intact.audit.export import export_log
from intact.audit.log import AuditLog
from intact.audit.note import NoteKey
from intact.audit.record import Leaf
from intact.audit.verify import verify_export
from intact.model.errors import TemporaryError

pytestmark = pytest.mark.root

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEY = NoteKey(name="intact/test", public=PRIVATE.public_key().public_bytes_raw())


@pytest.fixture
def small_disk(root: None, tmp_path: Path) -> Iterator[Path]:
    libc = ctypes.CDLL(None, use_errno=True)
    target = tmp_path / "disk"
    target.mkdir()
    mounted = libc.mount(b"tmpfs", os.fsencode(target), b"tmpfs", 0, b"size=2m") == 0
    assert mounted, f"cannot mount a tmpfs: {os.strerror(ctypes.get_errno())}"
    try:
        yield target
    finally:
        libc.umount2(os.fsencode(target), 2)


def test_a_full_disk_is_temporary_and_leaves_nothing_half_written(small_disk: Path) -> None:
    database = Database.in_directory(small_disk)
    log = AuditLog(SqlLeafStore(database), key=KEY, signer=PRIVATE, now=1.0)
    reports = SqlReportStore(database)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(400 << 10))
    taken = 0
    with pytest.raises(TemporaryError, match=r"full|I/O") as raised:
        for taken in range(10_000):
            with database.transaction():
                reports.receive(f"r{taken}", "n1", 1.0)
                log.append([Leaf(kind="KeyEvent", at=1.0, body={"text": "x" * 4000, "number": taken})])
    assert "free space" in str(raised.value) or "space left" in str(raised.value)
    assert taken > 10 and log.size == taken + 1

    ballast.unlink()
    assert not reports.receive(f"r{taken - 1}", "n1", 1.0)
    with database.transaction():
        assert reports.receive(f"r{taken}", "n1", 1.0)
        log.append([Leaf(kind="KeyEvent", at=1.0, body={"text": "room again", "number": taken})])
    assert verify_export(export_log(SqlLeafStore(database))[1], [KEY]).checkpoint.size == taken + 2
    database.close()


def test_a_disk_that_is_full_from_the_start_is_said_so(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file, pytest.raises(OSError, match="No space"):
        for _ in range(1000):
            os.write(file.fileno(), bytes(4096))
    with pytest.raises(TemporaryError, match=r"full|I/O"):
        Database.in_directory(small_disk)
