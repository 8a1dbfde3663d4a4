"""Whatever is stored, needed and collected at the same time, and wherever each is interrupted by the other: no baseline that the index has
lacks a table, and what is needed stays."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intact.adapters.store.baselines import BaselineDirectory
from intact.adapters.store.cached import TableCache
from intact.adapters.store.database import Database
from intact.adapters.store.object_settings import ObjectSettings
from intact.adapters.store.objects import Bucket, StoredObject
from intact.adapters.store.shared_baselines import SharedBaselines
from intact.baseline.collect import GRACE_S, collect, plan_collection
from intact.baseline.ports import BaselineFiles, KeptBaseline, KeptTable, StoredBaseline
from intact.model.digest import Digest

DAY = 86400.0
DATA = {Digest.of(bytes([n])): bytes([n]) * (n + 1) for n in range(2)}
ROOTS = tuple(DATA)
LAYERS = st.frozensets(st.integers(0, len(ROOTS) - 1), min_size=1)


def make_stored(layers: frozenset[int]) -> StoredBaseline:
    key = Digest("sha256", hashlib.sha256(repr(sorted(layers)).encode()).digest())
    roots = tuple(sorted(ROOTS[n] for n in layers))
    return StoredBaseline(key=key, aliases=(f"image@{key}",), diff_ids=roots, table_roots=roots, envelope=str(key).encode())


class Interrupted:
    """Calls the next of `steps` before and after whatever it is told of; what is done in a step is not interrupted itself."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []
        self._busy = False

    def here(self) -> None:
        if self.steps and not self._busy:
            self._busy = True
            try:
                self.steps.pop(0)()
            finally:
                self._busy = False


class SteadyBucket(Bucket):
    """Its tags do not change with a file's time, as those of a real bucket."""

    def put(self, name: str, data: memoryview) -> str:
        super().put(name, data)
        return name

    def head(self, name: str) -> StoredObject | None:
        found = super().head(name)
        return found and replace(found, tag=name)


class InterruptedBucket(SteadyBucket):
    def __init__(self, settings: ObjectSettings, interrupted: Interrupted) -> None:
        super().__init__(settings)
        self._interrupted = interrupted

    @contextmanager
    def _around(self) -> Iterator[None]:
        self._interrupted.here()
        yield
        self._interrupted.here()

    def put(self, name: str, data: memoryview) -> str:
        with self._around():
            return super().put(name, data)

    def head(self, name: str) -> StoredObject | None:
        with self._around():
            return super().head(name)

    def delete(self, names: Sequence[str]) -> None:
        with self._around():
            super().delete(names)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        found = list(super().list(prefix))
        self._interrupted.here()
        yield from found


class _Removing:
    """Interrupted between what is planned and what is removed."""

    _interrupted: Interrupted

    def remove_table(self, table: KeptTable, *, stored_before: float) -> bool:
        self._interrupted.here()
        return super().remove_table(table, stored_before=stored_before)  # type: ignore[misc,no-any-return]

    def remove_baseline(self, key: Digest, *, unused_since: float) -> bool:
        self._interrupted.here()
        return super().remove_baseline(key, unused_since=unused_since)  # type: ignore[misc,no-any-return]


class InterruptedDirectory(_Removing, BaselineDirectory):
    """Interrupted where no transaction is open: also between what is written and the index."""

    def __init__(self, directory: Path, interrupted: Interrupted) -> None:
        super().__init__(directory)
        self._interrupted = interrupted

    def _write_table(self, root: Digest, data: memoryview) -> None:
        locked = self._sql.in_transaction
        if not locked:
            self._interrupted.here()
        super()._write_table(root, data)
        if not locked:
            self._interrupted.here()


class InterruptedShared(_Removing, SharedBaselines):
    def __init__(self, database: Database, place: ObjectSettings, cache: TableCache, interrupted: Interrupted) -> None:
        super().__init__(database, InterruptedBucket(place, interrupted), cache)
        self._interrupted = interrupted


Step = tuple[str, frozenset[int] | float]
PUT = st.tuples(st.just("put"), LAYERS)
COLLECT = st.tuples(st.just("collect"), LAYERS | st.just(frozenset()))
REST = st.tuples(st.just("rest"), st.sampled_from([DAY / 2, 2 * DAY, 40 * DAY]))
_LONG: Step = ("rest", 40 * DAY)
_IDLE: Step = ("rest", 0.0)

MEANWHILE = st.lists(st.one_of(st.just(_IDLE), PUT, COLLECT), max_size=4)
ROUND = st.tuples(PUT, REST, st.one_of(COLLECT, PUT), MEANWHILE)


def _put(*layers: int) -> Step:
    return "put", frozenset(layers)


def _collect(*needed: int) -> Step:
    return "collect", frozenset(needed)


