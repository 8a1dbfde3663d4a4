"""What ingest says of an image is what Podman's storage gives to containers, on both of its drivers that can be read, except for what is
named here; and every layer that Podman unpacked is rebuilt from its store, byte for byte.

INTACT_RANDOM_STACKS says how many random stacks are tried on each driver: half of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from intact.adapters.layout.names import open_image, parse_image_name
from intact.baseline.table import seal_table
from intact.ingest.image import ingest
from intact.model.entry import Kind
from intact.model.errors import TrustError
from intact.model.layer import Baseline
from lab import layers
from lab.layers import Entry
from lab.oci import ImageLayout
from lab.podman import Podman
from lab.settings import LabError
from tests.integration.layer_stacks import BY_HAND, rich_stack, tidy
from tests.integration.unpacking import BATCH, RANDOM_STACKS, Difference, claimed, compare_batch, differences, graft_legal, write_image

pytestmark = pytest.mark.root

OTHERWISE: Mapping[str, Mapping[str, str]] = {
    "overlay": {
        "whiteout in the lowest layer": "refused",
        "opaque in the lowest layer": "an opaque mark hides nothing of its own layer",
        "missing parents take the metadata below": "a directory that its layer does not name is root's own, 0755",
        "missing parents below a set-group-id directory": "so it is, and what is made below it keeps the set-group-id bit",
        "missing parents over an opaque layer": "so it is",
        "missing parent over a symlink": "so it is",
        "extended attributes": "so it is: the attributes of the directory beneath are not taken over",
        "through a symlink of the same layer": "refused: an absolute symlink to a directory that is not there",
        "hard links": "a second name leaves its file the capabilities",
        "hard link whose target is replaced": "refused: a path twice in one layer",
        "an entry twice": "refused",
    },
    "vfs": {
        "whiteout then a directory of the same layer": "the whiteout hides what lies beneath, although the directory comes back",
        "opaque root": "an opaque mark counts on the root too",
        "aufs link directory": "left out",
        "file becomes directory and back": "refused: a directory that its layer does not name, over a file",
        "missing parents below a set-group-id directory": "what is made below it keeps the set-group-id bit",
        "missing parents over an opaque layer": "a directory that its layer does not name is root's own, 0755, where none is beneath",
        "missing parent over a symlink": "the symlink of the layer beneath is followed",
        "through a symlink of the same layer": "refused: an absolute symlink to a directory that is not there",
        "hard links": "a second name leaves its file the capabilities",
        "hard link whose target is replaced": "refused: a path twice in one layer",
        "an entry twice": "refused",
        "kinds": "a device 0:0 is a device",
        "a whiteout as a device": "a device 0:0 is a device",
    },
}
"""The stacks that Podman unpacks in another way than containerd, whose way baselines follow, and how."""
NOT_KEPT: Mapping[str, frozenset[str]] = {
    "overlay": frozenset(),
    "vfs": frozenset({"whiteout in the lowest layer", "opaque in the lowest layer", "aufs link directory"}),
}
"""The stacks with content that Podman throws away, so that the layer cannot be rebuilt."""


@pytest.fixture(scope="module", params=["overlay", "vfs"])
def podman(request: pytest.FixtureRequest, root: None) -> Iterator[Podman]:
    with Podman(request.param) as podman:
        yield podman


def rebuilt(podman: Podman, name: str) -> Baseline:
    return ingest(open_image(parse_image_name(podman.source(name))), seal=seal_table)  # type: ignore[arg-type]


def differs(said: Baseline, tree: Path) -> list[Difference]:
    """Without the root directory's own mode, which Podman sets to 0555 unless a layer names it, and vfs takes from the layers."""
    return [pair for pair in differences(said, tree) if (pair[0] or pair[1]).path != b"/"]  # type: ignore[union-attr]


@pytest.mark.parametrize(("title", "stack"), BY_HAND.items(), ids=BY_HAND.keys())
def test_a_nasty_stack_is_what_podman_unpacks_or_a_known_exception(
    podman: Podman, tmp_path: Path, title: str, stack: Sequence[Sequence[Entry]]
) -> None:
    image = write_image(tmp_path, f"docker.io/local/nasty:{abs(hash(title))}", stack, "zstd")
    said = claimed(image)
    assert said is not None
    how = OTHERWISE[podman.driver].get(title, "")
    try:
        podman.copy_in(image)
    except LabError:
        assert how.startswith("refused")
        return
    assert not how.startswith("refused")
    if title in NOT_KEPT[podman.driver]:
        with pytest.raises(TrustError, match="is not in the store"):
            rebuilt(podman, image.name)
    else:
        found = rebuilt(podman, image.name)
        assert (found.key, found.root) == (said.key, said.root)
    with podman.mounted(image.name) as tree:
        assert bool(differs(said, tree)) == bool(how), how or "it differs"


@pytest.mark.parametrize("first", range(0, RANDOM_STACKS // 2, BATCH))
@pytest.mark.timeout(900)
def test_random_stacks_as_builders_write_them_are_what_podman_unpacks(podman: Podman, tmp_path: Path, first: int) -> None:
    stacks = graft_legal({seed: rich_stack(seed) for seed in range(first, first + BATCH)}, tidy)

    @contextmanager
    def unpack(image: ImageLayout, said: Baseline) -> Iterator[Path]:
        podman.copy_in(image)
        try:
            found = rebuilt(podman, image.name)
            assert (found.key, found.root) == (said.key, said.root)
            with podman.mounted(image.name) as tree:
                yield tree
        finally:
            podman.remove(image.name)

    assert len(compare_batch(stacks, tmp_path, unpack)) > 0.9 * BATCH


def test_podmans_root_directory_is_0555_where_no_layer_names_it(podman: Podman, tmp_path: Path) -> None:
    image = write_image(tmp_path, "docker.io/local/rootless:1", [[layers.file(b"/x", b"1")]], "gzip")
    podman.copy_in(image)
    said = claimed(image)
    assert said is not None
    with podman.mounted(image.name) as tree:
        ((ours, theirs),) = differences(said, tree)
    assert ours is not None and theirs is not None and (ours.path, ours.kind) == (b"/", Kind.DIRECTORY)
    assert (ours.mode, theirs.mode) == (0o755, 0o555)
