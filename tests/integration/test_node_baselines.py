"""Where a node's baselines come from, on a real containerd: what is kept, what is fetched, and what is only first seen."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.adapters.layout.oci import LayoutSource
from intact.adapters.runtime.containerd import Containerd
from intact.baseline.document import encode_document
from intact.baseline.signing import KeySigner
from intact.baseline.trust import TrustRoot
from intact.ingest.image import ingest
from intact.model.container import Running
from intact.model.digest import Digest
from intact.model.errors import TemporaryError, TrustError
from intact.model.layer import Baseline, Grade
from intact.run.node.baselines import NodeBaselines
from intact.run.node.eyes import HostEyes, HostMounts
from intact.run.storage.keeping import open_store
from lab import images, layers, oci
from lab.runtime import Runtime
from tests.integration.watching import Watching

WHOLE = "docker.io/local/whole:1"
DISCARDED = "docker.io/local/discarded-after-unpacking:1"
FILES = {b"/srv/app/main.sh": b"#!/bin/sh\necho shop\n", b"/srv/app/settings": b"debug=no\n"}
UPPER = [layers.file(b"/srv/app/settings", b"debug=yes\n"), layers.whiteout(b"/srv/app/main.sh")]
OWN, CLUSTER, STRANGER = (KeySigner(Ed25519PrivateKey.generate()) for _ in range(3))


class Shelf:
    """A cluster's documents; `up` says whether it can be reached."""

    def __init__(self) -> None:
        self.documents: dict[Digest, bytes] = {}
        self.up = True
        self.asked = 0

    def fetch(self, key: Digest) -> bytes | None:
        self.asked += 1
        if not self.up:
            raise TemporaryError("the cluster cannot be reached")
        return self.documents.get(key)


