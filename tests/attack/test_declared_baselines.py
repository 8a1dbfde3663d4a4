"""Somebody who may declare baselines, and means harm (threat model, P6)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intact.adapters.layout.oci import LayoutSource
from intact.baseline.document import encode_document
from intact.ingest.image import ingest
from intact.model.digest import Digest
from intact.model.layer import Baseline
from intact.run.cluster import supplied
from lab.registries import Registry
from tests.integration.test_cluster_baselines import Supplying, declare, image, library


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def supplying(registry: Registry, tmp_path: Path) -> Supplying:
    return Supplying(tmp_path, registry)


def make(directory: Path, content: str, key: bytes) -> Baseline:
    made = ingest(LayoutSource(image(directory / content, content).directory))
    return replace(made, key=Digest.of(key))


def stored_bytes(supplying: Supplying) -> int:
    return sum(path.stat().st_size for path in (supplying.directory / "supplied" / "tables").iterdir())


def test_declaring_again_and_again_does_not_fill_the_disk(supplying: Supplying, tmp_path: Path) -> None:
    registry = supplying.registry
    sizes = []
    for number in range(4):
        one = make(tmp_path, f"content{number}", b"one image")
        supplying.follow(declare(registry, one, encode_document(one), root=one.root))
        assert supplying.reason(one.key) == "Accepted"
        sizes.append(stored_bytes(supplying))
    assert len(set(sizes)) == 1, "what was declared before is gone"
    supplying.follow()
    assert stored_bytes(supplying) == 0


def test_all_that_is_declared_has_a_bound(supplying: Supplying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = supplying.registry
    first, second = (make(tmp_path, f"content{number}", b"image %d" % number) for number in range(2))
    declared = [declare(registry, one, encode_document(one), root=one.root) for one in (first, second)]
    monkeypatch.setattr(supplied, "MAX_STORED_BYTES", len(encode_document(first)) + 100)
    supplying.follow(declared[0])
    supplying.follow(*declared)
    assert (supplying.reason(first.key), supplying.reason(second.key)) == ("Accepted", "TooLarge")


@pytest.mark.parametrize("is_known_before", [True, False])
def test_who_declares_what_the_image_really_is_and_takes_it_back_withdraws_nothing(
    supplying: Supplying, tmp_path: Path, is_known_before: bool
) -> None:
    """Otherwise nodes would drop the true baseline, and whatever runs it would count as not looked at."""
    layout = image(tmp_path / "image", "amd64")
    true = ingest(LayoutSource(layout.directory))
    cluster = library(tmp_path / "cluster", supplying.registry, supplying.supplied)
    reference = layout.push(supplying.registry.host, "team/app:1")
    if is_known_before:
        supplying.own = cluster.compute(reference, "linux/amd64")
    supplying.follow(declare(supplying.registry, true, encode_document(true), root=true.root))
    assert supplying.reason(true.key) == "Accepted"
    supplying.follow()
    if not is_known_before:
        assert cluster.withdrawn() == (true.root,), "on the word of whoever declared it"
        cluster.compute(reference, "linux/amd64")
    assert cluster.withdrawn() == ()


def test_a_replica_that_lost_its_disk_still_takes_back_what_was_withdrawn(supplying: Supplying, tmp_path: Path) -> None:
    """Otherwise a node that has it yet would have it counted as its own word, which is more than it ever was."""
    false = make(tmp_path, "false", b"image")
    supplying.follow(declare(supplying.registry, false, encode_document(false), root=false.root))
    supplying.follow()
    shutil.rmtree(supplying.directory / "supplied")
    supplying.restart()
    assert supplying.supplied.has_served(false.root) and supplying.supplied.withdrawn() == ((false.key, false.root),)
