"""What no image needs goes from every place, and nothing else; told in advance, and in the record."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from intact.adapters.store.database import Database
from intact.adapters.store.leaves import SqlLeafStore
from intact.audit.log import AuditLog
from intact.audit.ports import Query
from intact.audit.query import find_leaves
from intact.audit.record import LeafKind
from intact.baseline.collect import collect
from intact.baseline.store import BaselineStore
from intact.model.errors import InputError
from intact.run.cli import cli
from intact.run.cluster.housekeeping import BaselineKeeper
from tests.unit.audit.test_note import KEY, PRIVATE
from tests.unit.baseline.test_store import OWN, make_baseline

from .places import EMBEDDED, SHARED, Place

DAY = 86400.0


@pytest.fixture(params=[EMBEDDED, *SHARED])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(request.param, request, tmp_path, stack)


def test_what_nothing_needed_for_long_goes_and_shared_layers_stay(place: Place) -> None:
    files = place.open()
    store = BaselineStore(files, signer=OWN)
    running, gone = make_baseline(b"running"), make_baseline(b"gone")
    store.put(running)
    store.put(gone)
    later = time.time() + 40 * DAY
    told = collect(files, needed=[running.aliases[-1]], now=later, dry_run=True)
    assert store.keys() == tuple(sorted((running.key, gone.key)))
    done = collect(files, needed=[running.aliases[-1]], now=later)
    assert done == told
    assert [one.name for one in done.baselines] == [str(gone.key)]
    assert [gone.layers[1].root.hex in one.name for one in done.tables] == [True]
    assert done.size_bytes > 0
    assert (done.kept_baselines, done.kept_tables) == (1, 2)
    assert len(place.names()) == 2
    found = BaselineStore(place.open(), signer=OWN).get(str(running.key))
    assert found is not None
    assert list(found.scan()) == list(running.scan())
    store.put(gone)
    assert BaselineStore(place.open(), signer=OWN).get(str(gone.key)) is not None


def test_what_was_needed_lately_stays_after_its_image_stopped(place: Place) -> None:
    files = place.open()
    baseline = make_baseline()
    BaselineStore(files, signer=OWN).put(baseline)
    begin = time.time()
    collect(files, needed=[str(baseline.key)], now=begin + 40 * DAY)
    assert not collect(files, needed=[], now=begin + 69 * DAY).baselines
    assert len(collect(files, needed=[], now=begin + 71 * DAY).baselines) == 1
    assert place.names() == []


def test_young_tables_stay_and_old_ones_that_nobody_knows_go(place: Place) -> None:
    files = place.open()
    baseline = make_baseline()
    BaselineStore(files, signer=OWN).put(baseline)
    (key,) = files.keys()
    assert files.remove_baseline(key, unused_since=time.time() + 1)
    assert not collect(files, needed=[], now=time.time() + DAY / 2).tables
    assert len(place.names()) == 2
    assert {one.reason for one in collect(files, needed=[], now=time.time() + 2 * DAY).tables} == {"left over: no baseline has it"}
    assert place.names() == []


def test_a_grace_that_could_lose_something_is_refused(place: Place) -> None:
    with pytest.raises(InputError, match="just being stored"):
        collect(place.open(), needed=[], now=time.time(), grace_s=60.0)


def test_the_controller_tells_the_record_what_went(place: Place, tmp_path: Path) -> None:
    files = place.open()
    running, gone = make_baseline(b"running"), make_baseline(b"gone")
    for baseline in (running, gone):
        BaselineStore(files, signer=OWN).put(baseline)
    with closing(Database.in_directory(tmp_path / "log")) as database:
        leaves = SqlLeafStore(database)
        audit = AuditLog(leaves, key=KEY, signer=PRIVATE, now=1.0)
        keeper = BaselineKeeper(files, needed=lambda: {str(running.key)}, audit=audit, clock=lambda: time.time() + 40 * DAY)
        keeper.collect()
        keeper.collect()
        (told,) = [leaf for _, leaf in find_leaves(leaves, Query(kinds=frozenset({LeafKind.BASELINES_COLLECTED})))]
    assert told.body["baselines"] == [str(gone.key)]
    assert told.body["tables_count"] == 1


def test_the_command_tells_before_it_does(tmp_path: Path) -> None:
    class Request:
        """Nothing of a server is needed."""

    with ExitStack() as stack:
        (tmp_path / "baselines").mkdir()
        place = Place(EMBEDDED, Request(), tmp_path / "baselines", stack)  # type: ignore[arg-type]
        BaselineStore(place.open(clock=lambda: time.time() - 40 * DAY), signer=OWN).put(make_baseline(b"old"))
        BaselineStore(place.open(clock=lambda: time.time() - 2 * DAY), signer=OWN).put(make_baseline(b"new"))

    def gc(*words: str) -> dict[str, object]:
        result = CliRunner().invoke(
            cli, ["baseline", "gc", "--state-dir", str(tmp_path), "--output", "json", *words], catch_exceptions=False
        )
        document: dict[str, object] = json.loads(result.stdout)
        return document

    told, done = gc("--dry-run"), gc()
    assert (told["dryRun"], done["dryRun"]) == (True, False)
    assert told["baselines"] == done["baselines"]
    assert len(done["baselines"]) == 1  # type: ignore[arg-type]
    assert done["tables"] == [], "they were stored in the last day"
    assert gc()["baselines"] == []
    assert gc("--retain-days", "1", "--keep", str(make_baseline(b"new").key))["baselines"] == []


def test_a_directory_without_baselines_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["baseline", "gc", "--state-dir", str(tmp_path)])
    assert isinstance(result.exception, InputError)
    assert list(tmp_path.iterdir()) == []
