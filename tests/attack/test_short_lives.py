"""Containers whose life is shorter than it takes to look at them: init containers, jobs, and whoever counts on being gone in time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import images
from lab.runtime import Runtime
from tests.integration.watching import Watching

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(180)]

NAME = "docker.io/local/shortlived:1"


@pytest.fixture(scope="module")
def watch(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    tmp_path = tmp_path_factory.mktemp("brief")
    runtime.import_image(images.busybox_image(tmp_path / "image", NAME, files={b"/srv/app/main.sh": b"#!/bin/sh\n"}))
    runtime.run(NAME, "resident")
    try:
        with Watching(runtime.address, tmp_path / "state") as watch:
            watch.hear_verdict("resident")
            yield watch
    finally:
        runtime.stop("resident")


def live(runtime: Runtime, id: str, script: str, *options: str) -> None:
    """Runs to its end; its task goes with its first process, its files stay until it is removed: as under Kubernetes."""
    place = ["--runc-root", str(runtime.run_directory / "runc"), "--cgroup", f"/{runtime.name}/{id}"]
    runtime.ctr("run", *options, "--snapshotter", "overlayfs", *place, "--null-io", NAME, id, "sh", "-c", script)


def test_containers_that_end_at_once_are_looked_at_all_the_same(runtime: Runtime, watch: Watching) -> None:
    lives = [f"brief{number}" for number in range(8)]
    try:
        for id in lives:
            live(runtime, id, f"echo {id} > /srv/app/{id}.sh")
        waiting = {f"/srv/app/{id}.sh" for id in lives}
        while waiting:
            waiting.discard(str(watch.hear(lambda line: line["type"] == "finding" and line["path"] in waiting)["path"]))
    finally:
        for id in lives:
            runtime.ctr("containers", "delete", id, check=False)


def test_what_a_container_does_last_is_found(runtime: Runtime, watch: Watching) -> None:
    runtime.run(NAME, "last", ["sh", "-c", "while ! test -e /tmp/go; do sleep 0.1; done; echo bad > /srv/app/last.sh"])
    try:
        watch.hear_verdict("last")
        runtime.exec("last", ["touch", "/tmp/go"])
        watch.hear_finding("/srv/app/last.sh")
    finally:
        runtime.stop("last")


def test_a_container_that_leaves_nothing_behind_is_said_not_to_have_been_seen(runtime: Runtime, watch: Watching) -> None:
    live(runtime, "traceless", "true", "--rm")
    told = watch.hear(lambda line: line["type"] == "verdict" and line["container"]["id"] == "traceless")
    assert told["state"] in ("Unobserved", "Intact")


def test_a_program_dropped_run_and_deleted_within_milliseconds_is_told(runtime: Runtime, watch: Watching) -> None:
    """Nothing is left that a scan could find: the kernel's word on the execution is all there is."""
    runtime.exec("resident", ["sh", "-c", "cp /bin/busybox /tmp/busybox; /tmp/busybox true; rm /tmp/busybox"])
    told = watch.hear(lambda line: line["type"] == "finding" and line["path"] == "/tmp/busybox")
    assert (told["change"], told["rule"], told["scope"]) == ("Executed", "not-of-the-image-executed", "live")
    assert told["container"]["id"] == "resident"


def test_a_program_of_the_image_that_was_only_touched_may_run(runtime: Runtime, watch: Watching) -> None:
    script = "touch /bin/busybox; /bin/busybox true; mkdir /var/m; cp /bin/busybox /var/m/busybox; /var/m/busybox true"
    runtime.exec("resident", ["sh", "-c", script])
    heard = {watch.hear(lambda line: line["type"] == "finding")["path"]}
    while "/var/m/busybox" not in heard:
        heard.add(watch.hear(lambda line: line["type"] == "finding")["path"])
    assert "/bin/busybox" not in heard


def test_the_first_act_of_a_container_is_to_drop_run_and_delete(runtime: Runtime, watch: Watching) -> None:
    """It is over before anybody knows that the container is there; what its first process did after that is not."""
    runtime.run(NAME, "dropper", ["sh", "-c", "while true; do cp /bin/busybox /x; /x true; rm /x; sleep 1; done"])
    try:
        told = watch.hear(lambda line: line["type"] == "finding" and line["path"] == "/x")
        assert told["container"]["id"] == "dropper"
    finally:
        runtime.stop("dropper")
