"""A changed image file that a container tries to have called anything but changed; and an unchanged one that must not be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.compare.differ import compare
from intact.compare.judge import judge
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind, describe
from intact.model.finding import State, Verdict
from intact.model.observation import Observation
from intact.observe.ports import Budget
from tests.attack.staged import Staged, seen

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(120)]

SIZE = 4096


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path / "staged") as staged:
        for name in ("bin", "srv"):
            (staged.image / name).mkdir()
        (staged.image / "bin" / "tool").write_bytes(b"A" * SIZE)
        for name in ("a.php", "b.php"):
            (staged.image / "srv" / name).write_bytes(b"<?php")
        yield staged.start()


def verdict(staged: Staged, observation: Observation) -> Verdict:
    return judge(staged.baseline, observation, compare(staged.baseline, observation))


def test_a_changed_file_that_never_holds_still_is_a_finding(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who touches it all the time would else have it called `Unobserved`, which nobody is alerted of."""
    (staged.inside / "bin/tool").write_bytes(b"B" * SIZE)
    read = os.preadv

    def touch_and_read(descriptor: int, *rest: object) -> int:
        os.utime(staged.upper / "bin/tool")
        return read(descriptor, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "preadv", touch_and_read)
    told = verdict(staged, staged.look())
    assert [finding.difference.path for finding in told.findings] == [b"/bin/tool"]
    (staged.inside / "bin/tool").write_bytes(b"A" * SIZE)
    told = verdict(staged, staged.look())
    assert (told.state, [one.path for one in told.unobserved]) == (State.UNOBSERVED, [b"/bin/tool"])


def test_files_that_need_no_hash_leave_the_budget_to_those_that_do(staged: Staged) -> None:
    (staged.inside / "aaa").mkdir()
    for number in range(16):
        bait = staged.inside / f"aaa/{number}"
        bait.write_bytes(b"x" * SIZE)
        bait.chmod(0o755)
    (staged.inside / "bin/tool").write_bytes(b"B" * SIZE)
    told = staged.look(budget=Budget(read_bytes=4 * SIZE))
    assert seen(told)[b"/bin/tool"].digest == Digest.of(b"B" * SIZE)
    assert told.unobserved == ()


def test_a_file_with_two_names_is_looked_at_before_the_forest_it_hides_in(staged: Staged) -> None:
    for number in range(300):
        (staged.inside / f"aaa{number}").mkdir()
    (staged.inside / "bin/tool").write_bytes(b"B" * SIZE)
    os.link(staged.inside / "bin/tool", staged.inside / "zzz")
    told = staged.look({b"/bin/tool"}, budget=Budget(seconds=0.0))
    assert seen(told)[b"/bin/tool"].digest == Digest.of(b"B" * SIZE)


def test_a_directory_put_back_as_it_was_is_not_called_deleted(staged: Staged, tmp_path: Path) -> None:
    """A look at one new file in it did not look at its others, and called them deleted: a wrong rollback of an intact workload."""
    shutil.copytree(staged.inside / "srv", tmp_path / "copy")
    shutil.rmtree(staged.inside / "srv")
    shutil.copytree(tmp_path / "copy", staged.inside / "srv")
    assert verdict(staged, staged.look()).state is State.INTACT
    (staged.inside / "srv/note.txt").touch()
    assert verdict(staged, staged.look({b"/srv/note.txt"})).findings == ()
    (staged.inside / "srv/a.php").unlink()
    told = verdict(staged, staged.look({b"/srv/a.php/"}))
    assert [finding.difference.path for finding in told.findings] == [b"/srv/a.php"]


def test_names_of_attributes_are_shown_harmless() -> None:
    """They may hold anything but NUL, and stand in alerts."""
    entry = Entry(path=b"/x", kind=Kind.FILE, mode=0o644, xattrs=((b"user.\x1b[2J\n<14>1 forged", b""),))
    assert describe(entry).isprintable()
