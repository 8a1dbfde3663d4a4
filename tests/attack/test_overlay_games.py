"""Tricks with names, links, whiteouts and exchanges in a container's overlay: each is found, and by a look at the whole layer as well as by
one at the name that rang."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intact.adapters.linux import walk
from intact.adapters.linux.doorbell import FanotifyDoorbell
from intact.model.digest import Digest
from intact.model.entry import Kind, display_path
from intact.model.finding import Change, State
from tests.attack.staged import Staged, seen

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(120)]

RENAME_EXCHANGE, RENAME_WHITEOUT = 2, 4
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, IMMUTABLE, APPEND = 0x80086601, 0x40086602, 0x10, 0x20
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path / "staged") as staged:
        for name in ("bin", "etc/conf.d", "srv/app", "lib"):
            (staged.image / name).mkdir(parents=True)
        for name, data in (("bin/tool", b"\x7fELF one"), ("bin/other", b"\x7fELF two"), ("etc/conf", b"a = 1\n"),
                           ("etc/conf.d/x", b"x"), ("srv/app/main.py", b"print(1)\n"), ("lib/a.so.1", b"\x7fELF lib")):  # fmt: skip
            (staged.image / name).write_bytes(data)
        for name in ("bin/tool", "bin/other"):
            (staged.image / name).chmod(0o755)
        (staged.image / "lib/a.so").symlink_to("a.so.1")
        yield staged.start()


def rename(staged: Staged, one: str, other: str, flags: int) -> None:
    if _libc.renameat2(staged.overlay, one.encode(), staged.overlay, other.encode(), flags):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def told(staged: Staged, *only: bytes) -> dict[bytes, Change]:
    """By a look at everything, which must agree with one at what rang."""
    whole = {one.difference.path: one.difference.change for one in staged.judge().findings}
    if only:
        part = {one.difference.path: one.difference.change for one in staged.judge(set(only)).findings}
        assert part == {path: change for path, change in whole.items() if path in part} and part
    return whole


def test_two_programs_of_the_image_exchanged(staged: Staged) -> None:
    """Both contents are the image's, and both were hashed before under the other name."""
    rename(staged, "bin/tool", "bin/other", RENAME_EXCHANGE)
    assert told(staged, b"/bin/tool/", b"/bin/other/") == {b"/bin/tool": Change.MODIFIED, b"/bin/other": Change.MODIFIED}


def test_a_dropped_program_exchanged_with_one_of_the_image(staged: Staged) -> None:
    (staged.inside / "tmpfile").write_bytes(b"\x7fELF bad")
    (staged.inside / "tmpfile").chmod(0o755)
    rename(staged, "tmpfile", "bin/tool", RENAME_EXCHANGE)
    assert told(staged, b"/bin/tool/")[b"/bin/tool"] is Change.MODIFIED
    (staged.inside / "tmpfile").unlink()
    assert told(staged)[b"/bin/tool"] is Change.MODIFIED


def test_a_hard_link_to_a_program_of_the_image_written_through(staged: Staged) -> None:
    """The link copies the program up; a write through the harmless name changes the program."""
    os.link(staged.inside / "bin/tool", staged.inside / "harmless")
    (staged.inside / "harmless").write_bytes(b"\x7fELF bad")
    assert told(staged, b"/harmless")[b"/bin/tool"] is Change.MODIFIED


def test_hard_links_across_directories_to_credentials(staged: Staged) -> None:
    os.link(staged.inside / "etc/conf", staged.inside / "srv/note")
    with (staged.inside / "srv/note").open("ab") as file:
        file.write(b"b = 2\n")
    assert told(staged, b"/srv/note")[b"/etc/conf"] is Change.MODIFIED


def test_a_link_of_the_image_pointed_elsewhere(staged: Staged) -> None:
    (staged.inside / "lib/a.so").unlink()
    (staged.inside / "lib/a.so").symlink_to("/tmp/a.so.1")
    assert told(staged, b"/lib/a.so")[b"/lib/a.so"] is Change.MODIFIED


