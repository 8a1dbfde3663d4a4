"""What a container can do to its own files, each on a real overlay: found, or harmless, and never a hang."""

from __future__ import annotations

import mmap
import os
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.model.container import IdMap
from intact.model.digest import Digest
from intact.model.entry import Kind, display_path
from intact.observe.drift import scan_drift
from intact.observe.owners import UNMAPPED_ID, map_id
from intact.observe.ports import Budget
from tests.attack.staged import Staged, seen

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(60)]

BINARY = b"\x7fELF" + bytes(100)
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path / "staged") as staged:
        (staged.image / "bin").mkdir()
        (staged.image / "bin" / "tool").write_bytes(BINARY)
        (staged.image / "bin" / "tool").chmod(0o755)
        (staged.image / "etc").mkdir()
        (staged.image / "etc" / "conf").write_bytes(b"setting = 1\n")
        yield staged.start()


def test_truncate_without_a_descriptor(staged: Staged) -> None:
    os.truncate(staged.inside / "etc/conf", 0)
    entry = seen(staged.look())[b"/etc/conf"]
    assert (entry.size_bytes, entry.digest) == (0, Digest.of(b""))


def test_setuid_bit(staged: Staged) -> None:
    (staged.inside / "bin/tool").chmod(0o4755)
    entry = seen(staged.look())[b"/bin/tool"]
    assert (entry.mode, entry.digest) == (0o4755, Digest.of(BINARY))


def test_file_capability(staged: Staged) -> None:
    os.setxattr(staged.inside / "bin/tool", "security.capability", CAPABILITY)
    assert dict(seen(staged.look())[b"/bin/tool"].xattrs)[b"security.capability"] == CAPABILITY


def test_benign_copy_up_is_as_the_image_says(staged: Staged) -> None:
    os.utime(staged.inside / "etc/conf")
    (staged.inside / "bin/tool").chmod(0o755)
    os.close(os.open(staged.inside / "etc/conf", os.O_RDWR))
    observation = staged.look()
    assert set(seen(observation)) == {b"/etc", b"/etc/conf", b"/bin", b"/bin/tool"}
    assert all(entry == staged.baseline.find(path) for path, entry in seen(observation).items())


def test_store_through_a_mapping_after_the_file_was_closed(staged: Staged) -> None:
    with (staged.inside / "etc/conf").open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 12)
    try:
        mapping[0:1] = b"A"
        assert seen(staged.look())[b"/etc/conf"].digest == Digest.of(b"Aetting = 1\n")
        mapping[0:1] = b"B"  # the page is dirty again only because the look had it written back
        assert seen(staged.look())[b"/etc/conf"].digest == Digest.of(b"Betting = 1\n")
    finally:
        mapping.close()


def test_store_through_a_mapping_is_seen_even_when_older_reads_are_remembered(staged: Staged) -> None:
    with (staged.inside / "etc/conf").open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 12)
    try:
        mapping[0:1] = b"A"
        staged.known.clock_ns = lambda: time.time_ns() + 120 * 10**9  # as if the change were two minutes old: remembered
        assert seen(staged.look())[b"/etc/conf"].digest == Digest.of(b"Aetting = 1\n")
        mapping[0:1] = b"B"
        assert seen(staged.look())[b"/etc/conf"].digest == Digest.of(b"Betting = 1\n")
    finally:
        mapping.close()


