"""What is on disk is hashed by the algorithm of the baseline it is compared with, and what is remembered of a file is remembered by it."""

import time
from pathlib import Path

import pytest

from intact.adapters.linux.known import KnownFiles
from intact.adapters.linux.tree import HostTree
from intact.compare.differ import compare_layer
from intact.ingest.layer import apply_members
from intact.ingest.limits import Limits
from intact.ingest.tar import read_members
from intact.model.container import Container, Mounted, Running
from intact.model.digest import SIZES, WEAK, Algorithms, Digest
from intact.model.encoding import seal
from intact.model.entry import Entry
from intact.model.layer import Baseline, Grade, Record
from intact.observe.drift import scan_drift
from intact.observe.layers import read_layer
from intact.observe.ports import Content, Node
from lab import layers

STRONG = sorted(set(SIZES) - WEAK)
CONTENT = b"hello\n"


def make_baseline(algorithms: Algorithms) -> Baseline:
    members = read_members([layers.build_tar([layers.file(b"/a", CONTENT)])], limits=Limits(), layer="x", algorithms=algorithms)
    form, records = apply_members(members, base=True, limits=Limits(), layer="x", algorithms=algorithms)
    return Baseline(key=Digest.of(b"k"), layers=(seal(Digest.of(b"l"), form, records),), grade=Grade.VERIFIED, source="x")


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/a").write_bytes(CONTENT)
    (tmp_path / "upper/a").chmod(0o644)
    return tmp_path / "upper"


@pytest.mark.parametrize("name", STRONG)
def test_an_unpacked_layer_equals_its_table_by_each_algorithm(upper: Path, name: str) -> None:
    baseline = make_baseline(Algorithms(name, ("md5",)))
    with HostTree(bytes(upper)) as tree:
        assert list(compare_layer(baseline.layers[0], read_layer(tree, algorithms=baseline.compared_by))) == []
        records = list(read_layer(tree, algorithms=baseline.compared_by))
    (file,) = (found.entry for found in records if isinstance(found, Record) and found.path == b"/a")
    assert isinstance(file, Entry)
    assert (file.digest and file.digest.algorithm, file.further) == (name, ())


@pytest.mark.parametrize("name", STRONG)
def test_a_changed_file_is_hashed_as_the_image_is(upper: Path, name: str) -> None:
    container = Container(id="c", name="c", image="i", image_key=None, node="n")
    mounted = Mounted(upper=bytes(upper), lowers=(), device=1)
    baseline = make_baseline(Algorithms(name))
    with HostTree(bytes(upper)) as tree:
        seen = scan_drift(Running(container=container, init_pid=0, mounted=mounted), tree, baseline=baseline, clock=time.time)
    assert [entry.digest for entry in seen.present if entry.path == b"/a"] == [baseline.find(b"/a").digest]  # type: ignore[union-attr]


def test_what_is_remembered_by_one_algorithm_is_not_given_out_for_another(upper: Path) -> None:
    known = KnownFiles(clock_ns=lambda: time.time_ns() + 3600 * 10**9)
    with HostTree(bytes(upper), known=known) as tree:
        for _ in range(2):
            for name in STRONG:
                for node in tree.visit([b"/a"]):
                    if isinstance(node, Node) and node.entry.path == b"/a":
                        content = tree.digest(node, 1000, Algorithms(name, ("md5",)))
                        assert isinstance(content, Content)
                        assert [digest.algorithm for digest in (content.digest, *content.further)] == [name, "md5"]