def test_a_file_deleted_and_made_again_as_it_was_is_no_change(staged: Staged) -> None:
    path, before = staged.inside / "etc/conf", (staged.inside / "etc/conf").stat()
    path.unlink()
    path.write_bytes(b"a = 1\n")
    path.chmod(before.st_mode & 0o7777)
    assert staged.judge().state is State.INTACT
    path.unlink()
    path.write_bytes(b"a = 2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert told(staged, b"/etc/conf") == {b"/etc/conf": Change.MODIFIED}


def test_a_directory_replaced_by_a_link_to_a_copy(staged: Staged) -> None:
    (staged.inside / "tmp").mkdir()
    subprocess.run(["cp", "-a", "srv/app", "tmp/app"], cwd=f"/proc/self/fd/{staged.overlay}", pass_fds=[staged.overlay], check=True)
    subprocess.run(["rm", "-r", "srv/app"], cwd=f"/proc/self/fd/{staged.overlay}", pass_fds=[staged.overlay], check=True)
    (staged.inside / "srv/app").symlink_to("/tmp/app")
    found = told(staged, b"/srv/app/")
    assert found[b"/srv/app"] is Change.TYPE and found[b"/srv/app/main.py"] is Change.DELETED


def test_a_directory_removed_and_made_again_hides_what_was_in_it(staged: Staged) -> None:
    subprocess.run(["rm", "-r", "etc/conf.d"], cwd=f"/proc/self/fd/{staged.overlay}", pass_fds=[staged.overlay], check=True)
    (staged.inside / "etc/conf.d").mkdir()
    (staged.inside / "etc/conf.d/y").write_bytes(b"y")
    found = told(staged, b"/etc/conf.d/y")
    assert found[b"/etc/conf.d/x"] is Change.DELETED and found[b"/etc/conf.d/y"] is Change.ADDED


def test_a_file_made_without_a_name_and_linked_later(staged: Staged) -> None:
    nameless = os.open(staged.inside / "srv/app", os.O_TMPFILE | os.O_RDWR, 0o755)
    os.write(nameless, b"#!/bin/sh\n")
    os.link(f"/proc/self/fd/{nameless}", "srv/app/run.sh", src_dir_fd=staged.overlay, dst_dir_fd=staged.overlay, follow_symlinks=True)
    os.close(nameless)
    assert told(staged, b"/srv/app/run.sh")[b"/srv/app/run.sh"] is Change.ADDED


@pytest.mark.parametrize("flag", [IMMUTABLE, APPEND])
def test_a_changed_file_that_was_made_immutable(staged: Staged, flag: int) -> None:
    """The flag stays with the overlay: the file in the layer can still be read, and put right."""
    path = staged.inside / "bin/tool"
    path.write_bytes(b"\x7fELF bad")
    with path.open("rb") as file:
        flags = struct.unpack("i", fcntl.ioctl(file, FS_IOC_GETFLAGS, bytes(4)))[0]
        fcntl.ioctl(file, FS_IOC_SETFLAGS, struct.pack("i", flags | flag))
    with pytest.raises(PermissionError):
        path.write_bytes(b"")
    assert told(staged, b"/bin/tool") == {b"/bin/tool": Change.MODIFIED}


def test_only_capabilities_or_only_an_owner(staged: Staged) -> None:
    os.setxattr(staged.inside / "bin/tool", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 21, 0, 0, 0))
    os.chown(staged.inside / "etc/conf", 65534, 65534)
    assert told(staged, b"/bin/tool") == {b"/bin/tool": Change.METADATA, b"/etc/conf": Change.METADATA}


@pytest.mark.parametrize(
    "name",
    ["to\u043el", "tool ", "tool\u200b", "TOOL", "\u202eloot", "tool\ufe0f", "tool\u3164", "tool\n", ".tool", "\u2024\u2024", "to\u0301ol"],
)
def test_a_name_that_looks_like_one_of_the_image_is_another(staged: Staged, name: str) -> None:
    (staged.inside / "bin" / name).write_bytes(b"\x7fELF bad")
    (staged.inside / "bin" / name).chmod(0o755)
    path = b"/bin/" + name.encode()
    assert told(staged, path)[path] is Change.ADDED
    shown = display_path(path)
    assert shown.isprintable()
    if name in ("tool\u200b", "tool\ufe0f", "tool\u3164"):
        assert shown != "/bin/tool" and shown.isascii(), "what nobody can see is written out"


