"""Extended attributes that a container sets to keep its files from being looked at, or to have looking at them cost too much."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.compare.differ import compare
from intact.compare.judge import judge
from intact.model.finding import Change, State, Verdict
from intact.observe.ports import Budget
from tests.attack.staged import Staged, seen

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(120)]

ACCESS_LIST = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, rights, who)
    for tag, rights, who in ((0x01, 7, 0xFFFFFFFF), (0x02, 6, 65534), (0x04, 5, 0xFFFFFFFF), (0x10, 7, 0xFFFFFFFF), (0x20, 5, 0xFFFFFFFF))
)
"""`u::rwx, u:65534:rw-, g::r-x, m::rwx, o::r-x` as acl(5) keeps it."""


def fill(staged: Staged) -> Staged:
    (staged.image / "bin").mkdir()
    (staged.image / "bin/tool").write_bytes(b"\x7fELF as it was")
    (staged.image / "bin/tool").chmod(0o755)
    return staged.start()


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path / "staged") as staged:
        yield fill(staged)


@pytest.fixture
def on_xfs(tmp_path: Path) -> Iterator[Staged]:
    """XFS takes more attributes than listxattr(2) can tell."""
    disk, place = tmp_path / "disk", tmp_path / "xfs"
    with disk.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run(["mkfs.xfs", "-q", disk], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", disk, place], check=True)
    try:
        with Staged(place / "staged") as staged:
            yield fill(staged)
    finally:
        subprocess.run(["umount", place], check=True)


def verdict(staged: Staged, only: set[bytes] | None = None) -> Verdict:
    observation = staged.look(only)
    return judge(staged.baseline, observation, compare(staged.baseline, observation))


def paths(told: Verdict) -> set[bytes]:
    return {finding.difference.path for finding in told.findings}


def test_more_attributes_than_can_be_listed_hide_no_directory(on_xfs: Staged) -> None:
    """On `/` they ended every look, on a directory the look at all below it."""
    for directory in (on_xfs.inside, on_xfs.inside / "bin"):
        for number in range(400):
            os.setxattr(directory, f"user.{number:0200}", b"")
        with pytest.raises(OSError, match="Argument list too long"):
            os.listxattr(directory)
    (on_xfs.inside / "bin/tool").write_bytes(b"\x7fELF as it is")
    for only in (None, {b"/bin/tool"}):
        told = verdict(on_xfs, only)
        assert told.state is State.DRIFTED
        assert b"/bin/tool" in paths(told)
        assert b"/bin" in {one.path for one in on_xfs.look(only).present}


@pytest.mark.parametrize("where", ["", "bin", "bin/tool"])
def test_an_attribute_that_comes_and_goes_hides_nothing(staged: Staged, where: str) -> None:
    """Gone between the list of names and its value, it ended the look at what is below, or the whole look."""
    (staged.inside / "bin/tool").write_bytes(b"\x7fELF as it is")
    code = "import os,sys\nwhile True:\n os.setxattr(sys.argv[1],'user.x',b'1')\n os.removexattr(sys.argv[1],'user.x')"
    racer = subprocess.Popen([sys.executable, "-c", code, f"/proc/self/fd/{staged.overlay}/{where}"], pass_fds=[staged.overlay])
    try:
        for _ in range(300):
            observation = staged.look()
            assert b"/bin/tool" in seen(observation)
            assert not observation.unobserved
    finally:
        racer.kill()
        racer.wait()
    assert b"/bin/tool" in paths(verdict(staged))


def test_a_long_attribute_of_the_image_is_compared_whole(tmp_path: Path) -> None:
    value = b"v" * 3000
    with Staged(tmp_path / "staged") as staged:
        (staged.image / "file").touch()
        os.setxattr(staged.image / "file", "user.long", value)
        staged.start()
        (staged.inside / "file").chmod(0o600)
        (staged.inside / "file").chmod(staged.image.joinpath("file").stat().st_mode)
        assert verdict(staged).state is State.INTACT
        os.setxattr(staged.inside / "file", "user.long", value[:-1] + b"w")
        told = verdict(staged)
        assert [(one.difference.path, one.difference.change) for one in told.findings] == [(b"/file", Change.METADATA)]


def test_an_access_list_alone_is_a_change(staged: Staged) -> None:
    os.setxattr(staged.inside / "bin/tool", "system.posix_acl_access", ACCESS_LIST)
    told = verdict(staged, {b"/bin/tool"})
    assert [(one.difference.path, one.difference.fields) for one in told.findings] == [(b"/bin/tool", ("mode", "xattrs"))]


def test_a_default_access_list_of_a_directory_of_programs_is_a_change(staged: Staged) -> None:
    os.setxattr(staged.inside / "bin", "system.posix_acl_default", ACCESS_LIST)
    assert paths(verdict(staged, {b"/bin"})) == {b"/bin"}


@pytest.mark.parametrize("name", ["overlay.opaque", "overlay.overlay.opaque", "overlay.whiteout", "overlay.redirect", "overlay.metacopy"])
def test_escaped_attributes_of_a_nested_overlay_hide_and_delete_nothing(staged: Staged, name: str) -> None:
    for prefix in ("trusted", "user"):
        for where in ("", "bin", "bin/tool"):
            os.setxattr(staged.inside / where, f"{prefix}.{name}", b"y")
    (staged.inside / "bin/tool").write_bytes(b"\x7fELF as it is")
    observation = staged.look(budget=Budget(entries=10))
    assert not observation.opaque and not observation.absent and not observation.unobserved
    assert paths(verdict(staged)) == {b"/bin/tool"}
