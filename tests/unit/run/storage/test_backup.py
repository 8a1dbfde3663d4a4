"""A backup taken while others write is of one moment; it comes back in the same kind of store or another, verified, or not at all."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import create_engine

from intact.adapters.keys.signing import generate_key, load_ed25519_key
from intact.adapters.store.baselines import BaselineDirectory
from intact.adapters.store.cached import TableCache
from intact.adapters.store.database import FILE_NAME, Database
from intact.adapters.store.leaves import SqlLeafStore
from intact.adapters.store.migrate import read_revision, upgrade
from intact.adapters.store.object_settings import ObjectSettings
from intact.adapters.store.objects import Bucket
from intact.adapters.store.reports import SqlReportStore
from intact.adapters.store.schema import INBOX, KNOWN
from intact.adapters.store.shared_baselines import SharedBaselines
from intact.audit.export import export_log
from intact.audit.log import AuditLog
from intact.audit.note import NoteKey
from intact.audit.record import Leaf, LeafKind
from intact.audit.steps import record_key_event
from intact.audit.verify import verify_export
from intact.baseline.ports import BaselineFiles
from intact.baseline.signing import KeySigner
from intact.baseline.store import BaselineStore
from intact.model.errors import InputError, IntactError, PermanentError
from intact.run.cli import cli
from intact.run.storage.memory import AUDIT_KEY, AUDIT_ORIGIN, REPLACED, RESTORING, open_state, read_audit_key, read_retired_keys
from lab.postgres import Postgres
from lab.s3 import ObjectServer
from tests.unit.baseline.test_store import OWN, make_baseline

LEAVES, BASELINES = 12, 3


def run(*words: str | Path, fails: type[IntactError] | None = None) -> str:
    """The command's stdout; or, where it must fail, its message."""
    result = CliRunner().invoke(cli, [str(word) for word in words])
    if fails is not None:
        assert isinstance(result.exception, fails), result.output
        return str(result.exception)
    assert result.exception is None, result.output
    return result.stdout


@contextmanager
def open_log(directory: Path, database: Database) -> Iterator[AuditLog]:
    if not (directory / f"{AUDIT_KEY}.pem").exists():
        generate_key(directory / AUDIT_KEY)
    private = load_ed25519_key(directory / f"{AUDIT_KEY}.pem")
    key = NoteKey(name=AUDIT_ORIGIN, public=private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    yield AuditLog(SqlLeafStore(database), key=key, signer=private, now=time.time(), retired=read_retired_keys(directory))


def append(log: AuditLog, number: int) -> None:
    log.append([record_key_event(purpose="test", verb="Used", key=str(number), now=time.time())])


def fill(directory: Path, database: Database, files: BaselineFiles) -> None:
    with open_log(directory, database) as log:
        for number in range(LEAVES - 1):
            append(log, number)
    SqlReportStore(database).receive("report", "node", 1.5)
    store = BaselineStore(files, signer=OWN)
    for number in range(BASELINES):
        store.put(make_baseline(b"%d" % number))


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    directory = tmp_path / "origin"
    with closing(Database.in_directory(directory)) as database, closing(BaselineDirectory(directory / "baselines")) as files:
        fill(directory, database, files)
    return directory


def read_log(directory: Path, database: Database) -> list[Leaf]:
    """Verified, under the keys that lie in `directory`."""
    leaves: list[Leaf] = []
    keys = [*read_retired_keys(directory)]
    if (directory / f"{AUDIT_KEY}.pub").exists():
        keys.append(read_audit_key(directory / f"{AUDIT_KEY}.pub"))
    verify_export(export_log(SqlLeafStore(database))[1], keys, on_leaf=lambda _, leaf: leaves.append(leaf))
    return leaves


def check_baselines(files: BaselineFiles) -> None:
    store = BaselineStore(files, signer=OWN)
    assert len(store.keys()) == BASELINES
    for number in range(BASELINES):
        baseline = make_baseline(b"%d" % number)
        found = store.get(str(baseline.key))
        assert found is not None
        assert list(found.scan()) == list(baseline.scan())


def check(directory: Path, *, continued: bool) -> None:
    with closing(Database.in_directory(directory)) as database:
        leaves = read_log(directory, database)
        assert not SqlReportStore(database).receive("report", "node", 2.0)
    kinds = [leaf.kind for leaf in leaves[LEAVES:]]
    assert kinds == ([LeafKind.RESTORED] if continued else [])
    with closing(BaselineDirectory(directory / "baselines")) as files:
        check_baselines(files)


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "lock"}


