"""Ways to change a file without the name of that file being called out: the doorbell must lead to it all the same."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intact.adapters.linux.doorbell import FanotifyDoorbell
from intact.adapters.linux.drain import Batch
from intact.adapters.linux.scratch import mount_overlay
from intact.compare.differ import compare
from intact.compare.executed import judge_executed
from intact.observe.flood import FloodGauge
from intact.observe.ports import Rings, View
from tests.attack.staged import Staged, seen

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(120)]


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path / "staged") as staged:
        (staged.image / "etc/deep").mkdir(parents=True)
        (staged.image / "etc" / "conf").write_bytes(b"setting = 1\n")
        (staged.image / "etc" / "deep" / "file").touch()
        yield staged.start()


@pytest.fixture(params=["A", "B"])
def doorbell(staged: Staged, request: pytest.FixtureRequest) -> Iterator[FanotifyDoorbell]:
    """As each kernel would hear: B is how one before 6.5 does."""
    yield from ringing(staged, FanotifyDoorbell(staged.base, at_most=request.param, gauge=FloodGauge(quiet_s=2)), request.param)


def ringing(staged: Staged, bell: FanotifyDoorbell, wanted: str = "A") -> Iterator[FanotifyDoorbell]:
    tier = bell.start()
    try:
        assert tier.name in "AB", tier.reason
        if tier.name != wanted:
            pytest.skip(tier.reason)
        assert bell.watch([os.fsencode(staged.upper), os.fsencode(staged.image)], view_of(staged)) == {}
        yield bell
    finally:
        bell.close()


def kernel_version() -> tuple[int, ...]:
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))


def view_of(staged: Staged) -> View:
    root = b"/proc/self/fd/%d" % staged.overlay
    return View(root=root, device=os.fstat(staged.overlay).st_dev, upper=os.fsencode(staged.upper))


def ring(bell: FanotifyDoorbell, timeout_s: float = 5.0) -> Rings:
    """Everything that rings until it has been quiet for a moment."""
    dirty: dict[bytes, frozenset[bytes] | None] = {}
    overflowed, lost = False, 0
    wait = timeout_s
    while rings := bell.wait(wait):
        for directory, paths in rings.dirty.items():
            before = dirty.get(directory, frozenset())
            dirty[directory] = None if before is None or paths is None else before | paths
        overflowed |= rings.overflowed
        lost += rings.lost
        wait = 0.2
        if not rings.dirty and not rings.overflowed:
            break
    return Rings(dirty=dirty, overflowed=overflowed, lost=lost)


def look_where_it_rang(staged: Staged, bell: FanotifyDoorbell) -> dict[bytes, object]:
    rings = ring(bell)
    assert os.fsencode(staged.upper) in rings.dirty, "nothing rang"
    paths = rings.dirty[os.fsencode(staged.upper)]
    observation = staged.look(only=None if paths is None else set(paths))
    return {**seen(observation), **dict.fromkeys(observation.absent)}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda root: (root / "new").write_bytes(b"x"), b"/new"),
        (lambda root: os.truncate(root / "etc/conf", 0), b"/etc/conf"),
        (lambda root: (root / "etc/conf").write_bytes(b"setting = 2\n"), b"/etc/conf"),
        (lambda root: (root / "etc/conf").chmod(0o4755), b"/etc/conf"),
        (lambda root: os.setxattr(root / "etc/conf", "user.x", b"1"), b"/etc/conf"),
        (lambda root: (root / "etc/conf").unlink(), b"/etc/conf"),
        (lambda root: (root / "etc/conf").rename(root / "etc/moved"), b"/etc/moved"),
        (lambda root: subprocess.run(["rm", "-r", "etc/deep"], cwd=root, check=True), b"/etc/deep"),
        (lambda root: (root / "link").symlink_to("/etc"), b"/link"),
        (lambda root: os.mkfifo(root / "fifo"), b"/fifo"),
    ],
)
def test_each_kind_of_change_rings(staged: Staged, doorbell: FanotifyDoorbell, change: Callable[[Path], object], path: bytes) -> None:
    # A directory of our own to stand in: the child process of one change cannot inherit the descriptor.
    inside = Path(f"/proc/{os.getpid()}/fd/{staged.overlay}")
    change(inside)
    assert path in look_where_it_rang(staged, doorbell)


def test_files_moved_in_with_their_directory(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    (staged.inside / "tmp/a/b").mkdir(parents=True)
    (staged.inside / "tmp/a/b/shell").write_bytes(b"#!/bin/sh\n")
    ring(doorbell)
    (staged.inside / "tmp/a").rename(staged.inside / "hidden")
    assert b"/hidden/b/shell" in look_where_it_rang(staged, doorbell)
    (staged.inside / "hidden/b/shell").write_bytes(b"#!/bin/bash\n")
    assert b"/hidden/b/shell" in look_where_it_rang(staged, doorbell)


def test_a_program_run_in_a_directory_that_is_moved_and_removed_with_it(staged: Staged, tmp_path: Path) -> None:
    """Where it was is all that is left of it."""
    bell = FanotifyDoorbell(staged.base)
    for _ in ringing(staged, bell):
        (staged.inside / "tmp/d").mkdir(parents=True)
        shutil.copy("/bin/true", staged.inside / "tmp/d/x")
        ring(bell)
        (staged.inside / "tmp/d").rename(staged.inside / "tmp/e")
        # In one go, before anybody can ask where the directory is now: the doorbell is held up meanwhile.
        with bell._rung:
            subprocess.run([staged.inside / "tmp/e/x"], check=True, pass_fds=[staged.overlay])
            shutil.rmtree(staged.inside / "tmp/e")
        executed: set[bytes] = set()
        deadline = time.monotonic() + 30
        while not executed and time.monotonic() < deadline:
            rings = bell.wait(0.5)
            executed.update(*(rings.executed.values() if rings else ()))
        assert executed & {b"/tmp/d/x", b"/tmp/e/x"}


def executed_when(bell: FanotifyDoorbell, act: Callable[[], object]) -> set[bytes]:
    """What is told as executed of `act`, which is over before anybody can ask where anything is: the doorbell is held up meanwhile."""
    ring(bell)
    with bell._rung:
        act()
    executed: set[bytes] = set()
    deadline = time.monotonic() + 30
    while not executed and time.monotonic() < deadline:
        rings = bell.wait(0.5)
        executed.update(*(rings.executed.values() if rings else ()))
    return executed


@pytest.mark.skipif(kernel_version() < (5, 17), reason="the kernel does not tell the handle of what is made")
@pytest.mark.parametrize(("made", "moved"), [("tmp/d", None), ("tmp/d/e/f", None), ("tmp/d", "tmp/z"), ("tmp/d/e", "tmp/d/z")])
def test_a_program_run_in_directories_that_are_made_and_removed_at_once(staged: Staged, made: str, moved: str | None) -> None:
    (staged.inside / "tmp").mkdir()
    last = moved or made

    def act() -> None:
        (staged.inside / made).mkdir(parents=True)
        if moved is not None:
            (staged.inside / made).rename(staged.inside / moved)
        shutil.copy("/bin/true", staged.inside / last / "x")
        subprocess.run([staged.inside / last / "x"], check=True, pass_fds=[staged.overlay])
        shutil.rmtree(staged.inside / "tmp" / Path(made).parts[1], ignore_errors=True)
        shutil.rmtree(staged.inside / last, ignore_errors=True)

    bell = FanotifyDoorbell(staged.base)
    for _ in ringing(staged, bell):
        assert executed_when(bell, act) == {f"/{last}/x".encode()}
        assert not any((staged.inside / "tmp").iterdir())


@pytest.mark.parametrize("had_name", [True, False])
def test_a_program_without_a_name_run_by_its_descriptor(staged: Staged, had_name: bool) -> None:
    (staged.inside / "tmp").mkdir()

    def act() -> None:
        place = os.fsencode(staged.inside / "tmp")
        if had_name:
            shutil.copy("/bin/true", staged.inside / "tmp/x")
        else:
            writer = os.open(place, os.O_TMPFILE | os.O_RDWR, 0o755)
            os.write(writer, Path("/bin/true").read_bytes())
        program = os.open(staged.inside / "tmp/x" if had_name else f"/proc/self/fd/{writer}", os.O_RDONLY)
        if had_name:
            (staged.inside / "tmp/x").unlink()
        else:
            os.close(writer)
        subprocess.run([f"/proc/self/fd/{program}"], check=True, pass_fds=[program])
        os.close(program)

    bell = FanotifyDoorbell(staged.base)
    for _ in ringing(staged, bell):
        assert {path.rpartition(b"/")[0] for path in executed_when(bell, act)} == {b"/tmp"}


def test_a_program_of_the_image_exchanged_run_and_put_back_is_told_by_the_file_that_ran(tmp_path: Path) -> None:
    """All that a look could find is the image's file; one that was only touched before it ran is the one that ran."""
    with Staged(tmp_path / "staged") as staged:
        (staged.image / "bin").mkdir()
        shutil.copy("/bin/false", staged.image / "bin/exchanged")
        shutil.copy("/bin/true", staged.image / "bin/touched")
        staged.start()
        (staged.inside / "tmp").mkdir()
        shutil.copy("/bin/true", staged.inside / "tmp/evil")

        def act() -> None:
            (staged.inside / "bin/touched").touch()
            subprocess.run([staged.inside / "bin/touched"], check=True, pass_fds=[staged.overlay])
            (staged.inside / "bin/exchanged").rename(staged.inside / "tmp/kept")
            (staged.inside / "tmp/evil").rename(staged.inside / "bin/exchanged")
            subprocess.run([staged.inside / "bin/exchanged"], check=True, pass_fds=[staged.overlay])
            (staged.inside / "tmp/kept").rename(staged.inside / "bin/exchanged")

        for bell in ringing(staged, FanotifyDoorbell(staged.base)):
            ring(bell)
            with bell._rung:
                act()
            executed, replaced = set[bytes](), set[bytes]()
            deadline = time.monotonic() + 30
            while len(executed) < 2 and time.monotonic() < deadline:
                rings = bell.wait(0.5)
                executed.update(*rings.executed.values())
                replaced.update(*rings.replaced.values())
            assert executed == {b"/bin/touched", b"/bin/exchanged"}
            assert replaced == {b"/bin/exchanged"}
            observation = staged.look(only=executed)
            verdict = judge_executed(staged.baseline, executed, observation, compare(staged.baseline, observation), replaced)
            assert [one.difference.path for one in verdict.findings] == [b"/bin/exchanged"]


