"""One image, from every source that can carry it, is the same baseline: same key, same tables, same root."""

import subprocess
from pathlib import Path

import pytest

from intact.adapters.layout.names import DirectoryName, open_image, parse_image_name
from intact.baseline.table import seal_table
from intact.ingest.image import ingest
from intact.model.errors import InputError, TrustError
from intact.model.layer import Baseline, Form
from lab import layers
from lab.images import busybox_image
from lab.oci import ImageLayout
from lab.runtime import Runtime

NAME = "docker.io/local/sources:1"


def build(name: str, **more: str) -> Baseline:
    source = open_image(parse_image_name(name), **more)  # type: ignore[arg-type]
    assert not isinstance(source, DirectoryName)
    return ingest(source, seal=seal_table)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ImageLayout:
    upper = [[layers.whiteout(b"/etc/group"), layers.file(b"/etc/new", b"1")]]
    return busybox_image(tmp_path_factory.mktemp("image"), NAME, upper_layers=upper)


def check_same(found: Baseline, image: ImageLayout) -> None:
    expected = build(image.source)
    assert (found.key, found.root, found.platform) == (expected.key, expected.root, expected.platform)
    assert [layer.form for layer in found.layers] == [Form.PLAIN, Form.STACKED]
    assert [layer.data for layer in found.layers] == [layer.data for layer in expected.layers]  # type: ignore[attr-defined]


def test_docker_archive_is_the_layout(image: ImageLayout, tmp_path: Path) -> None:
    subprocess.run(["skopeo", "copy", "-q", image.source, f"docker-archive:{tmp_path}/a.tar:{NAME}"], check=True)
    found = build(f"docker-archive:{tmp_path}/a.tar")
    check_same(found, image)
    assert found.aliases == (NAME,)
    with pytest.raises(InputError, match="has no image"):
        build(f"docker-archive:{tmp_path}/a.tar:other:1")


def test_an_altered_or_cut_docker_archive_is_refused(image: ImageLayout, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    subprocess.run(["skopeo", "copy", "-q", image.source, f"docker-archive:{path}"], check=True)
    original = path.read_bytes()
    at = original.index(b"root:x:0:0:root")
    path.write_bytes(original[:at] + b"evil" + original[at + 4 :])
    with pytest.raises(TrustError, match="sha256:"):
        build(f"docker-archive:{path}")
    path.write_bytes(original[: len(original) // 2])
    with pytest.raises((InputError, TrustError)):
        build(f"docker-archive:{path}")


@pytest.mark.root
def test_containerds_content_store_is_the_layout(runtime: Runtime, image: ImageLayout) -> None:
    runtime.import_image(image)
    found = build(f"containerd:{NAME}", containerd=str(runtime.address))
    check_same(found, image)
    assert NAME in found.aliases
    assert image.manifest_digest in found.aliases
