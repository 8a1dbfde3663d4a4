"""What goes wrong with a PostgreSQL says what to do, and never says the password. On a real server."""

from __future__ import annotations

import logging
import secrets
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from intact.adapters.store.database import Database
from intact.adapters.store.incidents import SqlIncidentStore
from intact.adapters.store.postgres import PostgresServer
from intact.adapters.store.reports import SqlReportStore
from intact.adapters.store.schema import INCIDENTS, REPORTS
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError
from lab.postgres import Postgres
from tests.unit.adapters.store.test_stores import WEB, make_incident

SECRET = "s3cr3t-Word"


@pytest.fixture
def server() -> Iterator[Postgres]:
    """One that the test may stop."""
    with Postgres() as server:
        yield server


def name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def fail_to_open(url: str) -> IntactError:
    with pytest.raises(IntactError) as caught:
        Database.open(url)
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told and SECRET not in str(caught.value) and caught.value.__cause__ is None
    return caught.value


def test_a_wrong_password_needs_somebody_who_knows_the_right_one(postgres: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    database = name_of(postgres.make_database())
    error = fail_to_open(postgres.network_url(database, password=SECRET))
    assert isinstance(error, PermanentError) and error.code == "StoreDenied"
    assert SECRET not in caplog.text


def test_a_missing_database_is_not_waited_for(postgres: Postgres) -> None:
    error = fail_to_open(postgres.network_url("nobody_made_it"))
    assert isinstance(error, PermanentError) and error.code == "StoreMissing"


def test_a_server_that_is_not_there_may_be_there_later() -> None:
    error = fail_to_open(f"postgresql://intact:{SECRET}@127.0.0.1:1/intact")
    assert isinstance(error, TemporaryError) and error.code == "StoreUnreachable"


def test_without_tls_nothing_is_told_to_another_machine(postgres: Postgres) -> None:
    """127.0.0.2 stands for another machine as far as certificates go: it is told to be strict, as it would be by default there."""
    url = f"postgresql://intact:{SECRET}@127.0.0.1:{postgres.port}/postgres?sslmode=verify-full"
    error = fail_to_open(url)
    assert isinstance(error, PermanentError) and error.code == "StoreUntrusted"


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://u:p@db.example/intact", "verify-full"),
        ("postgresql://u:p@10.0.0.5:5432/intact", "verify-full"),
        ("postgres://u@/intact?host=db1.example,db2.example", "verify-full"),
        ("postgresql://u:p@db.example/intact?sslmode=require", "require"),
        ("postgresql+psycopg://u:p@localhost/intact", None),
        ("postgresql://u:p@[::1]:5432/intact", None),
        ("postgresql://u@/intact?host=/run/postgresql", None),
    ],
)
def test_the_certificate_of_another_machine_is_verified_unless_the_url_says_otherwise(url: str, mode: str | None) -> None:
    assert PostgresServer(url).url.query.get("sslmode") == mode


@pytest.mark.parametrize(
    "url", ["", "intact", f"mysql://u:{SECRET}@h/d", f"postgresql://u:{SECRET}@h", f"postgresql://u:{SECRET}@h:port/d"]
)
def test_what_is_no_url_of_a_database_is_refused_without_repeating_it(url: str) -> None:
    assert isinstance(fail_to_open(url), InputError)


def test_a_full_disk_is_worth_another_try(postgres: Postgres) -> None:
    """The server cannot be given a small disk here: it is made to say what it says on a full one."""
    with closing(Database.open(postgres.make_database())) as database:
        with pytest.raises(TemporaryError) as caught, database.write() as connection:
            connection.exec_driver_sql("do $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$")
        assert caught.value.code == "DiskFull" and SqlReportStore(database).receive("r", "n", 1.0)


