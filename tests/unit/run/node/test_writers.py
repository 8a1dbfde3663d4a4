"""Who did what was found is known after a restart, of what was found and of nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from intact.model.container import Container, Running
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.process import Ancestor, Writer
from intact.run.node.watched import Watched
from intact.run.node.writers import FILE, WriterMemory

CONTAINER = Container(id="c", name="c", image="i", image_key=None, node="n")
WRITER = Writer(pid=7, executable=b"/bin/sh\xff", arguments=(b"sh",), parents=(Ancestor(pid=1, executable=b"/init"),), uid=33)
FOUND = Finding(
    container=CONTAINER,
    difference=Difference(
        path=b"/x", change=Change.ADDED, expected=None, actual=Entry(path=b"/x", kind=Kind.FILE, mode=0o644, digest=Digest.of(b"1"))
    ),
    level=Level.HIGH,
    rule="code-added",
    scope=Scope.DRIFT,
    baseline_root=Digest.of(b""),
    grade=Grade.VERIFIED,
    observed_at=1.0,
    writer=WRITER,
)


def test_it_is_known_after_a_restart(tmp_path: Path) -> None:
    WriterMemory(tmp_path).keep([FOUND, replace(FOUND, writer=None)])
    again = WriterMemory(tmp_path)
    assert again.find(FOUND.id) == WRITER
    watched = Watched(running=Running(container=CONTAINER, init_pid=1, mounted=None, unobservable="fake"), remember=again.find)
    unsigned = replace(FOUND, writer=None)
    (signed,) = watched.sign(Verdict(container=CONTAINER, state=State.DRIFTED, scope=Scope.DRIFT, findings=(unsigned,))).findings
    assert signed.writer == WRITER and "pid 7" in signed.process


def test_a_path_that_was_changed_again_is_nobodys(tmp_path: Path) -> None:
    WriterMemory(tmp_path).keep([FOUND])
    entry = Entry(path=b"/x", kind=Kind.FILE, mode=0o644, digest=Digest.of(b"2"))
    other = replace(FOUND, difference=replace(FOUND.difference, actual=entry))
    assert WriterMemory(tmp_path).find(other.id) is None


def test_what_is_not_found_any_more_is_forgotten(tmp_path: Path) -> None:
    memory = WriterMemory(tmp_path)
    memory.keep([FOUND])
    memory.keep([])
    assert memory.find(FOUND.id) is None and WriterMemory(tmp_path).find(FOUND.id) is None


@pytest.mark.parametrize("damage", [b"", b"[{]", b'[{"finding_id": 1}]'])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    memory = WriterMemory(tmp_path)
    assert memory.find(FOUND.id) is None
    memory.keep([FOUND])
    assert WriterMemory(tmp_path).find(FOUND.id) == WRITER
