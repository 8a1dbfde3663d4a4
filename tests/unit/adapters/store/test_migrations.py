"""A database of an older version becomes one of this version and loses nothing, and one of a newer version is left alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

import intact.adapters.store.migrations
from intact.adapters.store import migrate
from intact.adapters.store.database import FILE_NAME, Database
from intact.adapters.store.incidents import SqlIncidentStore, SqlRemediationStore, SqlRevisionStore
from intact.adapters.store.leaves import SqlLeafStore
from intact.adapters.store.outbox import SqlOutbox
from intact.adapters.store.reports import SqlReportStore
from intact.adapters.store.schema import HEAD, KNOWN, METADATA
from intact.audit.export import export_log
from intact.audit.log import AuditLog
from intact.audit.record import Leaf
from intact.audit.verify import verify_export
from intact.model.errors import InputError, PermanentError, TemporaryError
from lab.postgres import Postgres
from tests.unit.adapters.store.test_stores import KEY, PRIVATE, WEB, make_incident, make_outcome, make_reported

FIRST_RELEASE = Path(__file__).with_name("schema_1.sql")
MIGRATIONS = Path(intact.adapters.store.migrations.__file__).parent
COPY = f"{FILE_NAME}.before-{HEAD}"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The state directory of the first release, in the middle of its work."""
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.executescript(FIRST_RELEASE.read_text())
    return tmp_path


def read_all(file: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(file)) as connection:
        tables = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table' order by name")]
        return {table: sorted(connection.execute(f"select * from {table}").fetchall()) for table in tables}


def test_a_database_of_the_first_release_keeps_everything_and_goes_on(old: Path) -> None:
    with closing(Database.in_directory(old)) as database:
        incidents, leaves = SqlIncidentStore(database), SqlLeafStore(database)
        assert incidents.find_open(WEB) == make_incident()
        assert incidents.findings("i1", 10) == (make_reported(b"/etc/pass\xff"),)
        assert SqlRemediationStore(database).unfinished() == (make_outcome(),)
        assert [record.uid for record in SqlRevisionStore(database).of(WEB)] == ["r1"]
        reports = SqlReportStore(database)
        assert not reports.receive("r1", "n1", 2.0) and reports.coverage()[0][0] == "n1"
        outbox = SqlOutbox(database)
        assert outbox.next_due("syslog", 3.0) is None and outbox.next_due("webhook", 3.0) is not None
        log = AuditLog(leaves, key=KEY, signer=PRIVATE, now=2.0)
        log.append([Leaf(kind="KeyEvent", at=2.0)])
        assert verify_export(export_log(leaves)[1], [KEY]).checkpoint.size == 5


def test_the_copy_is_gone_when_it_worked(old: Path) -> None:
    Database.in_directory(old).close()
    assert not list(old.glob("*before*"))
    Database.in_directory(old).close()


