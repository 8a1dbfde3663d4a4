"""Runtimes keep their layers on other file systems than ext4: scans, readings of layers and the doorbell are right on these too, on loop
devices. Where this kernel lacks one, that is said."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from intact.adapters.linux.doorbell import FanotifyDoorbell
from intact.adapters.linux.scratch import mount_overlay
from tests.random_overlays import WAYS, check_overlay, draw_layers, draw_steps

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("root")]

SIZE_BYTES = 600 << 20
STORES = {"ext4": ("mkfs.ext4", "-q"), "xfs": ("mkfs.xfs", "-q"), "btrfs": ("mkfs.btrfs", "-q")}
PATIENCE_S = 60.0


@contextmanager
def mounted(image: Path, kind: str, *options: str) -> Iterator[Path]:
    """The file system in the file `image`, on a loop device that goes with it."""
    if f"\t{kind}\n" not in Path("/proc/filesystems").read_text():
        pytest.skip(f"this kernel has no {kind}")
    point = image.with_suffix(".mounted")
    point.mkdir()
    subprocess.run(["mount", "-t", kind, "-o", ",".join(("loop", *options)), image, point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest, root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    image = tmp_path_factory.mktemp("store") / f"{request.param}.img"
    image.touch()
    os.truncate(image, SIZE_BYTES)
    subprocess.run([*STORES[request.param], image], check=True, capture_output=True)
    with mounted(image, request.param) as point:
        yield point


@contextmanager
def on_erofs(layers: Sequence[Path]) -> Iterator[list[Path]]:
    """The layers as read-only images, as some snapshotters keep them."""
    with ExitStack() as stack:
        points = []
        for number, layer in enumerate(layers):
            image = layers[0].parent / f"layer{number}.erofs"
            subprocess.run(["mkfs.erofs", "--quiet", image, layer], check=True, capture_output=True)
            points.append(stack.enter_context(mounted(image, "erofs", "ro")))
        yield points


@pytest.mark.parametrize("way", ["as the runtime does", "metacopy", "userxattr", "idmapped, with metacopy"])
def test_the_scan_and_the_mounted_view_agree_on(store: Path, way: str) -> None:
    for seed in range(5):
        random, base = Random(f"{way} {seed}"), store / f"{way} {seed}".replace(",", "")
        base.mkdir()
        check_overlay(base, WAYS[way], draw_layers(random), draw_steps(random, 24), hollow=seed % 2 == 1)


@pytest.mark.parametrize("way", ["as the runtime does", "metacopy"])
def test_the_scan_and_the_mounted_view_agree_over_layers_on_erofs(tmp_path: Path, way: str) -> None:
    for seed in range(3):
        random, base = Random(f"{way} {seed}"), tmp_path / str(seed)
        base.mkdir()
        check_overlay(base, WAYS[way], draw_layers(random), draw_steps(random, 24), hollow=False, pack=on_erofs)


@contextmanager
def listening(scratch: Path) -> Iterator[FanotifyDoorbell]:
    bell = FanotifyDoorbell(scratch)
    try:
        tier = bell.start()
        assert tier.name in ("A", "B"), tier.reason
        yield bell
    finally:
        bell.close()


def wait_for(bell: FanotifyDoorbell, directory: bytes, path: bytes) -> None:
    """Until the bell rings for `path` in `directory`, or for all of it."""
    deadline = time.monotonic() + PATIENCE_S
    heard: list[object] = []
    while time.monotonic() < deadline:
        rings = bell.wait(1.0)
        dirty = rings.dirty.get(directory, frozenset())
        if rings.overflowed or dirty is None or {path, path + b"/", b"/"} & dirty:
            return
        heard.append(dict(rings.dirty))
    raise AssertionError(f"nothing rang for {path!r} in {directory!r}: {[one for one in heard if one]}")


def hear_a_container_and_its_host(bell: FanotifyDoorbell, base: Path) -> None:
    lower, upper, work = base / "lower", base / "1" / "fs", base / "1" / "work"
    for directory in (lower, upper, work):
        directory.mkdir(parents=True)
    (lower / "conf").write_text("1")
    unheard = bell.watch([os.fsencode(upper), os.fsencode(lower)])
    assert unheard == {}
    overlay = mount_overlay((os.fsencode(lower),), os.fsencode(upper), os.fsencode(work))
    try:
        inside = Path(f"/proc/self/fd/{overlay}")
        (inside / "new").write_text("x")
        wait_for(bell, os.fsencode(upper), b"/new")
        (inside / "conf").chmod(0o600)
        wait_for(bell, os.fsencode(upper), b"/conf")
        (lower / "conf").write_text("2")
        wait_for(bell, os.fsencode(lower), b"/conf")
    finally:
        os.close(overlay)


def test_the_doorbell_rings_on(store: Path) -> None:
    with listening(store) as bell:
        hear_a_container_and_its_host(bell, store / "bell")


@pytest.mark.parametrize("store", ["btrfs"], indirect=True)
def test_what_a_subvolume_keeps_from_the_doorbell_is_said(store: Path) -> None:
    """fanotify_mark(2), EXDEV: a subvolume of btrfs is not what a file system's mark is set by. Timed looks see it all the same."""
    subprocess.run(["btrfs", "subvolume", "create", store / "one"], check=True, capture_output=True)
    bell = FanotifyDoorbell(store / "one")
    try:
        tier = bell.start()
        assert (tier.name, tier.reason) == ("C", "no events: fanotify_mark: Invalid cross-device link")
    finally:
        bell.close()
    with listening(store) as bell:
        assert bell.watch([os.fsencode(store / "one")]) == {os.fsencode(store / "one"): "fanotify_mark: Invalid cross-device link"}
    base = store / "one" / "scan"
    base.mkdir()
    check_overlay(base, WAYS["metacopy"], draw_layers(Random(1)), draw_steps(Random(1), 24), hollow=True)