def test_what_was_backed_up_with_its_keys_comes_back_and_goes_on(origin: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "backup.tar", tmp_path / "target"
    digest = run("backup", "--state-dir", origin, "-o", file, "--with-keys").strip()
    assert file.stat().st_mode & 0o077 == 0
    said = run("restore", file, "--state-dir", target, "--trust", origin / "audit.pub")
    assert digest in said
    assert f"audit log verified: {LEAVES} leaves" in said
    check(target, continued=True)
    with closing(Database.in_directory(target)) as database, open_log(target, database) as log:
        append(log, 99)
        assert len(read_log(target, database)) == LEAVES + 2


def test_without_its_keys_the_log_goes_on_under_a_new_one_and_says_so(origin: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "backup.tar", tmp_path / "target"
    run("backup", "--state-dir", origin, "-o", file)
    with tarfile.open(file) as tar:
        assert not [name for name in tar.getnames() if name.endswith(".pem")]
    run("restore", file, "--state-dir", target, "--trust", origin / "audit.pub")
    check(target, continued=False)
    with closing(Database.in_directory(target)) as database, open_log(target, database):
        last = read_log(target, database)[-1]
    assert (last.kind, last.body["verb"]) == (LeafKind.KEY_EVENT, "KeyRotated")


def test_a_directory_gets_a_file_with_a_name_of_its_own(origin: Path, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    place.mkdir()
    run("backup", "--state-dir", origin, "-o", place)
    (file,) = place.iterdir()
    run("restore", file, "--state-dir", tmp_path / "target", "--trust", origin / "audit.pub")


def test_what_is_there_is_replaced_only_where_that_is_said(origin: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    run("backup", "--state-dir", origin, "-o", file, "--with-keys")
    with closing(Database.in_directory(origin)) as database, open_log(origin, database) as log:
        append(log, 77)
    before = snapshot(origin)
    assert "not empty" in run("restore", file, "--state-dir", origin, fails=IntactError)
    assert snapshot(origin) == before
    run("restore", file, "--state-dir", origin, "--replace")
    check(origin, continued=True)
    assert {path.name for path in origin.iterdir()} >= {FILE_NAME, "audit.pem", "audit.pub", "baselines"}
    assert not (origin / RESTORING).exists()


def test_whoever_kept_a_later_checkpoint_sees_that_an_older_log_was_restored(origin: Path, tmp_path: Path) -> None:
    file, export, kept = tmp_path / "backup.tar", tmp_path / "log.jsonl", tmp_path / "checkpoint"
    run("backup", "--state-dir", origin, "-o", file, "--with-keys")
    with closing(Database.in_directory(origin)) as database, open_log(origin, database) as log:
        append(log, 1)
        append(log, 2)
    run("audit", "export", "--state", origin, "-o", export)
    run("audit", "verify", export, "--key", origin / "audit.pub", "--save-checkpoint", kept)
    run("restore", file, "--state-dir", origin, "--replace")
    run("audit", "export", "--state", origin, "-o", export)
    run("audit", "verify", export, "--key", origin / "audit.pub")
    run("audit", "verify", export, "--key", origin / "audit.pub", "--checkpoint", kept, fails=IntactError)


@pytest.mark.parametrize("at", [0.02, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999])
def test_no_altered_or_cut_backup_is_restored(origin: Path, tmp_path: Path, at: float) -> None:
    file, target = tmp_path / "backup.tar", tmp_path / "target"
    run("backup", "--state-dir", origin, "-o", file, "--with-keys")
    data = file.read_bytes()
    with tarfile.open(file) as tar:
        ends = [(member.offset_data, member.offset_data + member.size) for member in tar if member.size]
    start, end = ends[int(at * len(ends))]
    position = (start + end) // 2
    for bad in (data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :], data[:position]):
        file.write_bytes(bad)
        run("restore", file, "--state-dir", target, "--trust", origin / "audit.pub", fails=IntactError)
        assert [path.name for path in target.iterdir()] == ["lock"]


def test_a_backup_that_somebody_else_signed_is_refused(origin: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "backup.tar", tmp_path / "target"
    run("backup", "--state-dir", origin, "-o", file, "--with-keys")
    generate_key(tmp_path / "other")
    refused = run("restore", file, "--state-dir", target, "--trust", tmp_path / "other.pub", fails=IntactError)
    assert f"{file}: no trusted key signed it" in refused
    assert "nobody is trusted" in run("restore", file, "--state-dir", target, fails=IntactError)


def test_a_backup_goes_to_a_file_and_says_little_off_a_terminal(origin: Path, tmp_path: Path) -> None:
    assert "not to stdout" in run("backup", "--state-dir", origin, "-o", "-", fails=IntactError)
    result = CliRunner().invoke(cli, ["backup", "--state", str(origin), "-o", str(tmp_path / "backup.tar")])
    said = [line for line in result.stderr.splitlines() if line.startswith("backing up")]
    assert said == [f"backing up {kind}" for kind in ("rows", "tables", "baselines", "state")]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "state/../../outside", "rows/strange.jsonl", "state/.hidden"])
def test_members_that_are_none_of_a_backups_are_refused(origin: Path, tmp_path: Path, name: str) -> None:
    file, target = tmp_path / "backup.tar", tmp_path / "a" / "target"
    with tarfile.open(file, "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    run("restore", file, "--state-dir", target, "--trust", origin / "audit.pub", fails=IntactError)
    assert not (tmp_path / "a" / "outside").exists()
    assert not (tmp_path / "outside").exists()


def test_a_backup_while_others_write_is_of_one_moment(origin: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    begun = threading.Event()

    def write() -> None:
        with closing(Database.in_directory(origin)) as database, open_log(origin, database) as log:
            while not stop.is_set():
                append(log, 5)
                begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        begun.wait()
        for number in range(3):
            run("backup", "--state-dir", origin, "-o", tmp_path / f"{number}.tar", "--with-keys")
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        run("restore", tmp_path / f"{number}.tar", "--state-dir", tmp_path / str(number), "--trust", origin / "audit.pub")


def test_a_process_that_uses_the_directory_is_left_alone(origin: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    run("backup", "--state-dir", origin, "-o", file, "--with-keys")
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(origin)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdout.readline()
        assert "uses" in run("restore", file, "--state-dir", origin, "--replace", fails=IntactError)
        run("backup", "--state-dir", origin, "-o", file, "--with-keys")
    finally:
        process.communicate(b"\n")


@pytest.mark.parametrize("moment", [0, 1, 3, 4, 5, 8])
def test_a_restore_killed_at_any_moment_leaves_the_old_or_the_new_or_a_refusal(origin: Path, tmp_path: Path, moment: int) -> None:
    file = tmp_path / "backup.tar"
    run("backup", "--state-dir", origin, "-o", file, "--with-keys")
    with closing(Database.in_directory(origin)) as database, open_log(origin, database) as log:
        append(log, 77)
    code = KILLED.replace("MOMENT", str(moment))
    subprocess.run([sys.executable, "-c", code, str(file), str(origin)], check=False, capture_output=True)
    if (origin / RESTORING / REPLACED).exists():
        with pytest.raises(PermanentError, match="not finished"):
            open_state(origin)
    else:
        with closing(Database.in_directory(origin)) as database:
            leaves = read_log(origin, database)
        assert leaves[LEAVES].kind in (LeafKind.KEY_EVENT, LeafKind.RESTORED)
    run("restore", file, "--state-dir", origin, "--replace", "--trust", find_key(origin))
    check(origin, continued=True)


HOLDING = """
import sys
from pathlib import Path
from intact.run.storage.memory import open_state
state = open_state(Path(sys.argv[1]))
print(flush=True)
input()
"""
KILLED = """
import os, sys
from pathlib import Path
from intact.run.cli import cli
left = MOMENT
rename = Path.rename
def counted(self, target):
    global left
    if left == 0:
        os._exit(9)
    left -= 1
    return rename(self, target)
Path.rename = counted
cli(["restore", sys.argv[1], "--state-dir", sys.argv[2], "--replace"])
"""


def find_key(directory: Path) -> Path:
    found = [directory / "audit.pub", directory / RESTORING / REPLACED / "audit.pub", directory / RESTORING / "new" / "audit.pub"]
    return next(path for path in found if path.exists())


@pytest.fixture
def shared(tmp_path: Path, postgres: Postgres, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ObjectSettings]:
    monkeypatch.setenv("INTACT_OBJECTS_ENDPOINT", object_server.endpoint)
    monkeypatch.setenv("INTACT_OBJECTS_PLAIN_HTTP", "true")
    bucket = object_server.make_bucket()
    return postgres.make_database(), ObjectSettings(url=f"s3://{bucket}/intact", endpoint=object_server.endpoint, plain_http=True)


def test_one_node_moves_to_postgresql_and_s3_and_back(origin: Path, tmp_path: Path, shared: tuple[str, ObjectSettings]) -> None:
    url, place = shared
    first, second, keys = tmp_path / "first.tar", tmp_path / "second.tar", tmp_path / "keys"
    run("backup", "--state-dir", origin, "-o", first, "--with-keys")
    there = ("--database", url, "--objects", place.url)
    run("restore", first, "--state-dir", keys, *there, "--trust", origin / "audit.pub")
    with closing(Database.open(url)) as database:
        assert [leaf.kind for leaf in read_log(keys, database)[LEAVES:]] == [LeafKind.RESTORED]
        check_baselines(SharedBaselines(database, Bucket(place), TableCache(tmp_path / "copies")))
        with open_log(keys, database) as log:
            append(log, 99)
    assert not (keys / FILE_NAME).exists()
    run("restore", first, "--state-dir", tmp_path / "other", *there, "--trust", origin / "audit.pub", fails=IntactError)

    run("backup", "--state-dir", keys, *there, "-o", second, "--with-keys")
    back = tmp_path / "back"
    run("restore", second, "--state-dir", back, "--trust", origin / "audit.pub")
    with closing(Database.in_directory(back)) as database:
        assert len(read_log(back, database)) == LEAVES + 3
    with closing(BaselineDirectory(back / "baselines")) as files:
        check_baselines(files)


def test_a_backup_leaves_a_database_of_an_older_version_as_it_is(origin: Path, tmp_path: Path, shared: tuple[str, ObjectSettings]) -> None:
    """The command may be newer than the processes that use the database."""
    url, place = shared
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrade(connection, None, KNOWN[-2])
    there = ("--database", url, "--objects", place.url)
    said = run("backup", "--state-dir", origin, *there, "-o", tmp_path / "b.tar", fails=InputError)
    assert "older Intact" in said and not (tmp_path / "b.tar").exists()
    with engine.begin() as connection:
        assert read_revision(connection, "it") == KNOWN[-2]
    engine.dispose()


def test_numbers_go_on_behind_the_restored_ones(origin: Path, tmp_path: Path, shared: tuple[str, ObjectSettings]) -> None:
    url, _ = shared
    with closing(Database.in_directory(origin)) as database, database.write() as connection:
        connection.execute(INBOX.insert().values(seq=41, node="n", id="a", at=1.0, document=b"x"))
    run("backup", "--state-dir", origin, "-o", tmp_path / "b.tar")
    run("restore", tmp_path / "b.tar", "--state-dir", tmp_path / "keys", "--database", url, "--trust", origin / "audit.pub")
    with closing(Database.open(url)) as database, database.write() as connection:
        connection.execute(INBOX.insert().values(node="n", id="b", at=1.0, document=b"x"))
        assert sorted(connection.scalars(INBOX.select().with_only_columns(INBOX.c.seq))) == [41, 42]


def test_an_interrupted_backup_leaves_nothing(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "backups"
    place.mkdir()
    (place / "b.tar").write_bytes(b"the last one")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(KeySigner, "sign", interrupt)
    CliRunner().invoke(cli, ["backup", "--state-dir", str(origin), "-o", str(place / "b.tar")])
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"b.tar": b"the last one"}
