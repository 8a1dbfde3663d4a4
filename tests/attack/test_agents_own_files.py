"""What lies in the agent's own directory, tampered with while it was away; and a disk that somebody filled."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intact.adapters.linux.doorbell import FanotifyDoorbell
from intact.adapters.seam.spool import Spool
from intact.model.errors import TemporaryError
from intact.model.seam import Gap, Report
from intact.run.node.alive import read_alive, write_alive
from tests.attack.staged import Staged

pytestmark = pytest.mark.timeout(120)


def far(path: Path) -> None:
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda path: path.write_text("inf"),
        lambda path: path.write_text("-1e300"),
        lambda path: path.write_text("nan"),
        lambda path: path.write_bytes(b"\xff" * 1000),
        lambda path: path.write_text(""),
        lambda path: path.mkdir(),
        lambda path: os.mkfifo(path),
        lambda path: os.mkfifo(path.with_suffix(".part")),
        lambda path: path.with_suffix(".part").symlink_to("/etc/hostname"),
        far,
    ],
)
def test_no_alive_file_keeps_an_agent_from_starting(tmp_path: Path, tamper: Callable[[Path], object]) -> None:
    """A FIFO made it wait for ever, a directory ended it, and a time that is none went into a report that nobody could write."""
    path, before = tmp_path / "alive", Path("/etc/hostname").read_bytes()
    tamper(path)
    began = time.monotonic()
    assert read_alive(path) is None
    write_alive(path, 1000.0)
    assert time.monotonic() - began < 20
    assert path.is_dir() or read_alive(path) == 1000.0
    assert Path("/etc/hostname").read_bytes() == before


@pytest.fixture
def full_disk(root: None, tmp_path: Path) -> Iterator[Path]:
    """A disk of its own on which not one more inode or block is free."""
    disk, place = tmp_path / "disk", tmp_path / "full"
    with disk.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-N", "64", "-m", "0", disk], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", disk, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill(place: Path) -> None:
    """As a container does whose writable layer lies on the agent's disk."""
    with pytest.raises(OSError, match="No space left"):
        for number in range(10_000):
            (place / f"inode{number}").touch()
    with pytest.raises(OSError, match="No space left"), (place / "inode0").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


def test_a_full_disk_ends_no_watch(full_disk: Path) -> None:
    with Staged(full_disk / "staged") as staged:
        (staged.image / "bin").mkdir()
        (staged.image / "bin/tool").write_bytes(b"as it was")
        staged.start()
        (staged.inside / "bin/tool").write_bytes(b"as it is.")
        state = full_disk / "state"
        state.mkdir()
        spool = Spool(state / "spool", time.time)
        write_alive(state / "alive", 1000.0)
        fill(full_disk)
        assert [finding.difference.path for finding in staged.judge().findings] == [b"/bin/tool"]
        write_alive(state / "alive", 2000.0)
        assert read_alive(state / "alive") == 1000.0, "as it was, not empty"
        with pytest.raises(TemporaryError):
            spool.append(Report(id="r", node="n1", at=1.0, gaps=(Gap(since=0.0, until=1.0, reason="x" * 100_000),)))
        (full_disk / "inode0").unlink()
        for number in range(1, 20):
            (full_disk / f"inode{number}").unlink(missing_ok=True)
        spool.append(Report(id="r", node="n1", at=1.0))
        spooled = spool.oldest(1.0)
        assert spooled is not None and spooled.report.gaps, "and what was refused is told"
        spool.close()


def test_a_bell_that_starts_on_a_full_disk_hears_all_the_same(full_disk: Path) -> None:
    """Its self-test needs a few inodes; without them it was deaf until somebody restarted the agent."""
    (full_disk / "upper").mkdir()
    (full_disk / "upper/file").touch()
    fill(full_disk)
    bell = FanotifyDoorbell(full_disk)
    try:
        tier = bell.start()
        assert tier.name in "AB", tier.reason
        bell.watch([os.fsencode(full_disk / "upper")])
        (full_disk / "upper/file").chmod(0o600)
        assert os.fsencode(full_disk / "upper") in bell.wait(20).dirty
    finally:
        bell.close()
