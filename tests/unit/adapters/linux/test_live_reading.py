"""Processes, their files and their mounts as the kernel shows them, by processes of this machine's own."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from intact.adapters.linux import executed, syscalls
from intact.adapters.linux.links import TOO_LONG
from intact.adapters.linux.members import Members, Place, find_groups
from intact.adapters.linux.mount_tables import MountTables, parse_table
from intact.adapters.linux.processes import describe_process, ticks_now
from intact.adapters.linux.running import File, RunningFiles, read_process
from intact.adapters.linux.runtime_binary import PLACES, RuntimeBinary
from intact.adapters.linux.threads import Headless, has_ended
from intact.model.container import Mounted, Running
from intact.model.digest import Digest
from intact.model.live import MountSeen
from tests.unit.trees import CONTAINER

SLEEP = Path(shutil.which("sleep") or "/bin/sleep")
RUN_TOO_DEEP = """
import os, shutil, sys
for name in ["x" * 240] * 20:
    os.mkdir(name)
    os.chdir(name)
shutil.copy(shutil.which("sleep"), "deep")
os.execv("./deep", ["deep", sys.argv[1]])
"""


@contextmanager
def sleeping(program: Path = SLEEP) -> Iterator[int]:
    process = subprocess.Popen([program, "600"])
    try:
        deadline = time.monotonic() + 30
        while Path(os.readlink(f"/proc/{process.pid}/exe")).name not in (program.name, "coreutils"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_a_program_is_named_by_the_kernel_and_read_though_its_name_is_gone(tmp_path: Path) -> None:
    program = tmp_path / "a b\n(deleted)"
    shutil.copy(SLEEP, program)
    with sleeping(program) as pid:
        program.unlink()
        seen = read_process(pid, 0)
        assert seen is not None
        assert seen.program.is_unlinked and seen.program.name == os.fsencode(program)
        read = RunningFiles().read(seen.program)
        assert read is not None and read.is_elf and read.digest == Digest.of(SLEEP.read_bytes())
        assert seen.program.path not in {file.path for file in seen.mapped}
    assert read_process(pid, 0) is None


@pytest.fixture
def too_deep(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs where the kernel writes no path of it."""
    with subprocess.Popen([sys.executable, "-c", RUN_TOO_DEEP, "600"], cwd=tmp_path) as process:
        deadline = time.monotonic() + 30
        while not Path(f"/proc/{process.pid}/comm").read_text().startswith("deep"):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        yield process
        process.kill()


def test_a_program_too_deep_for_its_path_to_be_written_is_seen(too_deep: subprocess.Popen[bytes], tmp_path: Path) -> None:
    seen = read_process(too_deep.pid, 0)
    assert seen is not None and seen.program.path == TOO_LONG and not seen.program.is_unlinked
    assert seen.program.device == tmp_path.stat().st_dev
    read = RunningFiles().read(seen.program)
    assert read is not None and read.digest == Digest.of(SLEEP.read_bytes())
    process = describe_process(too_deep.pid, alive_since_ticks=ticks_now() + 1)
    assert process is not None and process.executable == TOO_LONG


def test_a_process_that_is_there_and_cannot_be_read_is_not_taken_for_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: bytes) -> int:
        raise OSError(errno.EIO, "what serves it does not answer", path)

    monkeypatch.setattr(syscalls, "device_of", refuse)
    with sleeping() as pid, pytest.raises(OSError, match="does not answer"):
        read_process(pid, 0)


def test_a_name_that_only_looks_deleted_is_a_name(tmp_path: Path) -> None:
    program = tmp_path / "x (deleted)"
    shutil.copy(SLEEP, program)
    with sleeping(program) as pid:
        seen = read_process(pid, 0)
        assert seen is not None and seen.program.path == os.fsencode(program)


