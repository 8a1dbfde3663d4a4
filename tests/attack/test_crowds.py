"""One bad file among very many harmless ones, and crowds that are to fill the agent's memory or time instead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.model.finding import Level, State, Verdict
from intact.model.seam import PlannedLevel
from intact.observe.ports import Budget
from tests.attack.staged import Staged, seen

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(240)]

FEW = Budget(entries=40, kept_bytes=1 << 20)


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path / "staged") as staged:
        for name in ("usr/bin", "etc/cron.d", "srv/app", "data", "opt/many"):
            (staged.image / name).mkdir(parents=True)
        (staged.image / "usr/bin/tool").write_bytes(b"\x7fELF")
        (staged.image / "usr/bin/tool").chmod(0o755)
        (staged.image / "srv/app/main.py").write_bytes(b"print()\n")
        for number in range(300):
            (staged.image / f"opt/many/{number}").write_bytes(b"%d" % number)
        yield staged.start()


def told(verdict: Verdict) -> set[bytes]:
    return {finding.difference.path for finding in verdict.findings}


def crowd(staged: Staged, mode: int = 0o644, count: int = 300) -> None:
    (staged.inside / "aaa").mkdir()
    for number in range(count):
        (staged.inside / f"aaa/{number}").touch()
        (staged.inside / f"aaa/{number}").chmod(mode)


@pytest.mark.parametrize("mode", [0o644, 0o755])
@pytest.mark.parametrize(
    "bad", ["etc/cron.d/job", "srv/app/shell.php", "usr/bin/tool", "usr/bin/link", "zzz/setuid", "root/.ssh/authorized_keys"]
)
def test_one_bad_file_in_a_crowd_is_told_and_the_crowd_is_counted(staged: Staged, mode: int, bad: str) -> None:
    """The crowd took all the room there was, and the verdict was only that not everything could be listed."""
    crowd(staged, mode)
    path = staged.inside / bad
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name == "link":
        path.symlink_to("/tmp/x")
    else:
        path.write_bytes(b"#!evil")
        path.chmod(0o4755 if path.name == "setuid" else 0o755 if path.name == "tool" else 0o644)
    verdict = staged.judge(budget=FEW)
    assert b"/" + os.fsencode(bad) in told(verdict)
    assert sum(one.count for one in verdict.aggregates) >= 250, "the crowd is counted"


def test_code_in_scratch_that_the_policy_raises_is_told_in_a_crowd(staged: Staged) -> None:
    """Uploaded code in a directory without code is counted only; where `levels` raise it, no crowd of data may hide it."""
    crowd(staged)
    (staged.inside / "data/2026").mkdir()
    (staged.inside / "data/2026/shell.php").write_bytes(b"<?php system($_GET[1]);")
    assert staged.judge(budget=FEW).findings == ()
    verdict = staged.judge(budget=FEW, levels=(PlannedLevel(paths=("/data/**/*.php",), level=Level.HIGH),))
    assert [(one.difference.path, one.rule, one.level) for one in verdict.findings] == [
        (b"/data/2026/shell.php", "code-in-scratch", Level.HIGH)
    ]


def test_a_crowd_of_what_the_policy_raises_hides_nothing_that_the_rules_tell(staged: Staged) -> None:
    """More than a verdict holds, in names that sort first, at the same level."""
    crowd(staged, count=1200)
    (staged.inside / "etc/cron.d/job").write_bytes(b"* * * * * root evil")
    verdict = staged.judge(levels=(PlannedLevel(paths=("/aaa/**",), level=Level.HIGH),))
    assert b"/etc/cron.d/job" in told(verdict) and len(verdict.findings) == 1000
    assert verdict.untold == 202, "the rest, with the directory itself, is counted"


def test_a_crowd_of_untouched_copies_of_image_files_hides_no_changed_one(staged: Staged) -> None:
    for number in range(300):
        os.utime(staged.inside / f"opt/many/{number}")
    (staged.inside / "opt/many/77").write_bytes(b"ab")
    (staged.inside / "usr/bin/tool").write_bytes(b"\x7fEVL")
    verdict = staged.judge(budget=FEW)
    assert told(verdict) == {b"/opt/many/77", b"/usr/bin/tool"}
    assert verdict.unobserved == (), "everything was looked at, the same and the silent were only not kept"


def test_a_crowd_does_not_hide_that_a_directory_was_emptied(staged: Staged) -> None:
    """That not everything was listed counted as if nothing were known of what is missing."""
    crowd(staged)
    subprocess.run(["rm", "-r", f"/proc/{os.getpid()}/fd/{staged.overlay}/srv/app"], check=True)
    (staged.inside / "srv/app").mkdir()
    assert told(staged.judge(budget=FEW)) == {b"/srv/app/main.py"}


def test_a_crowd_of_bad_files_is_told_as_such_and_is_bounded(staged: Staged) -> None:
    for number in range(300):
        (staged.inside / f"etc/cron.d/{number}").touch()
    observation = staged.look(budget=FEW)
    assert len(observation.present) < 200 and observation.unlisted > 100
    verdict = staged.judge(budget=FEW)
    assert verdict.state is State.DRIFTED
    assert any("not listed" in one.reason for one in verdict.unobserved)


def test_attributes_of_many_files_fill_no_memory(staged: Staged) -> None:
    """One block on the disk, shared by all of them, was a copy in memory for each: 800 MB for what a look may list."""
    value = b"x" * 3800
    for number in range(500):
        (staged.inside / f"f{number}").touch()
        os.setxattr(staged.inside / f"f{number}", "user.bulk", value)
    observation = staged.look()
    kept = sum(len(name) + len(value) for entry in observation.present for name, value in entry.xattrs)
    assert kept < 500 * 300
    before = seen(observation)[b"/f1"].xattrs
    os.setxattr(staged.inside / "f1", "user.bulk", value[:-1] + b"y")
    assert seen(staged.look())[b"/f1"].xattrs != before, "a change at the end of a long one still is one"


def test_long_names_fill_no_memory(staged: Staged) -> None:
    deep = os.open(staged.inside, os.O_RDONLY)
    for _ in range(15):
        os.mkdir("d" * 250, dir_fd=deep)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    for number in range(1000):
        os.close(os.open(f"{number}", os.O_CREAT, dir_fd=deep))
    os.close(deep)
    observation = staged.look(budget=Budget(kept_bytes=1 << 20))
    assert sum(len(entry.path) for entry in observation.present) < 2 << 20
    assert len(observation.present) + observation.silent > 1000
    (staged.inside / "etc/cron.d/job").touch()
    assert told(staged.judge(budget=Budget(kept_bytes=1 << 20))) == {b"/etc/cron.d/job"}


LOOK = """
import resource, sys
from pathlib import Path
from intact.adapters.linux.known import KnownFiles
from tests.attack.staged import Staged, baseline_of

staged = Staged.__new__(Staged)
staged.upper, staged.image, staged.known, staged._options = Path(sys.argv[1]), Path(sys.argv[2]), KnownFiles(), ()
staged.baseline = baseline_of(staged.image)
used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + (64 << 20), used + (64 << 20)))
verdict = staged.judge()
print([finding.difference.path for finding in verdict.findings], sum(one.count for one in verdict.aggregates))
"""


def test_a_look_at_many_long_names_needs_less_memory_than_they_do(staged: Staged) -> None:
    """A process that may have 64 MiB more takes 100 MB of names in, and still finds the one that matters."""
    count = 25_000
    deep = os.open(staged.inside, os.O_RDONLY)
    for _ in range(15):
        os.mkdir("d" * 250, dir_fd=deep)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    for number in range(count):
        os.mknod(f"{number:0200}", dir_fd=deep)
    os.close(deep)
    (staged.inside / "usr/bin/tool").write_bytes(b"\x7fEVL")
    done = subprocess.run([sys.executable, "-c", LOOK, staged.upper, staged.image], capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stderr[-2000:]
    paths, counted = done.stdout.rsplit(" ", 1)
    assert paths == "[b'/usr/bin/tool']"
    assert int(counted) >= count
