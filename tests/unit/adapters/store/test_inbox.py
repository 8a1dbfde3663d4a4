"""What one replica hands to another arrives: once, in order, and soon."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from intact.adapters.store.bell import INBOX, Bell, ring
from intact.adapters.store.database import Database
from intact.adapters.store.inbox import MAX_PER_NODE, PAGE_BYTES, SqlCommands, SqlInbox, SqlTerms, TermTransactions
from intact.adapters.store.reports import SqlReportStore
from intact.model.errors import TemporaryError
from intact.model.seam import Command, Gap, Report
from lab.postgres import Postgres
from tests.unit.adapters.store.conftest import Opener


def report(id: str, node: str = "n1") -> Report:
    return Report(id=id, node=node, at=1.0)


def command(id: str, *, node: str = "n1", expires_at: float = 100.0) -> Command:
    return Command(id=id, node=node, kind="Rescan", pod_uid="p1", expires_at=expires_at)


def drain(inbox: SqlInbox, without: tuple[str, ...] = ()) -> list[str]:
    found, after = [], 0
    while page := inbox.next(after, without):
        found += [waiting.read().id for waiting in page]
        after = page[-1].seq
    return found


def test_reports_are_read_in_the_order_in_which_they_came_and_once(database: Database, open_again: Opener) -> None:
    mine, theirs = SqlInbox(database), SqlInbox(open_again())
    for id in ("r2", "r1", "r3", "r1"):
        mine.put("n1", report(id), 5.0)
    assert drain(theirs) == ["r2", "r1", "r3"] and len(theirs) == 3
    first = theirs.next(0)[0]
    assert (first.node, first.at) == ("n1", 5.0)
    theirs.remove([first.seq])
    assert drain(mine) == ["r1", "r3"]


def test_the_same_id_from_another_node_is_another_report(database: Database) -> None:
    inbox = SqlInbox(database)
    inbox.put("n1", report("r1"), 1.0)
    inbox.put("n2", report("r1", "n2"), 1.0)
    assert len(inbox) == 2 and drain(inbox, ("n1",)) == ["r1"]


def test_large_reports_are_read_a_few_at_a_time_and_the_largest_alone(database: Database) -> None:
    inbox = SqlInbox(database)
    gaps = tuple(Gap(since=1.0, until=2.0, reason="x" * 1000) for _ in range(PAGE_BYTES // 1000))
    for number in range(3):
        inbox.put("n1", replace(report(f"large{number}"), gaps=gaps), 1.0)
        inbox.put("n1", report(f"small{number}"), 1.0)
    assert [len(inbox.next(after)) for after in (0, inbox.next(0)[-1].seq)] == [1, 1]
    assert drain(inbox) == ["large0", "small0", "large1", "small1", "large2", "small2"]


def test_a_node_that_nobody_reads_keeps_its_reports_itself_and_others_are_not_affected(database: Database) -> None:
    inbox = SqlInbox(database)
    with database.transaction():
        for number in range(MAX_PER_NODE):
            inbox.put("n1", report(f"r{number}"), 1.0)
    with pytest.raises(TemporaryError):
        inbox.put("n1", report("one too many"), 1.0)
    inbox.put("n2", report("r1", "n2"), 1.0)


def test_commands_live_until_they_are_settled_or_expire(database: Database) -> None:
    commands = SqlCommands(database)
    for one in (command("a"), command("b"), command("c", expires_at=10.0)):
        commands.put(one)
    commands.put(command("a"))
    assert [one.id for one in commands.live(5.0)] == ["a", "b", "c"]
    commands.settle("a")
    assert commands.live(50.0) == (command("b"),)
    assert commands.forget_before(50.0) == 1


def test_who_does_not_act_any_more_writes_nothing(database: Database, open_again: Opener) -> None:
    other = open_again()
    first = TermTransactions(database, SqlTerms(database).begin("a", 1.0))
    with first.transaction():
        SqlReportStore(database).receive("r1", "n1", 1.0)
    term = SqlTerms(other).begin("b", 2.0)
    with pytest.raises(TemporaryError) as caught, first.transaction():
        SqlReportStore(database).receive("r2", "n1", 1.0)
    assert caught.value.code == "NotActing"
    assert SqlTerms(database).current() == term == 2
    with TermTransactions(other, term).transaction():
        assert SqlReportStore(other).receive("r2", "n1", 1.0)


def test_a_new_term_waits_for_the_last_transaction_of_the_one_before(postgres: Postgres) -> None:
    url = postgres.make_database()
    mine, theirs = Database.open(url), Database.open(url)
    begun: list[int] = []
    with TermTransactions(mine, SqlTerms(mine).begin("a", 1.0)).transaction():
        taking_over = threading.Thread(target=lambda: begun.append(SqlTerms(theirs).begin("b", 2.0)))
        taking_over.start()
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        deadline = time.monotonic() + 60
        while postgres.query(waiting) != ["1"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert begun == []
        SqlReportStore(mine).receive("r1", "n1", 1.0)
    taking_over.join(60)
    assert begun == [2] and not SqlReportStore(theirs).receive("r1", "n1", 1.0)
    mine.close()
    theirs.close()


def test_what_a_node_said_of_its_gaps_is_known_to_all_replicas(database: Database, open_again: Opener) -> None:
    gap = Gap(since=1.0, until=2.0, reason="because", events_lost=3)
    SqlReportStore(database).save_coverage("n1", 5.0, (), "A", (gap,))
    (status,) = SqlReportStore(open_again()).statuses()
    assert (status.node, status.heard_at, status.tier, status.gaps) == ("n1", 5.0, "A", (gap,))


def test_a_ring_wakes_who_waits_in_another_process_after_the_commit(postgres: Postgres) -> None:
    url = postgres.make_database()
    mine, theirs = Database.open(url), Database.open(url)
    bell = Bell(theirs, INBOX)
    bell.wait(0.0)  # begins to listen: from now on nothing is missed
    try:
        with mine.write() as connection:
            ring(connection, INBOX)
            assert not bell.wait(0.2)
        assert bell.wait(60.0)
        assert not bell.wait(0.0)
    finally:
        bell.close()
        mine.close()
        theirs.close()


def test_a_bell_whose_server_is_gone_waits_and_hears_again() -> None:
    with Postgres() as server:
        database = Database.open(server.make_database())
        bell = Bell(database, INBOX)
        bell.wait(0.0)
        server.stop()
        assert bell.wait(60.0)  # something may have rung unheard
        assert not bell.wait(0.1)
        server.start()
        assert bell.wait(0.0)
        with suppress(TemporaryError):
            len(SqlInbox(database))  # a connection from before the restart is noticed to be dead
        with database.write() as connection:
            ring(connection, INBOX)
        assert bell.wait(60.0)
        bell.close()
        database.close()


def test_where_there_is_no_other_process_waiting_is_all_there_is(database: Database) -> None:
    slept: list[float] = []
    bell = Bell(database, INBOX, sleep=slept.append)
    if database.dialect == "sqlite":
        assert not bell.wait(3.0) and slept == [3.0]
    bell.close()