def test_what_is_mapped_to_be_executed_is_listed_and_what_is_only_mapped_is_not(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 4096)
    (tmp_path / "code").write_bytes(b"\x7fELF" + b"x" * 4092)
    with (
        (tmp_path / "data").open("rb") as data,
        (tmp_path / "code").open("rb") as code,
        mmap.mmap(data.fileno(), 4096, prot=mmap.PROT_READ),
        mmap.mmap(code.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    ):
        (tmp_path / "code").unlink()
        seen = read_process(os.getpid(), 0)
    assert seen is not None
    names = {file.name for file in seen.mapped}
    assert os.fsencode(tmp_path / "code") in names and os.fsencode(tmp_path / "data") not in names


def test_a_mapping_is_read_by_the_kernels_own_link(tmp_path: Path) -> None:
    descriptor = os.memfd_create("library")
    os.write(descriptor, b"\x7fELF" + b"y" * 4092)
    with mmap.mmap(descriptor, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE):
        seen = read_process(os.getpid(), 0)
        assert seen is not None
        (file,) = [file for file in seen.mapped if file.path.startswith(b"/memfd:library")]
        read = RunningFiles().read(file)
        assert read is not None and read.is_elf and read.digest == Digest.of(b"\x7fELF" + b"y" * 4092)
        assert not RunningFiles().read(file, with_digest=False).digest  # type: ignore[union-attr]
    os.close(descriptor)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, make: object) -> None:
    make(tmp_path / "bait")  # type: ignore[operator]
    assert RunningFiles().read(File(link=os.fsencode(tmp_path / "bait"), path=b"/bait", device=0)) is None


@pytest.mark.usefixtures("root")
def test_the_runtimes_program_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    runc = next((Path(os.fsdecode(place)) for place in PLACES if Path(os.fsdecode(place)).exists()), None)
    if runc is None:
        pytest.skip("no container runtime on this machine")
    files = RunningFiles()
    runtime = RuntimeBinary(files)

    def copy_of(content: bytes) -> int:
        descriptor = os.memfd_create("runc_cloned:/proc/self/exe")
        os.write(descriptor, content)
        return descriptor

    def is_runtime(descriptor: int) -> bool:
        link = b"/proc/self/fd/%d" % descriptor
        return runtime.is_run_by(File(link=link, path=os.readlink(link), device=os.fstat(descriptor).st_dev), os.getpid())

    genuine, forged = copy_of(runc.read_bytes()), copy_of(runc.read_bytes()[:-1] + b"?")
    original = os.open(runc, os.O_RDONLY)
    try:
        assert is_runtime(genuine) and is_runtime(original) and not is_runtime(forged)
        (tmp_path / "runc").write_bytes(b"not it")
        named = os.open(tmp_path / "runc", os.O_RDONLY)
        assert not is_runtime(named)
        os.close(named)
    finally:
        for descriptor in (genuine, forged, original):
            os.close(descriptor)


def test_processes_are_found_by_the_root_they_have_and_stay_members(tmp_path: Path) -> None:
    device = os.stat("/").st_dev
    members = Members()
    with sleeping() as pid:
        found = members.gather({"c": Place(groups=frozenset(), device=device)})
        assert pid in found["c"]
        assert pid in members.gather({"c": Place(groups=frozenset(), device=device + 1)})["c"], "membership stays with a process"
        assert pid not in members.gather({"d": Place(groups=frozenset(), device=device + 1)})["d"]
    assert pid not in members.gather({"c": Place(groups=frozenset(), device=device)})["c"]


def test_a_container_without_a_group_of_its_name_has_none() -> None:
    assert find_groups(os.getpid(), "there-is-no-such-container") == frozenset()


def test_a_mount_table_is_read_with_its_escapes_and_hostile_lines_are_left_out() -> None:
    data = (
        b"36 35 98:0 /mnt1 /mnt2\\040x\\012y rw,noexec master:1 - ext3 /dev/\\134root rw,errors=continue\n"
        b"broken\n"
        b"1 2 3:4 / /short - tmpfs\n"
    )
    assert parse_table(data) == (
        MountSeen(
            target=b"/mnt2 x\ny", kind=b"ext3", source=b"/dev/\\root", root=b"/mnt1", device=os.makedev(98, 0), flags=("rw", "noexec")
        ),
    )


