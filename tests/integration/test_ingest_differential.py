"""What ingest says of a layer stack is what containerd unpacks: the same paths, kinds, contents and metadata, or the same refusal."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from intact.adapters.layout.directory import walk_directory
from intact.adapters.layout.oci import LayoutSource
from intact.baseline.table import load_table, seal_table
from intact.ingest.image import ingest
from intact.model.entry import Entry as TreeEntry
from intact.model.errors import InputError
from intact.model.layer import Baseline
from lab.layers import Entry, build_tar
from lab.oci import ImageLayout, pack_layer, write_layout
from lab.runtime import Runtime
from lab.settings import LabError
from tests.integration.layer_stacks import BY_HAND, random_stack

pytestmark = pytest.mark.root
RANDOM_STACKS = int(os.environ.get("INTACT_RANDOM_STACKS", "200"))
BATCH = 25


def write_image(directory: Path, name: str, stack: Sequence[Sequence[Entry]], compression: str) -> ImageLayout:
    packed = [pack_layer(build_tar(layer), directory / "layers", compression) for layer in stack]  # type: ignore[arg-type]
    return write_layout(directory / "layout", name, packed)


@contextmanager
def unpacked(runtime: Runtime, image: ImageLayout, at: Path) -> Iterator[Path | None]:
    """The image's tree as a container would see it; None if containerd refuses to unpack it."""
    try:
        runtime.import_image(image)
    except LabError:
        yield None
        return
    at.mkdir()
    runtime.ctr("images", "mount", "--rw", "--snapshotter", "overlayfs", image.name, str(at))
    try:
        yield at
    finally:
        runtime.ctr("images", "unmount", "--rm", str(at))
        runtime.ctr("images", "remove", "--sync", image.name)


def claimed(image: ImageLayout) -> Baseline | None:
    try:
        return ingest(LayoutSource(image.directory, image.tag), seal=seal_table)
    except InputError:
        return None


def differences(said: Baseline, tree: Path) -> list[tuple[TreeEntry | None, TreeEntry | None]]:
    expected = {entry.path: entry for entry in said.scan()}
    assert {path: said.find(path) for path in expected} == expected
    for layer in said.layers:
        load_table(layer.data)  # type: ignore[attr-defined]
    actual = {entry.path: entry for entry in walk_directory(str(tree))}
    return [(expected.get(path), actual.get(path)) for path in sorted({*expected, *actual}) if expected.get(path) != actual.get(path)]


@pytest.mark.parametrize("stack", BY_HAND.values(), ids=BY_HAND.keys())
def test_a_nasty_stack_is_what_containerd_unpacks(runtime: Runtime, tmp_path: Path, stack: Sequence[Sequence[Entry]]) -> None:
    image = write_image(tmp_path, f"docker.io/local/nasty:{abs(hash(tmp_path))}", stack, "zstd")
    said = claimed(image)
    with unpacked(runtime, image, tmp_path / "tree") as tree:
        assert tree is not None, "containerd refuses what should be a legal stack"
        assert said is not None, "we refuse what containerd unpacks"
        assert differences(said, tree) == []


@pytest.mark.parametrize("first", range(0, RANDOM_STACKS, BATCH))
@pytest.mark.timeout(600)
def test_random_stacks_are_what_containerd_unpacks(runtime: Runtime, tmp_path: Path, first: int) -> None:
    legal = 0
    for seed in range(first, first + BATCH):
        directory = tmp_path / str(seed)
        image = write_image(directory, f"docker.io/local/random:{seed}", random_stack(seed), "plain")
        said = claimed(image)
        with unpacked(runtime, image, directory / "tree") as tree:
            if tree is None:
                continue
            legal += 1
            assert said is not None, f"seed {seed}: we refuse what containerd unpacks"
            assert differences(said, tree) == [], f"seed {seed}"
    assert legal > BATCH // 5, "too few of the random stacks are legal to show anything"
