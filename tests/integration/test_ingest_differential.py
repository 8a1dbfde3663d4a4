"""What ingest says of a layer stack is what containerd unpacks: the same paths, kinds, contents and metadata, or the same refusal.

INTACT_RANDOM_STACKS says how many random stacks are tried: 400 unless it is set, thousands on demand.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from intact.model.layer import Baseline
from lab.layers import Entry
from lab.oci import ImageLayout
from lab.runtime import Runtime
from lab.settings import LabError
from tests.integration.layer_stacks import BY_HAND, NAMED_LATE, random_stack, rich_stack, runnable
from tests.integration.unpacking import BATCH, RANDOM_STACKS, Stacks, claimed, compare_batch, differences, graft_legal, write_image

pytestmark = pytest.mark.root
ALONE = 25


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


@pytest.mark.parametrize("stack", BY_HAND.values(), ids=BY_HAND.keys())
def test_a_nasty_stack_is_what_containerd_unpacks(runtime: Runtime, tmp_path: Path, stack: Sequence[Sequence[Entry]]) -> None:
    image = write_image(tmp_path, f"docker.io/local/nasty:{abs(hash(tmp_path))}", stack, "zstd")
    said = claimed(image)
    with unpacked(runtime, image, tmp_path / "tree") as tree:
        assert tree is not None, "containerd refuses what should be a legal stack"
        assert said is not None, "we refuse what containerd unpacks"
        assert differences(said, tree) == []


def test_what_a_directory_has_of_the_one_beneath_before_its_layer_names_it_is_not_in_the_table(runtime: Runtime, tmp_path: Path) -> None:
    image = write_image(tmp_path, "docker.io/local/late:1", NAMED_LATE, "gzip")
    said = claimed(image)
    assert said is not None
    with unpacked(runtime, image, tmp_path / "tree") as tree:
        assert tree is not None
        (directory, made) = differences(said, tree)
    assert directory[0] is not None and made[0] is not None
    assert directory == (directory[0], replace(directory[0], path=b"/srv", xattrs=((b"user.dir", b"1"),)))
    assert made == (made[0], replace(made[0], path=b"/srv/new", gid=50))


@pytest.mark.timeout(600)
def test_random_stacks_are_unpacked_by_containerd_only_if_we_accept_them(runtime: Runtime, tmp_path: Path) -> None:
    legal = 0
    for seed in range(ALONE):
        directory = tmp_path / str(seed)
        image = write_image(directory, f"docker.io/local/random:{seed}", random_stack(seed), "plain")
        said = claimed(image)
        with unpacked(runtime, image, directory / "tree") as tree:
            if tree is None:
                continue
            legal += 1
            assert said is not None, f"seed {seed}: we refuse what containerd unpacks"
            assert differences(said, tree) == [], f"seed {seed}"
    assert legal > ALONE // 5, "too few of the random stacks are legal to show anything"


@pytest.mark.parametrize("first", range(0, RANDOM_STACKS, BATCH))
@pytest.mark.timeout(900)
def test_random_stacks_are_what_containerd_unpacks(runtime: Runtime, tmp_path: Path, first: int) -> None:
    stacks = graft_legal({seed: rich_stack(seed) for seed in range(first, first + BATCH)}, runnable)

    @contextmanager
    def unpack(image: ImageLayout, said: Baseline) -> Iterator[Path]:
        runtime.import_image(image)
        at = tmp_path / "tree"
        at.mkdir(exist_ok=True)
        runtime.ctr("images", "mount", "--rw", "--snapshotter", "overlayfs", image.name, str(at))
        try:
            yield at
        finally:
            runtime.ctr("images", "unmount", "--rm", str(at))
            runtime.ctr("images", "remove", "--sync", image.name)

    compared: Stacks = compare_batch(stacks, tmp_path, unpack)
    assert len(compared) > 0.7 * BATCH, "too few of the random stacks are legal to show anything"