@pytest.mark.usefixtures("root")
def test_the_kernel_rings_when_something_is_mounted_remounted_and_unmounted(tmp_path: Path) -> None:
    """In a mount namespace of its own, which ends with the process."""
    script = (
        "import ctypes, sys\nlibc = ctypes.CDLL(None)\n"
        "for line in sys.stdin:\n"
        "    kind, target, flags = line.split()\n"
        "    if kind == 'umount':\n"
        "        print(libc.umount2(target.encode(), 2), flush=True)\n"
        "    else:\n"
        "        print(libc.mount(b'x', target.encode(), kind.encode(), int(flags), None), flush=True)\n"
    )
    with subprocess.Popen(
        ["unshare", "-m", sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        tables = MountTables()

        def do(kind: str, flags: int = 0) -> None:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{kind} {tmp_path} {flags}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "0\n"

        try:
            do("tmpfs")  # the process is in its namespace
            tables.open("c", process.pid)
            tables.wait(0.0)
            for kind, flags in (("tmpfs", 0), ("tmpfs", 32 | 1), ("umount", 0)):
                do(kind, flags)
                assert tables.wait(30.0) == {"c"}, kind
            table = tables.read("c")
            assert table is not None and table.is_whole and sum(m.target == os.fsencode(tmp_path) for m in table.mounts) == 1
            assert tables.wait(0.0) == frozenset()
            process.stdin.close()
            process.wait()
            assert tables.wait(30.0) == frozenset() and tables.read("c") is None, "an ended container holds nothing"
        finally:
            process.kill()
            tables.close_all()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="compiles a program with threads")
def test_a_process_whose_first_thread_has_ended_is_read_through_another(tmp_path: Path) -> None:
    program = tmp_path / "trick"
    subprocess.run(["gcc", "-static", "-pthread", "-o", program, "tests/attack/live_tricks.c"], check=True, capture_output=True)
    process = subprocess.Popen([program, "without-head"])
    try:
        deadline = time.monotonic() + 30
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        seen = read_process(process.pid, 0)
        assert seen is not None and seen.pid == process.pid
        assert seen.program.path == os.fsencode(program) and seen.root == b"/" and seen.mount_namespace == os.readlink("/proc/self/ns/mnt")
        read = RunningFiles().read(seen.program)
        assert read is not None and read.digest == Digest.of(program.read_bytes())
    finally:
        process.kill()
        process.wait()
    assert read_process(process.pid, 0) is None


def test_a_process_that_has_ended_is_told_from_one_that_may_not_be_looked_at() -> None:
    """A zombie is still there, and shows nothing: it was taken for one that only somebody with more rights may look at."""
    with sleeping() as pid:
        assert not has_ended(pid)
    with subprocess.Popen(["true"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert os.path.exists(f"/proc/{zombie.pid}") and has_ended(zombie.pid)
    assert has_ended(zombie.pid)


@pytest.mark.parametrize(
    "error", [Headless("no thread held still"), OSError(errno.EIO, "served badly"), PermissionError(errno.EACCES, "no")]
)
def test_one_process_that_cannot_be_read_keeps_nobody_from_listing_what_the_others_execute(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is raised there ends the agent: a container whose threads come and go could have kept its node unwatched."""
    mounted = Mounted(upper=b"/upper", lowers=(b"/lower",), device=os.stat("/").st_dev)

    def read(pid: int, device: int) -> object:
        if pid == hasty:
            raise error
        return read_process(pid, device)

    monkeypatch.setattr(executed, "read_process", read)
    with sleeping() as hasty, sleeping() as other:
        listed = executed.list_executed(Running(container=CONTAINER, init_pid=other, mounted=mounted))
    assert os.fsencode(SLEEP.resolve()) in listed