@pytest.mark.parametrize("kind", ["embedded", "shared"])
@settings(max_examples=30)
@example(rounds=[(_put(0), _LONG, _put(0), [_IDLE, _collect()])])  # the table goes just after it was found to be there
@example(rounds=[(_put(0), _LONG, _collect(), [_put(0)])])  # the baseline comes back just before it would go
@example(rounds=[(_put(0), _LONG, _collect(), [_IDLE, _put(0)])])
@example(rounds=[(_put(0), _LONG, _collect(), [_IDLE, _IDLE, _put(0)])])  # the table comes back just before it would go
@example(rounds=[(_put(0), _LONG, _collect(), [_IDLE, _IDLE, _IDLE, _put(0)])])  # just before its bytes go
@given(rounds=st.lists(ROUND, min_size=1, max_size=3))
def test_storing_and_collecting_at_once_loses_nothing(kind: str, rounds: list[tuple[Step, Step, Step, list[Step]]]) -> None:
    interrupted = Interrupted()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if kind == "embedded":
            files: BaselineFiles = stack.enter_context(closing(InterruptedDirectory(directory, interrupted)))
            other: BaselineFiles = stack.enter_context(closing(BaselineDirectory(directory)))
        else:
            place = ObjectSettings(url=(directory / "objects").as_uri())
            url = f"sqlite:///{directory / 'intact.db'}"
            one, two = (stack.enter_context(closing(Database.open(url))) for _ in range(2))
            files = InterruptedShared(one, place, TableCache(directory / "one"), interrupted)
            other = SharedBaselines(two, SteadyBucket(place), TableCache(directory / "two"))

        def run(files: BaselineFiles, step: Step) -> None:
            what, given = step
            if not isinstance(given, frozenset):
                if given:
                    age(directory, given)
                return
            stored = make_stored(given)
            if what == "put":
                files.put(stored, {root: memoryview(DATA[root]) for root in stored.table_roots})
                assert files.find(str(stored.key)) == stored
            else:
                before = files.find(str(stored.key))
                collect(files, needed=[f"image@{stored.key}"], now=time.time())
                assert files.find(str(stored.key)) == before or before is None

        for stored, rest, last, meanwhile in rounds:
            for step in (stored, rest):
                run(files, step)
            interrupted.steps = [partial(run, other, step) for step in meanwhile]
            run(files, last)
            interrupted.steps = []
            check_whole(other)
        age(directory, 40 * DAY)
        collect(other, needed=[], now=time.time())
        assert list(other.list_baselines()) == []
        assert list(other.list_tables()) == []


def check_whole(files: BaselineFiles) -> None:
    for key in files.keys():  # noqa: SIM118
        stored = files.find(str(key))
        assert stored is not None
        for root in stored.table_roots:
            for anew in (False, True):
                file = files.open_table(root, anew=anew)
                assert file is not None
                assert bytes(file.data) == DATA[root]


def age(directory: Path, seconds: float) -> None:
    """As if everything that lies there had been done so much earlier."""
    for path in (*directory.glob("tables/*"), *directory.glob("objects/tables/*")):
        written = path.stat().st_mtime - seconds
        os.utime(path, (written, written))
    for name, statements in {
        "baselines.sqlite": ["UPDATE used SET at = at - ?"],
        "intact.db": ["UPDATE baselines SET used_at = used_at - ?", "UPDATE layer_tables SET stored_at = stored_at - ?"],
    }.items():
        if (directory / name).exists():
            with closing(sqlite3.connect(directory / name)) as connection, connection:
                for statement in statements:
                    connection.execute(statement, (seconds,))


@given(
    baselines=st.lists(st.tuples(LAYERS, st.floats(0, 100)), max_size=6, unique_by=lambda one: one[0]),
    tables=st.lists(st.tuples(st.sampled_from([*ROOTS, None]), st.floats(0, 100)), max_size=8),
    needed=LAYERS,
)
def test_the_plan_keeps_what_is_needed_or_young_and_nothing_else(
    baselines: list[tuple[frozenset[int], float]], tables: list[tuple[Digest | None, float]], needed: frozenset[int]
) -> None:
    now = 200 * DAY
    kept = [
        KeptBaseline(key=s.key, aliases=s.aliases, table_roots=s.table_roots, envelope_bytes=1, used_at=now - age_days * DAY)
        for s, age_days in ((make_stored(layers), age_days) for layers, age_days in baselines)
    ]
    stored = [KeptTable(name=str(n), root=root, size_bytes=1, stored_at=now - a * DAY) for n, (root, a) in enumerate(tables)]
    name = make_stored(needed).aliases[0]
    plan = plan_collection(kept, stored, needed=[name], now=now)
    assert {b.key for b, _ in plan.baselines} == {b.key for b in kept if name not in b.aliases and b.used_at <= now - 30 * DAY}
    held = {root for baseline in plan.kept_baselines for root in baseline.table_roots}
    assert {t.name for t, _ in plan.tables} == {t.name for t in stored if t.root not in held and t.stored_at < now - GRACE_S}
    assert len(plan.kept_baselines) + len(plan.baselines) == len(kept)
    assert len(plan.kept_tables) + len(plan.tables) == len(stored)