def test_write_through_another_hard_link(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    (staged.inside / "one").write_bytes(b"1")
    (staged.inside / "other").hardlink_to(staged.inside / "one")
    ring(doorbell)
    (staged.inside / "one").write_bytes(b"2")
    assert {b"/one", b"/other"} <= set(look_where_it_rang(staged, doorbell))


@pytest.mark.parametrize("is_open", [True, False])
def test_a_file_known_to_have_one_name_gets_another(staged: Staged, doorbell: FanotifyDoorbell, *, is_open: bool) -> None:
    """Where a file is that is written again and again is not asked each time; a new name ends that."""
    with (staged.inside / "one").open("wb", buffering=0) as file:
        for _ in range(3):
            file.write(b"1")
            assert b"/one" in look_where_it_rang(staged, doorbell)
        (staged.inside / "other").hardlink_to(staged.inside / "one")
        ring(doorbell)
        if is_open:
            file.write(b"2")
        else:
            (staged.inside / "one").write_bytes(b"2")
        assert {b"/one", b"/other"} <= set(look_where_it_rang(staged, doorbell))
        (staged.inside / "one").unlink()
        (staged.inside / "other").rename(staged.inside / "third")
        ring(doorbell)
        file.write(b"3")
        assert b"/third" in look_where_it_rang(staged, doorbell)


def test_write_through_a_name_that_is_gone(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    (staged.inside / "one").write_bytes(b"1")
    (staged.inside / "other").hardlink_to(staged.inside / "one")
    with (staged.inside / "one").open("r+b", buffering=0) as file:
        (staged.inside / "one").unlink()
        ring(doorbell)
        file.write(b"2")
        assert b"/other" in look_where_it_rang(staged, doorbell)


def test_write_through_a_nameless_file_that_got_a_name(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    nameless = os.open(staged.inside, os.O_TMPFILE | os.O_RDWR)
    try:
        os.link(f"/proc/self/fd/{nameless}", "named", src_dir_fd=staged.overlay, dst_dir_fd=staged.overlay, follow_symlinks=True)
        ring(doorbell)
        os.write(nameless, b"payload")
        assert b"/named" in look_where_it_rang(staged, doorbell)
    finally:
        os.close(nameless)


def test_change_in_a_directory_too_deep_for_its_path(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    name = "n" * 200
    here = os.dup(staged.overlay)
    for _ in range(40):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    ring(doorbell)
    os.close(os.open("payload", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here))
    os.close(here)
    assert any(path.endswith(b"/payload") for path in look_where_it_rang(staged, doorbell))


def test_lower_directory_edited_on_the_host(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    with (staged.image / "etc/conf").open("ab") as file:
        file.write(b"more")
    rings = ring(doorbell)
    assert rings.dirty == {os.fsencode(staged.image): frozenset({b"/etc/conf"})}


def test_what_happens_elsewhere_on_the_disk_does_not_ring(staged: Staged, doorbell: FanotifyDoorbell, tmp_path: Path) -> None:
    (tmp_path / "unrelated").write_bytes(b"x")
    (staged.upper.parent / "work" / "copying").touch()
    assert ring(doorbell, 0.3).dirty == {}
    doorbell.forget([os.fsencode(staged.upper)])
    (staged.inside / "new").write_bytes(b"x")
    assert ring(doorbell, 0.3).dirty == {}


def test_a_deep_directory_elsewhere_rings_for_nobody_where_only_a_part_of_the_disk_is_mounted(tmp_path: Path) -> None:
    """As in the agent's pod, which is shown the runtime's directories and nothing else of the node's disk."""
    shown, mounted, elsewhere = tmp_path / "shown", tmp_path / "mounted", tmp_path / "elsewhere"
    for directory in (shown / "watched", mounted, elsewhere):
        directory.mkdir(parents=True)
    subprocess.run(["mount", "--bind", shown, mounted], check=True)
    bell = FanotifyDoorbell(mounted)
    try:
        if bell.start().name != "A":
            pytest.skip("the kernel does not tell of writes to overlays")
        bell.watch([os.fsencode(mounted / "watched")])
        here = os.open(elsewhere, os.O_RDONLY)
        for _ in range(40):
            os.mkdir("n" * 200, dir_fd=here)
            below = os.open("n" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("payload", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here))
        os.close(here)
        rings = ring(bell, 0.5)
        assert rings.dirty == {} and not rings.overflowed
        (shown / "watched/new").touch()
        assert ring(bell).dirty.keys() == {os.fsencode(mounted / "watched")}
    finally:
        bell.close()
        subprocess.run(["umount", mounted], check=True)


def test_a_write_to_a_file_that_was_changed_before(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    (staged.inside / "etc/conf").write_bytes(b"setting = 2\n")
    ring(doorbell)
    with (staged.inside / "etc/conf").open("r+b", buffering=0) as held:
        for value in (b"3", b"4"):
            held.seek(10)
            held.write(value)
            assert b"/etc/conf" in look_where_it_rang(staged, doorbell)


def test_a_write_seen_through_a_lease_is_not_lost(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    """Where an event carries an open file, a lease keeps the kernel from opening it."""
    (staged.inside / "leased").write_bytes(b"1")
    ring(doorbell)
    held = os.open(staged.inside / "leased", os.O_RDWR)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        os.write(held, b"2")
        rings = ring(doorbell)
        assert rings.overflowed or os.fsencode(staged.upper) in rings.dirty
    finally:
        os.close(held)
        signal.signal(signal.SIGIO, before)


def test_a_full_queue_of_the_kernel_is_counted_and_the_bell_goes_on(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    limit = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())
    assert doorbell._drain is not None
    with doorbell._drain._taken:  # nothing is taken out while the queue fills
        fill(staged, limit // 2 + 2000)
    assert_said_and_over(staged, doorbell)


def test_a_full_queue_of_ours_is_counted_and_the_bell_goes_on(staged: Staged) -> None:
    for bell in ringing(staged, FanotifyDoorbell(staged.base, held_bytes=10_000, gauge=FloodGauge(quiet_s=2))):
        with bell._rung:  # nothing is followed while the queue fills
            for _ in range(20):
                fill(staged, 100)
                time.sleep(0.02)
        assert_said_and_over(staged, bell)


def fill(staged: Staged, files: int) -> None:
    (staged.inside / "flood").mkdir(exist_ok=True)
    for number in range(files):
        (staged.inside / f"flood/{number}").touch()
        (staged.inside / f"flood/{number}").unlink()


def assert_said_and_over(staged: Staged, bell: FanotifyDoorbell) -> None:
    deadline = time.monotonic() + 60
    while not (rings := bell.wait(1)).overflowed:
        assert time.monotonic() < deadline, "the queue was full, and nobody says so"
    assert rings.lost >= 1
    while bell.wait(0.5).floods:
        assert time.monotonic() < deadline, "all is quiet, and it is still a flood"
    (staged.inside / "after").touch()
    assert b"/after" in look_where_it_rang(staged, bell)


def test_one_that_floods_is_named_and_the_others_ring_as_before(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    doorbell._gauge.flood_per_s, doorbell._gauge.calm_per_s, doorbell._gauge.quiet_s = 300, 50, 3.0  # for a machine of any speed
    with Staged(staged.base / "quiet") as quiet:
        quiet.start()
        doorbell.watch([os.fsencode(quiet.upper)])
        loud, deadline = os.fsencode(staged.upper), time.monotonic() + 60
        while loud not in doorbell.wait(0).floods:
            fill(staged, 500)
            assert time.monotonic() < deadline, "nobody says that it floods"
        (quiet.inside / "new").touch()
        heard: set[bytes] = set()
        while b"/new/" not in heard:
            rings = doorbell.wait(1)
            heard |= rings.dirty.get(os.fsencode(quiet.upper)) or set()
            assert rings.floods <= {loud} and time.monotonic() < deadline
        while doorbell.wait(0.2).floods:
            assert time.monotonic() < deadline, "all is quiet, and it is still a flood"


def test_writer_is_named_only_when_it_is_certain(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    time.sleep(0.05)
    (staged.inside / "mine").touch()
    upper = os.fsencode(staged.upper)
    rings = doorbell.wait(5)
    process = rings.writers[upper][b"/mine"]
    assert process is not None and process.pid == os.getpid()
    ring(doorbell, 0.1)
    subprocess.run(["touch", f"/proc/{os.getpid()}/fd/{staged.overlay}/theirs"], check=True)
    rings = doorbell.wait(5)
    assert rings.writers[upper][b"/theirs"] is None


def test_containers_that_come_and_go_leave_nothing_behind(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(60):
        base = staged.base / "snapshots" / f"c{number}"
        upper, work = base / "fs", base / "work"
        upper.mkdir(parents=True)
        work.mkdir()
        overlay = mount_overlay((os.fsencode(staged.image),), os.fsencode(upper), os.fsencode(work))
        view = View(root=b"/proc/self/fd/%d" % overlay, device=os.fstat(overlay).st_dev, upper=os.fsencode(upper))
        assert doorbell.watch([os.fsencode(upper)], view) == {}
        os.close(os.open("dropped", os.O_WRONLY | os.O_CREAT, dir_fd=overlay))
        os.close(overlay)
        heard = False
        deadline = time.monotonic() + 5
        while not heard and time.monotonic() < deadline:
            heard = os.fsencode(upper) in doorbell.wait(0.5).dirty
        assert heard, f"container {number} was missed"
        doorbell.forget([os.fsencode(upper)])
    assert len(os.listdir("/proc/self/fd")) == before


def test_bell_without_rights_says_so_and_never_rings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bell = FanotifyDoorbell(tmp_path / "missing")
    tier = bell.start()
    assert tier.name == "C" and "No such file" in tier.reason
    bell.watch([b"/tmp"])
    assert bell.wait(0.01).dirty == {}
    bell.close()


def test_watched_directories_are_heard_through_mounts_of_their_own(staged: Staged, tmp_path: Path) -> None:
    """As in the agent's pod: its own directory and the runtime's are two mounts of one file system, so no path begins alike in both."""
    scratch, shown = tmp_path / "scratch", tmp_path / "shown"
    for directory in (scratch, shown):
        directory.mkdir()
    subprocess.run(["mount", "--bind", scratch, scratch], check=True)
    subprocess.run(["mount", "--bind", staged.base, shown], check=True)
    bell = FanotifyDoorbell(scratch)
    upper = os.fsencode(shown / staged.upper.relative_to(staged.base))
    try:
        assert bell.start().name in "AB"
        assert bell.watch([upper]) == {}
        (staged.inside / "etc/conf").write_bytes(b"setting = 2\n")
        rings = ring(bell)
        assert upper in rings.dirty
        assert not rings.overflowed
    finally:
        bell.close()
        for directory in (shown, scratch):
            subprocess.run(["umount", directory], check=True)


def test_who_made_a_change_just_before_a_look_is_known_to_that_look(staged: Staged, doorbell: FanotifyDoorbell) -> None:
    """A timed look that came before the ring was taken in told the change as nobody's, and it stayed nobody's."""
    upper = os.fsencode(staged.upper)
    ring(doorbell, 1.0)
    for number in range(30):
        (staged.inside / f"etc/planted{number}").write_bytes(b"x")
        path, rings = b"/etc/planted%d" % number, doorbell.catch_up(60.0)
        process, dirty = rings.writers[upper][path], rings.dirty[upper]
        assert process is not None and process.pid == os.getpid()
        assert dirty is None or path + b"/" in dirty


def test_a_doorbell_that_is_busy_holds_up_no_look(staged: Staged) -> None:
    """Whoever keeps it busy would otherwise put off what is told of all containers."""
    at_work, go_on = threading.Event(), threading.Event()

    class Busy(FanotifyDoorbell):
        def _take_batch(self, batch: Batch) -> None:
            at_work.set()
            assert go_on.wait(60)
            super()._take_batch(batch)

    for bell in ringing(staged, Busy(staged.base)):
        (staged.inside / "etc/planted").write_bytes(b"x")
        assert at_work.wait(60)
        assert bell.catch_up(0.05) == Rings()
        go_on.set()
        assert b"/etc/planted" in bell.catch_up(60.0).writers[os.fsencode(staged.upper)]
