"""What is read of the writable layer: data by the gigabyte is not, and code hides in none of it where the image has code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.adapters.linux import content
from intact.adapters.linux.tree import HostTree
from intact.compare.differ import compare
from intact.compare.interest import choose_reading
from intact.compare.judge import judge
from intact.model.finding import Level
from intact.model.observation import Observation
from intact.observe.drift import scan_drift

from .staged import Staged


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path) as one:
        for directory in ("var/lib/postgresql/data", "srv/app", "var/www/html", "var/log", "tmp", "etc"):
            (one.image / directory).mkdir(parents=True)
        (one.image / "srv/app/main.py").write_bytes(b"py")
        (one.image / "var/www/html/index.php").write_bytes(b"<?php")
        (one.image / "var/log/big.log").write_bytes(b"begin")
        yield one.start()


def look(staged: Staged) -> Observation:
    with HostTree(os.fsencode(staged.upper), known=staged.known) as tree:
        choose = choose_reading(staged.baseline, ())
        return scan_drift(staged.running(), tree, baseline=staged.baseline, clock=lambda: 0.0, choose_reading=choose)


def told(staged: Staged) -> dict[bytes, tuple[str, Level]]:
    observation = look(staged)
    verdict = judge(staged.baseline, observation, compare(staged.baseline, observation))
    return {finding.difference.path: (finding.rule, finding.level) for finding in verdict.findings}


def test_a_database_is_not_opened(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (staged.inside / f"var/lib/postgresql/data/{number}").write_bytes(b"#!/" + bytes(70_000))
    (staged.inside / "var/log/big.log").write_bytes(bytes(1 << 20))
    opened: list[bytes] = []

    def note_and_open(directory: int, name: bytes) -> int:
        opened.append(name)
        return content.open_regular(directory, name)

    monkeypatch.setattr("intact.adapters.linux.tree.open_regular", note_and_open)
    assert told(staged) == {}
    assert opened == []


def test_what_runs_may_be_asked_for_its_digest_wherever_it_lies(staged: Staged) -> None:
    (staged.inside / "tmp/libx.so").write_bytes(b"\x7fELF")
    (tmp,) = (entry for entry in look(staged).present if entry.path == b"/tmp/libx.so")
    assert tmp.digest is not None


@pytest.mark.parametrize(
    "head",
    [b"\x7fELF\2\1", b"#!/bin/sh\n", b"<?php system", b"<?= 1 ?>", b"\xca\xfe\xba\xbe\0\0", b"\0asm\1", b"\xa7\r\r\n\0\0"],
    ids=["ELF", "script", "PHP", "short PHP", "class", "WebAssembly", "bytecode"],
)
def test_code_with_a_harmless_name_is_told_where_the_image_has_code(staged: Staged, head: bytes) -> None:
    for name in ("srv/app/data.bin", "var/www/html/cat.jpg", "srv/app/new/x"):
        (staged.inside / name).parent.mkdir(exist_ok=True)
        (staged.inside / name).write_bytes(head + bytes(100))
    (staged.inside / "srv/app/app.db").write_bytes(b"SQLite format 3\0" + bytes(100))
    assert told(staged) == dict.fromkeys((b"/srv/app/data.bin", b"/srv/app/new/x", b"/var/www/html/cat.jpg"), ("code-added", Level.HIGH))


def test_a_large_file_of_code_is_told_though_its_hash_costs_too_much(staged: Staged) -> None:
    with (staged.inside / "srv/app/huge").open("wb") as file:
        file.write(b"\x7fELF")
        file.truncate(1 << 40)
    assert told(staged) == {b"/srv/app/huge": ("code-added", Level.HIGH)}


def test_code_that_is_written_into_a_file_of_data_later_is_told(staged: Staged) -> None:
    path = staged.inside / "srv/app/data.bin"
    path.write_bytes(bytes(100))
    assert told(staged) == {}
    assert told(staged) == {}
    path.write_bytes(b"#!/bin/sh\n" + bytes(90))
    assert told(staged) == {b"/srv/app/data.bin": ("code-added", Level.HIGH)}
