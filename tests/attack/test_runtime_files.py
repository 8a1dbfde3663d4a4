"""The files that the runtime makes for a container and mounts by themselves, rewritten inside real containers: no layer shows that."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intact.adapters.linux.live import HostLive
from intact.adapters.runtime.containerd import Containerd
from intact.adapters.runtime.discover import find_container
from intact.model.container import Running
from intact.model.live import LiveLook
from intact.run.node.eyes import HostMounts
from lab import images
from lab.runtime import Runtime

pytestmark = [pytest.mark.usefixtures("root")]

NAME, ID = "docker.io/local/runtime-files:1", "given"
FILES = ("hosts", "hostname", "resolv.conf")


class Box:
    """A container as the kubelet has it made, looked at as by an agent; it started `age_s` ago, as far as that one knows."""

    def __init__(self, runtime: Runtime, running: Running, given: Path) -> None:
        self._runtime, self._running, self.given = runtime, running, given
        self._world = HostLive(time.time)
        self.age_s = 3600.0

    def begin(self) -> None:
        aged = replace(self._running, container=replace(self._running.container, started_at=time.time() - self.age_s))
        assert self._world.watch(aged) == ""

    def sh(self, script: str) -> None:
        self._runtime.exec(ID, ["sh", "-ec", script])

    def look(self) -> LiveLook:
        (look,) = self._world.look(frozenset({self._running.container.id}))
        return look

    def rewritten(self) -> set[bytes]:
        look = self.look()
        assert look.unobserved == ()
        return {one.entry.path for one in look.rewritten}

    def close(self) -> None:
        self._world.close()


@pytest.fixture
def box(runtime: Runtime, tmp_path: Path) -> Iterator[Box]:
    runtime.import_image(images.busybox_image(tmp_path / "image", NAME, files={b"/etc/version": b"1\n"}))
    given = tmp_path / "given"
    given.mkdir()
    for name in FILES:
        (given / name).write_text(f"{name} as the runtime made it\n")
    mounts = [f"type=bind,src={given / name},dst=/etc/{name},options=rbind:rw" for name in FILES]
    runtime.run(NAME, ID, mounts=mounts)
    containerd = Containerd(str(runtime.address), HostMounts())
    try:
        box = Box(runtime, find_container(containerd.list_running("node1"), ID), given)
        yield box
        box.close()
    finally:
        containerd.close()
        runtime.stop(ID)


@pytest.mark.parametrize("name", FILES)
def test_a_line_in_a_file_of_the_runtime_is_told(box: Box, name: str) -> None:
    box.begin()
    assert box.rewritten() == set()
    box.sh(f"echo 203.0.113.9 registry.example >>/etc/{name}; touch -d 2020-01-01 /etc/{name}")
    (found,) = box.look().rewritten
    assert found.entry.path == f"/etc/{name}".encode() and found.entry.digest not in (None, found.before.digest)
    assert abs(found.changed_at - time.time()) < 30.0


def test_who_may_write_such_a_file_is_told(box: Box) -> None:
    box.begin()
    assert box.rewritten() == set()
    box.sh("chmod 0666 /etc/hosts; chown 1000 /etc/resolv.conf")
    assert box.rewritten() == {b"/etc/hosts", b"/etc/resolv.conf"}


def test_a_store_through_a_mapping_is_told(box: Box) -> None:
    box.begin()
    box.rewritten()
    with (box.given / "hosts").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        for byte, told in ((b"x", {b"/etc/hosts"}), (b"h", set[bytes]()), (b"x", {b"/etc/hosts"})):
            mapped[0:1] = byte
            assert box.rewritten() == told


def test_what_an_entry_point_writes_at_the_start_is_not_told_and_what_comes_later_is(box: Box) -> None:
    box.age_s = 0.0
    box.begin()
    assert box.rewritten() == set()
    box.sh("echo 127.0.0.1 me >>/etc/hosts")
    assert box.rewritten() == set()


def test_the_same_content_written_anew_by_the_kubelet_is_not_told(box: Box) -> None:
    box.begin()
    assert box.rewritten() == set()
    (box.given / "hosts").write_text("hosts as the runtime made it\n")
    assert box.rewritten() == set()
    box.sh("echo evil >>/etc/hosts")
    assert box.rewritten() == {b"/etc/hosts"}
    (box.given / "hosts").write_text("hosts as the runtime made it\n")
    assert box.rewritten() == set(), "a container of the pod that starts puts it right"


def test_a_file_of_a_terabyte_without_bytes_is_told_and_not_read(box: Box) -> None:
    box.begin()
    box.rewritten()
    began = time.monotonic()
    box.sh("truncate -s 1024G /etc/hosts")
    (found,) = box.look().rewritten
    assert found.entry.size_bytes == 1 << 40 and found.entry.digest is None
    assert time.monotonic() - began < 30.0


def test_what_cannot_be_read_is_said(box: Box) -> None:
    box.begin()
    box.rewritten()
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # that somebody wants the lease
    held = os.open(box.given / "hosts", os.O_WRONLY)
    try:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        assert {one.path for one in box.look().unobserved} == {b"/etc/hosts"}
    finally:
        os.close(held)
        signal.signal(signal.SIGIO, before)