def test_a_server_that_is_restarted_is_used_again_and_the_time_between_is_temporary(server: Postgres) -> None:
    with closing(Database.open(server.make_database())) as database:
        store = SqlReportStore(database)
        store.receive("r1", "n1", 1.0)
        with pytest.raises(TemporaryError), database.transaction():
            store.receive("r2", "n1", 1.0)
            server.stop()
            store.receive("r3", "n1", 1.0)
        with pytest.raises(TemporaryError):
            store.receive("r4", "n1", 1.0)
        server.start()
        assert not store.receive("r1", "n1", 1.0)
        assert store.receive("r2", "n1", 1.0) and store.receive("r3", "n1", 1.0) and store.receive("r4", "n1", 1.0)


def test_a_deadlock_is_one_sides_temporary_trouble(postgres: Postgres) -> None:
    with closing(Database.open(postgres.make_database())) as database:
        store = SqlReportStore(database)
        for report in ("a", "b"):
            store.receive(report, "n", 1.0)
        both_hold_one = threading.Barrier(2)
        errors: list[IntactError] = []

        def change(first: str, second: str) -> None:
            try:
                with database.write() as connection:
                    connection.execute(update(REPORTS).where(REPORTS.c.id == first).values(at=2.0))
                    both_hold_one.wait(60)
                    connection.execute(update(REPORTS).where(REPORTS.c.id == second).values(at=3.0))
            except IntactError as error:
                errors.append(error)

        threads = [threading.Thread(target=change, args=order) for order in (("a", "b"), ("b", "a"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (error,) = errors
        assert isinstance(error, TemporaryError) and error.code == "StoreConflict"


def test_a_right_that_was_taken_away_is_said(postgres: Postgres) -> None:
    name = name_of(postgres.make_database())
    Database.open(postgres.url(name)).close()
    postgres.query(f"create role reader_{name} login password '{SECRET}'")
    url = postgres.network_url(name, user=f"reader_{name}", password=SECRET)
    error = fail_to_open(url)
    assert isinstance(error, PermanentError) and error.code == "StoreDenied"


def test_text_that_the_database_cannot_hold_is_the_senders_fault(postgres: Postgres) -> None:
    with closing(Database.open(postgres.make_database())) as database:
        with pytest.raises(InputError):
            SqlReportStore(database).receive("r\0", "n1", 1.0)
        with pytest.raises(InputError):
            SqlReportStore(database).receive(secrets.token_hex(50_000), "n1", 1.0)


def test_a_step_that_failed_inside_a_transaction_is_never_half_kept(postgres: Postgres) -> None:
    """PostgreSQL answers COMMIT of a failed transaction with a rollback, without an error: who swallowed the first would lose all."""
    with closing(Database.open(postgres.make_database())) as database:
        store = SqlReportStore(database)
        with pytest.raises(InputError), database.transaction():
            store.receive("r1", "n1", 1.0)
            with pytest.raises(InputError):
                store.receive("r\0", "n1", 1.0)
        assert store.receive("r1", "n1", 1.0)


def test_who_reads_only_cannot_write_on_the_server_either(postgres: Postgres) -> None:
    url = postgres.make_database()
    Database.open(url).close()
    with closing(Database.open(url, read_only=True)) as database:
        with pytest.raises(PermanentError, match="for reading only"), database.transaction():
            pass
        with pytest.raises(TemporaryError), database.read() as connection:
            connection.exec_driver_sql("delete from reports")


def test_two_replicas_that_change_one_incident_at_the_same_time_lose_nothing(postgres: Postgres) -> None:
    """Each reads, thinks and writes; without a lock one would write over what the other had just written."""
    url, rounds = postgres.make_database(), 40
    with closing(Database.open(url)) as first, closing(Database.open(url)) as second:
        SqlIncidentStore(first).save(make_incident())

        def count_up(database: Database) -> None:
            store = SqlIncidentStore(database)
            for _ in range(rounds):
                with database.transaction():
                    incident = store.find_open(WEB)
                    assert incident is not None
                    store.save(replace(incident, count=incident.count + 1))

        threads = [threading.Thread(target=count_up, args=(database,)) for database in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        incident = SqlIncidentStore(first).get("i1")
        assert incident is not None and incident.count == 2 * rounds
        with first.read() as connection:
            assert len(connection.execute(select(INCIDENTS)).all()) == 1