def test_a_tree_deeper_than_the_bound_is_said_to_go_on(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each directory on the way down takes memory; trees have been made that are 300,000 deep."""
    monkeypatch.setattr(walk, "_DEEPEST", 60)
    (staged.inside / "/".join(["d"] * 100)).mkdir(parents=True)
    (staged.inside / "/".join(["d"] * 100) / "payload").touch()
    (staged.inside / "bin/tool").write_bytes(b"\x7fELF bad")
    verdict = staged.judge()
    assert [one.difference.path for one in verdict.findings] == [b"/bin/tool"]
    assert [(one.path, one.reason) for one in verdict.unobserved] == [(b"/d" * 60, "below 60 directories")]


def storm(code: str, *arguments: str, overlay: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, str(overlay), *arguments], pass_fds=[overlay])


def test_a_file_that_never_stays_where_it_is(staged: Staged) -> None:
    """Moved from directory to directory faster than they are read: half of all looks miss it, the bell has it looked for again."""
    for number in range(20):
        (staged.inside / f"srv/{number}").mkdir()
        for other in range(50):
            (staged.inside / f"srv/{number}/{other}").touch()
    bell = FanotifyDoorbell(staged.base)
    if bell.start().name == "C":
        pytest.skip("the file system tells no events")
    bell.watch([os.fsencode(staged.upper)])
    code = """
import os, sys
top = int(sys.argv[1])
os.close(os.open("srv/0/evil.php", os.O_CREAT, 0o755, dir_fd=top))
here = 0
while True:
    os.rename(f"srv/{here}/evil.php", f"srv/{(here + 7) % 20}/evil.php", src_dir_fd=top, dst_dir_fd=top)
    here = (here + 7) % 20
"""
    mover = storm(code, overlay=staged.overlay)
    try:
        found, deadline = set[bytes](), time.monotonic() + 60
        while not found and time.monotonic() < deadline:
            paths = bell.wait(1.0).dirty.get(os.fsencode(staged.upper), frozenset())
            observation = staged.look(None if paths is None else set(paths))
            found = {path for path in seen(observation) if path.endswith(b"evil.php")}
        assert found
    finally:
        mover.kill()
        mover.wait()
        bell.close()


def test_a_directory_swapped_while_it_is_walked_hides_nothing_for_good(staged: Staged) -> None:
    (staged.inside / "srv/deep/er").mkdir(parents=True)
    (staged.inside / "srv/deep/er/evil.php").write_bytes(b"<?php")
    (staged.inside / "srv/link").symlink_to("/etc")
    code = """
import ctypes, sys
libc, top = ctypes.CDLL(None), int(sys.argv[1])
while True:
    libc.renameat2(top, b"srv/deep", top, b"srv/link", 2)
"""
    racer = storm(code, overlay=staged.overlay)
    try:
        hits = missed_silently = 0
        for _ in range(200):
            observation = staged.look()
            is_seen = any(path.endswith(b"evil.php") for path in seen(observation))
            hits += is_seen
            missed_silently += not is_seen and not observation.unobserved
        assert hits > 20 and missed_silently < 100
    finally:
        racer.kill()
        racer.wait()
    assert any(path.endswith(b"evil.php") for path in seen(staged.look()))


def test_a_file_with_huge_holes_for_each_of_the_images(staged: Staged) -> None:
    """Sizes that are not the image's need no read, whatever they are."""
    began = time.monotonic()
    for name in ("bin/tool", "bin/other", "etc/conf", "srv/app/main.py"):
        os.truncate(staged.inside / name, (1 << 43) + 1)
    assert set(told(staged)) == {b"/bin/tool", b"/bin/other", b"/etc/conf", b"/srv/app/main.py"}
    assert time.monotonic() - began < 20


def test_mandatory_looking_locks_hold_nobody(staged: Staged) -> None:
    path = staged.inside / "etc/conf"
    path.write_bytes(b"a = 2\n")
    path.chmod(0o2644)  # once asked the kernel for mandatory locks
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        fcntl.flock(file, fcntl.LOCK_EX)
        looked = threading.Thread(target=lambda: seen(staged.look())[b"/etc/conf"], daemon=True)
        looked.start()
        looked.join(20)
        assert not looked.is_alive()
    assert seen(staged.look())[b"/etc/conf"].digest == Digest.of(b"a = 2\n")


def test_special_files_in_the_place_of_the_images(staged: Staged) -> None:
    makers: dict[str, Callable[[Path], object]] = {
        "bin/tool": lambda path: os.mkfifo(path),
        "etc/conf": lambda path: os.mknod(path, 0o60600, os.makedev(7, 0)),
        "srv/app/main.py": lambda path: os.mknod(path, 0o140600),
    }
    for name, make in makers.items():
        (staged.inside / name).unlink()
        make(staged.inside / name)
    found = told(staged, *(b"/" + name.encode() for name in makers))
    assert {found[b"/" + name.encode()] for name in makers} == {Change.TYPE}
    assert {entry.kind for entry in staged.look().present} >= {Kind.FIFO, Kind.BLOCK, Kind.SOCKET}


def test_a_program_patched_while_it_runs(staged: Staged) -> None:
    """The file was closed before it was executed, so that the kernel sees no writer; a hash taken at the start would be another's."""
    shutil.copy("/bin/sleep", staged.inside / "runner")
    content = Path("/bin/sleep").read_bytes()
    _libc.mmap.restype = ctypes.c_void_p
    with (staged.inside / "runner").open("r+b") as file:  # not by Python's own mmap, which keeps a descriptor
        address = _libc.mmap(None, ctypes.c_size_t(len(content)), mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, file.fileno(), 0)
    program = subprocess.Popen([f"/proc/{os.getpid()}/fd/{staged.overlay}/runner", "60"])
    try:
        assert seen(staged.look())[b"/runner"].digest == Digest.of(content)
        ctypes.memset(address + len(content) - 1, content[-1] ^ 0xFF, 1)
        patched = content[:-1] + bytes([content[-1] ^ 0xFF])
        assert seen(staged.look({b"/runner"}))[b"/runner"].digest == Digest.of(patched)
    finally:
        program.kill()
        program.wait()
        _libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(len(content)))


def test_the_layer_written_from_the_host_past_the_overlay(staged: Staged) -> None:
    """The container sees it, and no event of the overlay tells of it."""
    bell = FanotifyDoorbell(staged.base)
    if bell.start().name == "C":
        pytest.skip("the file system tells no events")
    try:
        bell.watch([os.fsencode(staged.upper)])
        (staged.upper / "bin").mkdir()
        (staged.upper / "bin/tool").write_bytes(b"\x7fELF bad")
        assert os.fsencode(staged.upper) in bell.wait(30).dirty
        assert told(staged)[b"/bin/tool"] is Change.MODIFIED
    finally:
        bell.close()