@pytest.fixture(scope="module")
def whole(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> oci.ImageLayout:
    image = images.busybox_image(tmp_path_factory.mktemp("whole"), WHOLE, files=FILES, upper_layers=[UPPER])
    runtime.import_image(image)
    return image


@pytest.fixture(scope="module")
def discarded(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> oci.ImageLayout:
    """As an image is on a node whose runtime discards layers once they are unpacked (containerd's `discard_unpacked_layers`)."""
    files = {**FILES, b"/srv/app/other": b"2\n"}  # layers that no other image has
    upper = [*UPPER, layers.file(b"/srv/app/third", b"3\n")]
    image = images.busybox_image(tmp_path_factory.mktemp("discarded"), DISCARDED, files=files, upper_layers=[upper])
    runtime.import_image(image)
    manifest = json.loads((image.directory / "blobs/sha256" / image.manifest_digest.removeprefix("sha256:")).read_text())
    for layer in manifest["layers"]:
        runtime.ctr("content", "rm", layer["digest"])
    return image


@contextmanager
def started(runtime: Runtime, image: str, id: str) -> Iterator[Running]:
    runtime.run(image, id)
    containerd = Containerd(str(runtime.address), HostMounts())
    try:
        (running,) = [one for one in containerd.list_running("node") if one.container.id == id]
        yield running
    finally:
        containerd.close()
        runtime.stop(id)


def node(runtime: Runtime, directory: Path, shelf: Shelf | None = None, *, at_most_bytes: int = 1 << 30) -> NodeBaselines:
    """A node with its disk in `directory`: made again, it is the node after a restart."""
    store = open_store(directory, OWN, lambda: TrustRoot.of(CLUSTER.public))
    eyes = HostEyes(layer_rate_bytes_s=1 << 40)
    return NodeBaselines(
        store,
        socket=str(runtime.address),
        read_layer=eyes.read_layer,
        at_most_bytes=at_most_bytes,
        fetch=(shelf or Shelf()).fetch,
        trust=lambda: TrustRoot.of(CLUSTER.public),
    )


def read_image(image: oci.ImageLayout) -> Baseline:
    return ingest(LayoutSource(image.directory, image.tag))


def test_without_a_cluster_it_is_computed_from_the_runtimes_blobs(runtime: Runtime, whole: oci.ImageLayout, tmp_path: Path) -> None:
    with started(runtime, WHOLE, "computed") as running:
        baseline = node(runtime, tmp_path).obtain(running)
    assert baseline.grade is Grade.VERIFIED
    assert baseline.root == read_image(whole).root


def test_what_the_cluster_signed_is_fetched_by_key_and_kept_across_restarts(
    runtime: Runtime, discarded: oci.ImageLayout, tmp_path: Path
) -> None:
    shelf = Shelf()
    image = read_image(discarded)
    shelf.documents[image.key] = encode_document(image, [CLUSTER])
    with started(runtime, DISCARDED, "fetched") as running:
        fetched = node(runtime, tmp_path, shelf).obtain(running)
        shelf.up = False
        kept = node(runtime, tmp_path, shelf).obtain(running)
    assert fetched.grade is kept.grade is Grade.SIGNED
    assert fetched.root == kept.root == image.root
    assert shelf.asked == 1, "what is kept is not asked for again"


def test_a_document_signed_by_a_stranger_is_refused(runtime: Runtime, whole: oci.ImageLayout, tmp_path: Path) -> None:
    shelf = Shelf()
    image = read_image(whole)
    shelf.documents[image.key] = encode_document(image, [STRANGER])
    with started(runtime, WHOLE, "stranger") as running, pytest.raises(TrustError):
        node(runtime, tmp_path, shelf).obtain(running)


def test_a_document_of_another_image_is_refused(
    runtime: Runtime, whole: oci.ImageLayout, discarded: oci.ImageLayout, tmp_path: Path
) -> None:
    shelf = Shelf()
    shelf.documents[read_image(whole).key] = encode_document(read_image(discarded), [CLUSTER])
    with started(runtime, WHOLE, "exchanged") as running, pytest.raises(TrustError, match="sent the baseline of"):
        node(runtime, tmp_path, shelf).obtain(running)


def test_a_table_altered_on_the_nodes_disk_is_refused_and_fetched_again(
    runtime: Runtime, discarded: oci.ImageLayout, tmp_path: Path
) -> None:
    shelf = Shelf()
    image = read_image(discarded)
    shelf.documents[image.key] = encode_document(image, [CLUSTER])
    with started(runtime, DISCARDED, "altered") as running:
        assert node(runtime, tmp_path, shelf).obtain(running).grade is Grade.SIGNED
        table = max((tmp_path / "tables").iterdir(), key=lambda path: path.stat().st_size)
        data = bytearray(table.read_bytes())
        data[len(data) // 2] ^= 1
        table.write_bytes(data)
        again = node(runtime, tmp_path, shelf).obtain(running)
    assert shelf.asked == 2
    assert [len(layer) for layer in again.layers] == [len(layer) for layer in image.layers]
    assert [entry.path for entry in again.scan()] == [entry.path for entry in image.scan()]


def test_where_layers_were_discarded_the_first_sight_of_them_serves_until_there_is_better(
    runtime: Runtime, discarded: oci.ImageLayout, tmp_path: Path
) -> None:
    shelf = Shelf()
    image = read_image(discarded)
    with started(runtime, DISCARDED, "seen") as running:
        baselines = node(runtime, tmp_path, shelf)
        seen = baselines.obtain(running)
        assert seen.grade is Grade.FIRST_SEEN and seen.source.startswith("first-sight:")
        assert seen.key == image.key
        assert [entry for entry in seen.scan() if entry.path != b"/"] == [entry for entry in image.scan() if entry.path != b"/"]
        shelf.documents[image.key] = encode_document(image, [CLUSTER])
        better = baselines.obtain(running)
    assert better.grade is Grade.SIGNED and better.root == image.root


def test_what_no_container_needs_goes_when_the_disk_is_to_hold_less(
    runtime: Runtime, whole: oci.ImageLayout, discarded: oci.ImageLayout, tmp_path: Path
) -> None:
    shelf = Shelf()
    for image in (read_image(whole), read_image(discarded)):
        shelf.documents[image.key] = encode_document(image, [CLUSTER])
    baselines = node(runtime, tmp_path, shelf, at_most_bytes=1)
    with started(runtime, DISCARDED, "needed") as needed:
        with started(runtime, WHOLE, "gone") as gone:
            baselines.obtain(gone)
            baselines.obtain(needed)
        for table in (tmp_path / "tables").iterdir():
            os.utime(table, (1.0, 1.0))  # older than what somebody may be storing just now
        baselines.keep_house([needed], time.time())
        assert shelf.asked == 2
        baselines.obtain(needed)
        assert shelf.asked == 2, "what is needed stays, whatever the bound"
        baselines.obtain(gone)
        assert shelf.asked == 3, "what nobody needed is fetched again"
        assert baselines.obtain(gone).root == read_image(whole).root


def test_a_container_is_watched_by_first_sight_alone(runtime: Runtime, discarded: oci.ImageLayout, tmp_path: Path) -> None:
    with started(runtime, DISCARDED, "alone"), Watching(runtime.address, tmp_path / "state") as watch:
        assert watch.hear_verdict("alone")["state"] == "Intact"
        runtime.exec("alone", ["sh", "-c", "echo debug=all > /srv/app/settings"])
        assert watch.hear_finding("/srv/app/settings")["change"] == "Modified"
