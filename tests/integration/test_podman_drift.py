"""A container that Podman runs on a store with `metacopy=on`, as most distributions set it: what it changes is told for what it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intact.adapters.layout.names import open_image, parse_image_name
from intact.baseline.table import seal_table
from intact.compare.differ import compare, compare_layer
from intact.ingest.image import ingest
from intact.model.container import Container, Mounted, Running
from intact.model.digest import Digest
from intact.model.finding import Change, Difference
from intact.model.layer import Baseline
from intact.run.node.eyes import HostEyes, HostMounts
from lab import layers
from lab.images import BUSYBOX
from lab.podman import Podman
from tests.integration.unpacking import write_image

pytestmark = pytest.mark.root

SETTINGS = b"setting = 1\n" * 1000


@pytest.fixture(scope="module")
def podman(root: None) -> Iterator[Podman]:
    with Podman(mount_options="nodev,metacopy=on") as podman:
        yield podman


@pytest.fixture(scope="module")
def image(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> str:
    lowest = [layers.directory(b"/bin"), layers.file(b"/bin/busybox", BUSYBOX.read_bytes(), mode=0o755), layers.directory(b"/etc")]
    rest = [
        layers.file(b"/etc/app.conf", SETTINGS),
        layers.file(b"/etc/own.conf", SETTINGS),
        layers.directory(b"/srv"),
        layers.directory(b"/srv/page"),
        layers.file(b"/srv/page/index.html", b"<p>hello"),
        layers.file(b"/srv/page/about.html", b"<p>about"),
    ]
    return podman.copy_in(write_image(tmp_path_factory.mktemp("image"), "docker.io/local/drift:1", [lowest, rest], "gzip"))


def confirm(inspected: dict[str, Any]) -> Running:
    """As a runtime would declare it, and as the host's mount table confirms it."""
    data, pid = inspected["GraphDriver"]["Data"], inspected["State"]["Pid"]
    lowers = tuple(os.fsencode(lower) for lower in data["LowerDir"].split(":"))
    declared = Mounted(upper=os.fsencode(data["UpperDir"]), lowers=lowers, device=0)
    confirmed = HostMounts()(declared, id=inspected["Id"], namespace="", init_pid=pid)
    assert isinstance(confirmed, Mounted), confirmed
    container = Container(id=inspected["Id"], name="drift", image="drift", image_key=None, node="n1")
    return Running(container=container, init_pid=pid, mounted=confirmed)


def look(running: Running, baseline: Baseline, paths: frozenset[bytes] | None = None) -> dict[bytes, Difference]:
    observation = HostEyes(layer_rate_bytes_s=1 << 40).look(running, baseline, paths)
    assert observation is not None and observation.unobserved == ()
    return {found.path: found for found in compare(baseline, observation)}


def test_what_a_container_of_podman_changes_is_told_for_what_it_is(podman: Podman, image: str) -> None:
    baseline = ingest(open_image(parse_image_name(podman.source(image))), seal=seal_table)  # type: ignore[arg-type]
    with podman.running(image, "/bin/busybox", "sleep", "1000") as inspected:
        running = confirm(inspected)
        mounted = running.mounted
        assert mounted is not None and {"metacopy=on", "redirect_dir=on"} <= {*mounted.options}
        before = look(running, baseline)
        assert not before.keys() & {entry.path for entry in baseline.scan()}, "a container that did nothing changed nothing of its image"

        def do(command: str) -> dict[bytes, Difference]:
            podman.podman("exec", inspected["Id"], "/bin/busybox", "sh", "-c", command)
            found = look(running, baseline)
            return {path: found[path] for path in found.keys() - before.keys()}

        assert do("/bin/busybox chmod 644 /etc/app.conf; /bin/busybox touch /etc/app.conf") == {}
        told = do("/bin/busybox chmod 600 /etc/app.conf; /bin/busybox chown 7:7 /etc/own.conf")
        assert {path: (one.change, one.fields) for path, one in told.items()} == {
            b"/etc/app.conf": (Change.METADATA, ("mode",)),
            b"/etc/own.conf": (Change.METADATA, ("uid", "gid")),
        }
        upper = Path(os.fsdecode(mounted.upper), "etc/app.conf")
        assert "trusted.overlay.metacopy" in os.listxattr(upper) and not any(upper.read_bytes()), "the content was copied too"

        told = do("echo 2 >> /etc/app.conf")
        assert told[b"/etc/app.conf"].change is Change.MODIFIED
        actual = told[b"/etc/app.conf"].actual
        assert actual is not None and actual.digest == Digest.of(SETTINGS + b"2\n")

        told = do("/bin/busybox mv /srv/page /srv/moved; echo new > /srv/moved/new; /bin/busybox rm /srv/moved/about.html")
        assert {path: one.change for path, one in told.items() if path.startswith(b"/srv")} == {
            b"/srv/moved": Change.ADDED,
            b"/srv/moved/index.html": Change.ADDED,
            b"/srv/moved/new": Change.ADDED,
            b"/srv/page": Change.DELETED,
            b"/srv/page/about.html": Change.DELETED,
            b"/srv/page/index.html": Change.DELETED,
        }
        actual = told[b"/srv/moved/index.html"].actual
        assert actual is not None and actual.digest == Digest.of(b"<p>hello")
        some = look(running, baseline, frozenset({b"/srv/moved/index.html"}))
        assert some[b"/srv/moved/index.html"].change is Change.ADDED, "it is not in the upper directory"


def test_the_layers_of_podmans_store_are_read_as_they_lie(podman: Podman, image: str) -> None:
    baseline = ingest(open_image(parse_image_name(podman.source(image))), seal=seal_table)  # type: ignore[arg-type]
    with podman.running(image, "/bin/busybox", "sleep", "1000") as inspected:
        running = confirm(inspected)
        mounted, eyes = running.mounted, HostEyes(layer_rate_bytes_s=1 << 40)
        assert mounted is not None

        def differing() -> list[tuple[bytes, Change]]:
            pairs = zip(mounted.lowers, reversed(baseline.layers), strict=True)
            found = [one for directory, table in pairs for one in compare_layer(table, eyes.read_layer(running, directory))]
            return [(one.path, one.change) for one in found if one.path != b"/"]  # its mode is Podman's own

        assert differing() == []
        target = Path(os.fsdecode(mounted.lowers[0]), "etc/app.conf")
        target.write_bytes(SETTINGS.replace(b"1", b"2"))
        assert differing() == [(b"/etc/app.conf", Change.MODIFIED)]
        target.write_bytes(SETTINGS)
