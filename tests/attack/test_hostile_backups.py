"""A backup that was made to harm whoever looks at it, and one that is restored below those who go on writing."""

from __future__ import annotations

import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.adapters.store.baselines import BaselineDirectory
from intact.adapters.store.database import Database
from intact.adapters.store.inbox import SqlTerms, TermTransactions
from intact.baseline.signing import KeySigner
from intact.model.errors import InputError, TemporaryError
from intact.run.storage.archive import extract_archive
from tests.unit.run.storage.test_backup import fill, run

ANYBODY = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)).public


@pytest.mark.parametrize("later_terms", [0, 3])
def test_who_goes_on_acting_while_its_database_is_restored_writes_nothing_any_more(later_terms: int, tmp_path: Path) -> None:
    """What it holds in memory is of another history. Also where its term is the one that the backup was taken in."""
    origin, file, url = tmp_path / "origin", tmp_path / "backup.tar", f"sqlite:///{tmp_path / 'shared.db'}"
    with closing(Database.open(url)) as database, closing(BaselineDirectory(origin / "baselines")) as files:
        fill(origin, database, files)
        terms = SqlTerms(database)
        terms.begin("replica", 1.0)
        run("backup", "--state-dir", origin, "--database", url, "-o", file, "--with-keys")
        for _ in range(later_terms):
            terms.begin("replica", 2.0)
        acting = TermTransactions(database, terms.current())
        with acting.transaction():
            pass
        run("restore", file, "--state-dir", origin, "--database", url, "--replace")
        with pytest.raises(TemporaryError) as refused, acting.transaction():
            pass
        assert refused.value.code == "NotActing"


@pytest.mark.parametrize("name", ["_ci.yaml", "-ci.yaml", "c" * 240])
def test_no_name_of_a_trust_root_keeps_a_backup_from_being_made(name: str, tmp_path: Path) -> None:
    """Any key of a ConfigMap is the name of one (Kubernetes, ConfigMap: up to 253 of letters, digits, `-`, `_` and `.`)."""
    origin, target, file = tmp_path / "origin", tmp_path / "target", tmp_path / "backup.tar"
    with closing(Database.in_directory(origin)) as database, closing(BaselineDirectory(origin / "baselines")) as files:
        fill(origin, database, files)
    (origin / "trust").mkdir()
    (origin / "trust" / f"{name}.json").write_text("{}")
    run("backup", "--state-dir", origin, "-o", file)
    run("restore", file, "--state-dir", target, "--trust", origin / "audit.pub")
    assert (target / "trust" / f"{name}.json").read_text() == "{}"


def make_member(name: str, size: str) -> bytes:
    """A tar whose only member has a PAX header that states its size, as text."""
    record = b" size=%b\n" % size.encode()
    record = b"%d%b" % (len(record) + (1 if len(record) < 9 else 2), record)
    header = tarfile.TarInfo("header")
    header.type, header.size = tarfile.XHDTYPE, len(record)
    return header.tobuf() + record.ljust(512, b"\0") + tarfile.TarInfo(name).tobuf() + bytes(10240)


@pytest.mark.parametrize("size", ["-1", "-512", "-1024", "-10240", "-99999999999999999999", "9" * 19, "9" * 30, "x"])
def test_a_member_of_an_impossible_size_is_no_backup(size: str, tmp_path: Path) -> None:
    file, target = tmp_path / "backup.tar", tmp_path / "target"
    file.write_bytes(make_member("baselines.jsonl", size))
    target.mkdir()
    with pytest.raises(InputError):
        extract_archive(file, target, trusted=[ANYBODY], advance=lambda *_: None)


def test_a_header_that_wants_to_be_held_in_memory_is_refused(tmp_path: Path) -> None:
    file, target = tmp_path / "backup.tar", tmp_path / "target"
    target.mkdir()
    header = tarfile.TarInfo("header")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    with file.open("wb") as written:
        written.write(header.tobuf())
        written.truncate(header.size + 20480)  # holes: it costs its maker nothing
    with pytest.raises(InputError, match="a header has"):
        extract_archive(file, target, trusted=[ANYBODY], advance=lambda *_: None)
