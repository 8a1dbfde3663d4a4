"""Somebody who is on the node changes an image's layers below its containers: at once, or while nobody watches."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lab import images
from lab.runtime import Runtime
from tests.integration.watching import Line, Watching

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