def test_a_migration_that_fails_leaves_the_database_as_it_was_and_a_copy(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_all(old / FILE_NAME)

    def fail(connection: object, revision: object) -> None:
        real(connection, revision)  # type: ignore[arg-type]
        raise RuntimeError("the power fails now")

    real = migrate.upgrade
    monkeypatch.setattr(migrate, "upgrade", fail)
    with pytest.raises(RuntimeError):
        Database.in_directory(old)
    assert read_all(old / FILE_NAME) == read_all(old / COPY) == before
    assert (old / COPY).stat().st_mode & 0o777 == 0o600
    monkeypatch.undo()
    Database.in_directory(old).close()
    assert not (old / COPY).exists()


def test_an_older_database_can_be_read_without_changing_it(old: Path) -> None:
    before = (old / FILE_NAME).read_bytes()
    with closing(Database.in_directory(old, read_only=True)) as database:
        assert verify_export(export_log(SqlLeafStore(database))[1], [KEY]).checkpoint.size == 4
    assert (old / FILE_NAME).read_bytes() == before


def test_the_first_release_refuses_what_this_one_made_as_newer(tmp_path: Path) -> None:
    """It reads the highest `version` in `schema_version`, and knows 1."""
    Database.in_directory(tmp_path).close()
    assert read_all(tmp_path / FILE_NAME)["schema_version"] == [(int(HEAD),)]


def test_a_number_beyond_the_known_is_newer_too(old: Path) -> None:
    with closing(sqlite3.connect(old / FILE_NAME)) as connection, connection:
        connection.execute("update schema_version set version = 99")
    with pytest.raises(InputError, match=r"newer Intact \(schema 0099"):
        Database.in_directory(old)


def test_every_revision_is_known_in_its_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert tuple(reversed([one.revision for one in script.walk_revisions()])) == KNOWN
    assert script.get_current_head() == HEAD


def test_what_migrations_make_is_what_the_stores_expect(url: str) -> None:
    Database.open(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA) == []
    engine.dispose()


def test_on_postgresql_it_is_the_same_to_the_letter(postgres: Postgres) -> None:
    migrated, made = postgres.make_database(), postgres.make_database()
    Database.open(migrated).close()
    engine = create_engine(made)
    METADATA.create_all(engine)
    engine.dispose()

    def describe(url: str) -> str:
        name = url.partition("?")[0].rpartition("/")[2]
        postgres.query("drop table if exists alembic_version", name)
        lines = postgres.dump_schema(name).splitlines()
        return "\n".join(line for line in lines if not line.startswith("\\"))  # a token of the dump's own

    assert describe(migrated) == describe(made)


def test_an_older_database_on_postgresql_keeps_everything(postgres: Postgres) -> None:
    url = postgres.make_database()
    name = url.partition("?")[0].rpartition("/")[2]
    Database.open(url).close()
    _go_back_to_the_first(postgres, name)
    postgres.query("insert into reports (node, id, at) values ('n1', 'r1', 1.0)", name)
    with closing(Database.open(url)) as database:
        assert not SqlReportStore(database).receive("r1", "n1", 2.0)
        assert SqlReportStore(database).coverage() == ()
    assert postgres.query("select version_num from alembic_version", name) == [HEAD]


def _go_back_to_the_first(postgres: Postgres, name: str) -> None:
    """There are no downgrades: the tables are dropped and made again by the first revision alone."""
    from alembic import command

    postgres.query("drop schema public cascade; create schema public", name)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(postgres.url(name))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        assert "inbox" not in inspect(connection).get_table_names()
    engine.dispose()


def test_a_migration_that_fails_on_postgresql_leaves_nothing(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.make_database()

    def fail(connection: object, revision: object) -> None:
        real(connection, revision)  # type: ignore[arg-type]
        raise TemporaryError("the power fails now")

    real = migrate.upgrade
    monkeypatch.setattr(migrate, "upgrade", fail)
    with pytest.raises(TemporaryError):
        Database.open(url)
    name = url.partition("?")[0].rpartition("/")[2]
    assert postgres.query("select count(*) from information_schema.tables where table_schema = 'public'", name) == ["0"]


def test_replicas_that_start_together_migrate_once(postgres: Postgres) -> None:
    url = postgres.make_database()
    start = f"from intact.adapters.store.database import Database; Database.open({url!r}).close()"
    replicas = [subprocess.Popen([sys.executable, "-c", start]) for _ in range(3)]
    assert [replica.wait(120) for replica in replicas] == [0, 0, 0]


def test_alembic_is_imported_only_by_who_needs_it(tmp_path: Path) -> None:
    Database.in_directory(tmp_path).close()
    look = f"""
import sys, pathlib
from intact.adapters.store.database import Database
Database.in_directory(pathlib.Path({str(tmp_path)!r})).close()
assert not [name for name in sys.modules if name.startswith(("alembic", "psycopg", "mako"))]
"""
    subprocess.run([sys.executable, "-c", look], check=True)


def test_a_database_of_another_program_on_postgresql_is_refused(postgres: Postgres) -> None:
    url = postgres.make_database()
    postgres.query("create table songs (title text)", url.partition("?")[0].rpartition("/")[2])
    with pytest.raises(InputError, match="another program"):
        Database.open(url)


def test_a_damaged_migration_copy_of_before_is_in_nobodys_way(old: Path) -> None:
    (old / COPY).write_bytes(b"half a copy of an attempt that was killed")
    Database.in_directory(old).close()
    assert not (old / COPY).exists()


def test_a_copy_that_cannot_be_made_stops_the_migration(old: Path) -> None:
    before = read_all(old / FILE_NAME)
    (old / COPY).mkdir()
    with pytest.raises(PermanentError, match="no copy of"):
        Database.in_directory(old)
    assert read_all(old / FILE_NAME) == before
