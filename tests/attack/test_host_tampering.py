"""Somebody who is on the node changes an image's layers below its containers: at once, or while nobody watches."""

from __future__ import annotations

import os
import queue
import time
from pathlib import Path

import pytest

from intact.adapters.runtime.containerd import Containerd
from intact.adapters.runtime.discover import find_container
from intact.run.node.eyes import HostEyes, HostMounts
from intact.run.node.layer_reader import LayerReader, Reading
from lab import images
from lab.runtime import Runtime
from lab.watching import Line
from tests.attack.staged import baseline_of
from tests.integration.watching import Watching

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(300)]

NAME = "docker.io/local/tampered:1"
PROGRAM = b"#!/bin/sh\necho shop\n"
RULE = "read-only-layer-changed"


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> str:
    files = {b"/srv/main.sh": PROGRAM, b"/srv/other.sh": PROGRAM, b"/srv/gone.sh": PROGRAM}
    runtime.import_image(images.busybox_image(tmp_path_factory.mktemp("tampered"), NAME, files=files))
    return NAME


def hear_layers(watch: Watching, ids: set[str]) -> None:
    """Until the layers of all containers were read, and were the image's."""
    while ids:
        line = watch.hear(lambda line: line["type"] == "verdict" and line["scope"] == "layers")
        assert line["state"] == "Intact", line
        ids.discard(line["container"]["id"])


def change(path: Path) -> None:
    """Other bytes; size and modification time stay."""
    about = path.stat()
    path.write_bytes(PROGRAM.replace(b"shop", b"evil"))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_layer_that_changes_is_told_of_every_container_that_uses_it(runtime: Runtime, image: str, tmp_path: Path) -> None:
    ids = ["first", "second"]
    for id in ids:
        runtime.run(image, id)
    layer = runtime.lowers("first")[-1]
    try:
        with Watching(runtime.address, tmp_path / "state") as watch:
            hear_layers(watch, set(ids))
            (layer / "srv/gone.sh").unlink()
            (layer / "srv/added.sh").write_bytes(PROGRAM)
            change(layer / "srv/main.sh")
            wanted = {(id, path) for id in ids for path in ("/srv/gone.sh", "/srv/added.sh", "/srv/main.sh")}
            while wanted:
                line = watch.hear(lambda line: line["type"] == "finding" and line["rule"] == RULE)
                wanted.discard((line["container"]["id"], line["path"]))
    finally:
        (layer / "srv/main.sh").write_bytes(PROGRAM)
        (layer / "srv/gone.sh").write_bytes(PROGRAM)
        (layer / "srv/added.sh").unlink(missing_ok=True)
        for id in ids:
            runtime.stop(id)


def test_a_layer_that_changed_while_nobody_watched_is_told_though_it_was_read_before(runtime: Runtime, image: str, tmp_path: Path) -> None:
    """What was read before is remembered, so that the node need not read all of it again; what changed since is read."""
    runtime.run(image, "unwatched")
    layer, memory = runtime.lowers("unwatched")[-1], tmp_path / "state" / "node" / "layers.json"
    try:
        with Watching(runtime.address, tmp_path / "state") as watch:
            heard: list[Line] = [watch.hear(lambda line: line["type"] == "verdict" and line["scope"] == "layers")]
        deadline = time.monotonic() + 30
        while not memory.exists():
            assert time.monotonic() < deadline, heard
            time.sleep(0.1)
        change(layer / "srv/other.sh")
        with Watching(runtime.address, tmp_path / "state") as watch:
            told = watch.hear_finding("/srv/other.sh")
            assert (told["rule"], told["scope"], told["level"]) == (RULE, "layers", "High")
        assert "layers" in memory.read_text() and str(layer) not in memory.read_text(), "what differs is not remembered as read"
    finally:
        (layer / "srv/other.sh").write_bytes(PROGRAM)
        runtime.stop("unwatched")


def test_a_program_that_runs_is_told_before_the_rest_of_a_large_layer_is_read(runtime: Runtime, tmp_path: Path) -> None:
    """And how much of the layer is not verified is known meanwhile."""
    name, size_bytes = "docker.io/local/large:1", 4 << 20
    runtime.import_image(images.busybox_image(tmp_path / "image", name, files={b"/a/large": os.urandom(size_bytes)}))
    runtime.run(name, "large")
    containerd = Containerd(str(runtime.address), HostMounts())
    try:
        running = find_container(containerd.list_running("node1"), "large")
        assert running.mounted is not None, running.unobservable
        (lower,) = runtime.lowers("large")
        pairs = tuple(zip(running.mounted.lowers, baseline_of(lower).layers, strict=True))
        program = lower / "bin/busybox"
        (other := program.with_name("other")).write_bytes(program.read_bytes() + b"evil")
        other.replace(program)
        reader = LayerReader(HostEyes(layer_rate_bytes_s=1 << 30), time.time)
        told: queue.SimpleQueue[tuple[Reading | BaseException, int | None]] = queue.SimpleQueue()
        reader.submit(running, pairs, lambda found: told.put((found, reader.count_unverified(pairs))))
        first, left_bytes = told.get(timeout=60)
        assert isinstance(first, Reading) and [one.path for one in first.differences] == [b"/bin/busybox"]
        assert left_bytes is not None and left_bytes >= size_bytes
        rest, _ = told.get(timeout=60)
        assert isinstance(rest, Reading) and rest.paths is None and b"/bin/busybox" in {one.path for one in rest.differences}
        assert reader.count_unverified(pairs) == 0
        reader.close()
    finally:
        containerd.close()
        runtime.stop("large")
