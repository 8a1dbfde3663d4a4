"""A look whose memory is bounded from outside: no container makes it need more, and what it left out is said.

Whoever needs more than its control group may have is killed by the kernel.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from intact.model.errors import EXIT_CLEAN, EXIT_FINDINGS
from lab import images
from lab.cgroups import hierarchies, is_unified, make_group, remove_groups
from lab.runtime import Runtime
from lab.watching import INTACT

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(300)]

NAME = "docker.io/local/confined:1"
IDS = ("quiet", "crowded", "hollow")
ROOM_BYTES = 96 << 20
"""More than a look at a container in which nothing changed needs."""
FILES = 100_000


@dataclass(frozen=True)
class Done:
    code: int
    rows: list[dict[str, Any]]
    talk: str
    peak_bytes: int


@contextmanager
def group_of(at_most_bytes: int) -> Iterator[Path]:
    """A control group with a bound on memory, gone afterwards."""
    name = f"intact-confined-{os.getpid()}"
    make_group(name)
    try:
        (hierarchy,) = [one for one in hierarchies() if is_unified() or one.name == "memory"]
        group = hierarchy / name / "look"
        group.mkdir()
        (group / ("memory.max" if is_unified() else "memory.limit_in_bytes")).write_text(str(at_most_bytes))
        yield group
        killed = (group / ("memory.events" if is_unified() else "memory.oom_control")).read_text().splitlines()
        assert "oom_kill 0" in killed
    finally:
        remove_groups(name)


def check(runtime: Runtime, id: str, group: Path | None = None) -> Done:
    """`intact check` of a container as people run it, in `group`."""
    words = [*INTACT, "check", "--container", id, "--socket", str(runtime.address), "--no-layers", "--output", "json"]
    join = f"echo $$ >{group}/cgroup.procs && " if group is not None else ""
    command = ["sh", "-c", f'{join}exec "$@"', "sh", *words]
    talk = runtime.log(f"check-{id}")
    with talk.open("w+b") as said, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as process:
        assert process.stdout is not None
        rows = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Done(process.returncode, json.loads(rows or "[]"), talk.read_text(), used.ru_maxrss << 10)


@pytest.fixture(scope="module")
def containers(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    runtime.import_image(images.busybox_image(tmp_path_factory.mktemp("confined"), NAME, files={b"/srv/app/main.php": b"<?php\n"}))
    for id in IDS:
        runtime.run(NAME, id)
    try:
        yield runtime
    finally:
        for id in IDS:
            runtime.stop(id)


@pytest.fixture(scope="module")
def room(containers: Runtime) -> Iterator[Path]:
    """The control group for a look that may need `ROOM_BYTES` more than one at the quiet container."""
    quiet = check(containers, "quiet")
    assert quiet.code == EXIT_CLEAN, quiet.talk
    with group_of(quiet.peak_bytes + ROOM_BYTES) as group:
        yield group


def test_a_hundred_thousand_new_files_are_told_in_a_bounded_memory(containers: Runtime, room: Path) -> None:
    """All of them where code is, and one among them that matters more; those that are not told one by one are counted."""
    containers.exec("crowded", ["sh", "-c", "touch /srv/app/0.php && echo '* * * * * root id' >/etc/crontab"])
    directory = containers.upper("crowded") / "srv/app"  # from the host, since the overlay takes four times as long
    for number in range(1, FILES):
        os.close(os.open(directory / f"{number}.php", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    done = check(containers, "crowded", room)
    assert done.code == EXIT_FINDINGS, done.talk
    assert "/etc/crontab" in {row["path"] for row in done.rows}
    (counted,) = re.findall(r"more findings, not told one by one: ([0-9,]+) like /\*\* \(code-added\)", done.talk)
    assert len(done.rows) + int(counted.replace(",", "")) == FILES + 1, done.talk


def test_a_file_of_a_terabyte_is_told_in_a_bounded_memory(containers: Runtime, room: Path) -> None:
    with Path(f"/proc/{containers.pid('hollow')}/root/srv/app/main.php").open("r+b") as file:
        os.truncate(file.fileno(), 1 << 40)
    done = check(containers, "hollow", room)
    assert done.code == EXIT_FINDINGS, done.talk
    assert [(row["path"], row["change"]) for row in done.rows] == [("/srv/app/main.php", "Modified")]
