"""What the differential tests share: images of layer stacks, what ingest says of them, and how that differs from an unpacked tree.

Many stacks are grafted into one image, each below a directory of its own, so that a runtime unpacks hundreds of them in seconds.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from intact.adapters.layout.directory import walk_directory
from intact.adapters.layout.oci import LayoutSource
from intact.baseline.table import load_table, seal_table
from intact.ingest.image import ingest
from intact.ingest.layer import apply_members
from intact.ingest.limits import Limits
from intact.ingest.tar import read_members
from intact.model.encoding import decode_record
from intact.model.entry import Entry as TreeEntry
from intact.model.errors import InputError
from intact.model.layer import Baseline
from lab.layers import Entry, build_tar
from lab.oci import Compression, ImageLayout, pack_layer, write_layout
from lab.settings import LabError
from tests.integration.layer_stacks import graft, merge

RANDOM_STACKS = int(os.environ.get("INTACT_RANDOM_STACKS", "400"))
BATCH = 200
LIMITS = Limits()
_TOP = "/%06d/x/y/z"
"""Deep enough that the symlinks of a stack do not lead into another."""

Stack = Sequence[Sequence[Entry]]
Stacks = Mapping[int, Stack]
Difference = tuple[TreeEntry | None, TreeEntry | None]
Unpack = Callable[[ImageLayout, Baseline], AbstractContextManager[Path]]


def write_image(directory: Path, name: str, stack: Stack, compression: Compression) -> ImageLayout:
    packed = [pack_layer(build_tar(layer), directory / "layers", compression) for layer in stack]
    return write_layout(directory / "layout", name, packed)


def claimed(image: ImageLayout) -> Baseline | None:
    try:
        return ingest(LayoutSource(image.directory, image.tag), seal=seal_table)
    except InputError:
        return None


def differences(said: Baseline, tree: Path) -> list[Difference]:
    expected = {entry.path: entry for entry in said.scan()}
    assert {path: said.find(path) for path in expected} == expected
    for layer in said.layers:
        load_table(layer.data)  # type: ignore[attr-defined]
    actual = {record.path: record.entry for record in map(decode_record, walk_directory(str(tree)))}
    return [(expected.get(path), actual.get(path)) for path in sorted({*expected, *actual}) if expected.get(path) != actual.get(path)]


def graft_legal(stacks: Stacks, shape: Callable[[Stack], Stack]) -> dict[int, Stack]:
    """Each stack below its own directory and in the wanted shape, without those that ingest refuses."""
    grafted = {seed: shape(graft(stack, (_TOP % seed).encode())) for seed, stack in stacks.items()}
    return {seed: stack for seed, stack in grafted.items() if _is_legal(stack)}


def compare_batch(stacks: Mapping[int, Stack], directory: Path, unpack: Unpack) -> Stacks:
    """Compares what ingest says of all stacks in one image with the tree that a runtime makes of it; the stacks that were compared. One
    that the runtime refuses is left out, found by the path in its refusal, or else by halves."""
    left = dict(stacks)
    while True:
        name = f"docker.io/local/batch:{min(left)}-{len(left)}"
        image = write_image(directory / str(len(left)), name, merge(list(left.values())), "plain")
        said = claimed(image)
        assert said is not None, "stacks that are legal one by one are not so together"
        try:
            with unpack(image, said) as tree:
                found = [pair for pair in differences(said, tree) if (pair[0] or pair[1]).path != b"/"]  # type: ignore[union-attr]
                assert found == [], f"seeds {sorted({(ours or theirs).path[1:7] for ours, theirs in found})}"  # type: ignore[union-attr]
            return left
        except LabError as error:
            refused = [int(seed) for seed in re.findall(r"[/\"(](\d{6})/x/y/z", str(error))]
            if refused and refused[0] in left:
                del left[refused[0]]
                continue
            seeds = list(left)
            if len(seeds) == 1:
                return {}
            halves = ({seed: left[seed] for seed in half} for half in (seeds[: len(seeds) // 2], seeds[len(seeds) // 2 :]))
            return {seed: stack for half in halves for seed, stack in compare_batch(half, directory, unpack).items()}


def _is_legal(stack: Stack) -> bool:
    try:
        for rank, layer in enumerate(stack):
            members = read_members([build_tar(layer)], limits=LIMITS, layer="stack")
            apply_members(members, base=rank == 0, limits=LIMITS, layer="stack")
    except InputError:
        return False
    return True