def test_timestomp(staged: Staged) -> None:
    path = staged.inside / "etc/conf"
    before = path.stat()
    path.write_bytes(b"setting = 2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert seen(staged.look())[b"/etc/conf"].digest == Digest.of(b"setting = 2\n")


def test_symlink_swapped_with_a_directory_never_leads_outside(staged: Staged, tmp_path: Path) -> None:
    secret = tmp_path / "host"
    secret.mkdir()
    (secret / "secret").write_bytes(b"of the host")
    (staged.inside / "d").mkdir()
    (staged.inside / "d" / "secret").write_bytes(b"bait")
    (staged.inside / "l").symlink_to(secret)
    code = (
        "import ctypes,os,sys\nlibc=ctypes.CDLL(None)\nwhile True: "
        "libc.renameat2(int(sys.argv[1]),b'd',int(sys.argv[1]),b'l',2)"
    )  # fmt: skip
    racer = subprocess.Popen([sys.executable, "-c", code, str(staged.overlay)], pass_fds=[staged.overlay])
    try:
        deadline = time.monotonic() + 3
        looks = 0
        while time.monotonic() < deadline:
            for entry in staged.look(only={b"/d/secret", b"/l/secret", b"/d/", b"/l/"} if looks % 2 else None).present:
                assert entry.digest != Digest.of(b"of the host")
                assert entry.path not in (b"/d/secret", b"/l/secret") or entry.digest in (None, Digest.of(b"bait"))
            looks += 1
        assert looks > 20
    finally:
        racer.kill()
        racer.wait()
    links = [entry for entry in staged.look().present if entry.kind is Kind.SYMLINK]
    assert [entry.target for entry in links] == [os.fsencode(secret)]


def test_fifo_device_and_socket_are_named_and_never_opened(staged: Staged) -> None:
    os.mkfifo(staged.inside / "fifo")
    os.mknod(staged.inside / "watchdog", stat.S_IFCHR | 0o600, os.makedev(10, 130))
    os.mknod(staged.inside / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.mknod(staged.inside / "socket", stat.S_IFSOCK | 0o600)
    found = seen(staged.look())
    kinds = {path: entry.kind for path, entry in found.items() if path != b"/"}
    assert kinds == {b"/fifo": Kind.FIFO, b"/watchdog": Kind.CHAR, b"/zero": Kind.CHAR, b"/socket": Kind.SOCKET}
    assert found[b"/watchdog"].device == (10, 130)


def test_file_replaced_by_a_fifo_between_stat_and_open(staged: Staged) -> None:
    from intact.adapters.linux.tree import HostTree
    from intact.model.observation import Unobserved
    from intact.observe.ports import Node

    (staged.inside / "bait").write_bytes(b"x")
    with HostTree(os.fsencode(staged.upper)) as tree:
        for node in tree.walk():
            if isinstance(node, Node) and node.name == b"bait":
                (staged.upper / "bait").unlink()
                os.mkfifo(staged.upper / "bait")
                assert isinstance(tree.digest(node, 100), Unobserved)


def test_path_of_600_kilobytes(staged: Staged) -> None:
    name = "n" * 200
    here = os.open(staged.inside, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    payload = os.open("payload", os.O_WRONLY | os.O_CREAT, 0o755, dir_fd=here)
    os.write(payload, b"#!/bin/sh\n")
    os.close(payload)
    os.close(here)
    before = len(os.listdir("/proc/self/fd"))
    most = 0

    def count() -> float:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))
        return time.time()

    observation = staged.look()
    count()
    [found] = [entry for entry in observation.present if entry.path.endswith(b"/payload")]
    assert found.digest == Digest.of(b"#!/bin/sh\n")
    assert b"603008 bytes" in found.path and len(found.path) < 4096
    assert most <= before + 2
    assert len(observation.present) == 3001 and not observation.unobserved
    subprocess.run(["rm", "-rf", staged.upper / name], check=True)


def test_many_files_hide_nothing_that_matters(staged: Staged) -> None:
    for number in range(3000):
        (staged.inside / f"f{number}").touch()
    (staged.inside / "zz-dropped").write_bytes(b"#!/bin/sh\n")
    (staged.inside / "zz-dropped").chmod(0o755)
    (staged.inside / "etc/conf").write_bytes(b"setting = 2\n")
    observation = staged.look(budget=Budget(entries=1000))
    assert {b"/zz-dropped", b"/etc/conf"} <= set(seen(observation))
    assert len(observation.present) + observation.silent == 3000 + 3
    assert observation.silent >= 1900 and not observation.unlisted


def test_hostile_names(staged: Staged) -> None:
    names = [b"a\nb", b"\x1b[2J", b"\xff\xfe", "rtl\u202egpj.sh".encode(), b"-rf", b" ", b"...", b"\\040", b"x" * 255]
    for name in names:
        (staged.inside / os.fsdecode(name)).write_bytes(name)
    found = seen(staged.look())
    assert {path: entry.digest for path, entry in found.items() if path != b"/"} == {b"/" + n: Digest.of(n) for n in names}
    assert all(display_path(path).isprintable() for path in found)


def test_sparse_terabyte(staged: Staged) -> None:
    with (staged.inside / "huge").open("wb") as file:
        file.write(b"\x7fELF")
        file.truncate(1 << 40)
    (staged.inside / "huge").chmod(0o755)
    (staged.inside / "etc/conf").unlink()
    os.truncate(staged.inside / "bin/tool", 1 << 40)
    began = time.monotonic()
    found = seen(staged.look())
    assert time.monotonic() - began < 5
    assert found[b"/huge"].size_bytes == found[b"/bin/tool"].size_bytes == 1 << 40
    assert found[b"/huge"].digest is found[b"/bin/tool"].digest is None


def test_holes_hash_as_zeros(staged: Staged) -> None:
    with (staged.inside / "sparse").open("wb") as file:
        for offset in (0, 5 << 20, (20 << 20) + 17):
            file.seek(offset)
            file.write(b"data")
        file.truncate(40 << 20)
    (staged.inside / "sparse").chmod(0o755)
    assert seen(staged.look())[b"/sparse"].digest == Digest.of((staged.inside / "sparse").read_bytes())


def test_hard_link_written_under_its_other_name(staged: Staged) -> None:
    (staged.inside / "one").write_bytes(b"before")
    (staged.inside / "other").hardlink_to(staged.inside / "one")
    (staged.inside / "one").write_bytes(b"after")
    observation = staged.look(only={b"/one"})
    assert seen(observation)[b"/other"].digest == Digest.of(b"after")


def test_fake_whiteout_by_attribute_deletes_nothing(staged: Staged) -> None:
    for name in ("user.overlay.whiteout", "user.overlay.opaque", "user.overlay.metacopy", "user.overlay.redirect"):
        (staged.inside / "etc/conf").touch()
        os.setxattr(staged.inside / "etc/conf", name, b"y")
        os.setxattr(staged.inside / "etc", name, b"y")
    observation = staged.look()
    assert not observation.absent and not observation.opaque and not observation.unobserved
    assert seen(observation)[b"/etc/conf"] == staged.baseline.find(b"/etc/conf")


def test_nested_overlay_attributes_are_escaped_and_have_no_effect(staged: Staged) -> None:
    os.setxattr(staged.inside / "etc", "trusted.overlay.opaque", b"y")
    observation = staged.look()
    assert sorted(os.listdir(staged.inside / "etc")) == ["conf"]
    assert not observation.opaque


def test_attribute_whiteout_in_the_writable_layer_is_a_plain_file(staged: Staged) -> None:
    (staged.inside / "etc/conf").unlink()
    (staged.inside / "etc/conf").touch()
    os.setxattr(staged.upper / "etc/conf", "trusted.overlay.whiteout", b"y")
    os.setxattr(staged.upper / "etc", "trusted.overlay.opaque", b"x")
    observation = staged.look()
    assert not observation.absent and not observation.opaque
    assert seen(observation)[b"/etc/conf"].size_bytes == 0


def test_user_attributes_count_where_the_mount_says_so(tmp_path: Path) -> None:
    with Staged(tmp_path / "staged", options=((b"userxattr", None),)) as staged:
        (staged.image / "etc").mkdir()
        (staged.image / "etc" / "conf").touch()
        staged.start()
        (staged.inside / "etc/conf").unlink()
        (staged.inside / "etc").rmdir()
        (staged.inside / "etc").mkdir()
        assert staged.look(user_attributes=True).opaque == (b"/etc",)
        assert staged.look(user_attributes=False).opaque == ()


def test_a_metadata_only_copy_is_not_hashed_as_the_zeros_it_holds(tmp_path: Path) -> None:
    with Staged(tmp_path / "staged", options=((b"metacopy", b"on"), (b"redirect_dir", b"on"))) as staged:
        (staged.image / "big").write_bytes(b"x" * 8192)
        staged.start()
        (staged.inside / "big").chmod(0o700)
        observation = staged.look()
        assert observation.unobserved == ()
        assert seen(observation)[b"/big"].mode == 0o700
        assert seen(observation)[b"/big"].digest == Digest.of(b"x" * 8192)
        with (staged.inside / "big").open("r+b") as file:
            file.write(b"y")
        assert seen(staged.look())[b"/big"].digest == Digest.of(b"y" + b"x" * 8191)


def test_a_renamed_directory_takes_its_files_along(tmp_path: Path) -> None:
    with Staged(tmp_path / "staged", options=((b"redirect_dir", b"on"),)) as staged:
        (staged.image / "etc").mkdir()
        (staged.image / "etc" / "conf").touch()
        staged.start()
        (staged.inside / "etc").rename(staged.inside / "moved")
        for observation in (staged.look(), staged.look({b"/etc/", b"/moved/"})):
            assert (observation.absent, observation.opaque, observation.unobserved) == ((b"/etc",), (b"/moved",), ())
            assert seen(observation)[b"/moved/conf"].digest == Digest.of(b"")


def test_file_that_never_holds_still(staged: Staged) -> None:
    stop = threading.Event()
    path = staged.inside / "bin/tool"

    def churn() -> None:
        with path.open("r+b", buffering=0) as file:
            while not stop.is_set():
                file.seek(0)
                file.write(BINARY)

    (staged.image / "large").touch()
    writer = threading.Thread(target=churn)
    writer.start()
    try:
        began = time.monotonic()
        for _ in range(5):
            observation = staged.look()
            digest = seen(observation).get(b"/bin/tool")
            told = [item.path for item in observation.unobserved]
            assert digest is None or digest.digest == Digest.of(BINARY) or told == [b"/bin/tool"]
        assert time.monotonic() - began < 20
    finally:
        stop.set()
        writer.join()


def test_file_that_grows_while_it_is_read(staged: Staged) -> None:
    stop = threading.Event()

    def grow() -> None:
        with (staged.inside / "log").open("ab", buffering=0) as file:
            while not stop.is_set() and file.tell() < 1 << 20:
                file.write(b"line\n")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(5):
            assert staged.look().unobserved == ()  # an added log needs no hash: nothing is missing
    finally:
        stop.set()
        writer.join()


def test_lease_does_not_hold_the_reader(staged: Staged) -> None:
    import fcntl

    (staged.inside / "leased").write_bytes(b"x")
    holder = os.open(staged.inside / "leased", os.O_RDWR)
    fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    try:
        began = time.monotonic()
        assert seen(staged.look())[b"/leased"].digest == Digest.of(b"x")
        assert time.monotonic() - began < 2
    finally:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(holder)


def test_owner_outside_the_containers_id_map(staged: Staged) -> None:
    (staged.inside / "own").touch()
    (staged.inside / "foreign").touch()
    os.chown(staged.inside / "own", 100_005, 100_000)
    lines = (IdMap(inside=0, outside=100_000, count=65_536),)
    from intact.adapters.linux.tree import HostTree

    with HostTree(os.fsencode(staged.upper)) as tree:
        found = seen(scan_drift(staged.running(lines), tree, baseline=staged.baseline, clock=time.time))
    assert (found[b"/own"].uid, found[b"/own"].gid) == (5, 0)
    assert found[b"/foreign"].uid == UNMAPPED_ID
    assert map_id(7, ()) == 7


def test_looks_leave_no_descriptor_behind(staged: Staged) -> None:
    (staged.inside / "a/b/c").mkdir(parents=True)
    staged.look()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(20):
        staged.look()
        staged.look(only={b"/a/b/", b"/nothing/here", b"/etc/conf"})
    assert sorted(os.listdir("/proc/self/fd")) == before
