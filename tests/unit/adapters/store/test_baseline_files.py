"""What every place of baselines promises: nothing half stored, shared tables once, nothing believed, damage told and mended."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from intact.baseline.store import BaselineStore
from intact.baseline.table import seal_table
from intact.ingest.image import ingest
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TrustError
from intact.model.layer import Baseline, Grade
from lab.layers import build_tar, file
from tests.unit.baseline.test_store import OWN, make_baseline
from tests.unit.ingest.sources import INDEX, MemorySource, pack_json, set_image

from .places import EMBEDDED, SHARED, Place


@pytest.fixture(params=[EMBEDDED, *SHARED])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(request.param, request, tmp_path, stack)


def open_store(place: Place, **options: Path) -> BaselineStore:
    return BaselineStore(place.open(**options), signer=OWN)  # type: ignore[arg-type]


def test_a_baseline_is_found_by_key_and_alias_by_another_process(place: Place) -> None:
    baseline = make_baseline()
    open_store(place).put(baseline)
    other = open_store(place)
    for name in (str(baseline.key), *baseline.aliases):
        found = other.get(name)
        assert found is not None
        assert (found.root, found.grade, list(found.scan())) == (baseline.root, Grade.VERIFIED, list(baseline.scan()))
    assert other.get("no/such:1") is None
    assert other.keys() == (baseline.key,)


def test_what_is_stored_is_what_is_found(place: Place) -> None:
    baseline = make_baseline()
    open_store(place).put(baseline)
    stored = place.open().find(str(baseline.key))
    assert stored is not None
    assert stored.key == baseline.key
    assert set(stored.aliases) == set(baseline.aliases)
    assert set(stored.diff_ids) == {layer.diff_id for layer in baseline.layers}
    assert set(stored.table_roots) == {layer.root for layer in baseline.layers}


def test_images_share_the_tables_of_the_layers_they_share(place: Place) -> None:
    store = open_store(place)
    baselines = [make_baseline(b"%d" % n) for n in range(4)]
    for baseline in (*baselines, *baselines):
        store.put(baseline)
    assert len(place.names()) == 5
    assert store.keys() == tuple(sorted(baseline.key for baseline in baselines))
    shared = baselines[0].layers[0].diff_id
    assert [one.key for one in place.open().find_by_layer(shared)] == sorted(baseline.key for baseline in baselines)
    assert list(place.open().find_by_layer(Digest.of(b"other"))) == []


def test_an_alias_goes_with_the_last_baseline_that_claims_it(place: Place) -> None:
    files = place.open()
    store = BaselineStore(files, signer=OWN)
    one, two = make_baseline(b"1"), make_baseline(b"2")
    (shared,) = set(one.aliases) & set(two.aliases)
    for baseline in (one, two, one):
        store.put(baseline)
        found = files.find(shared)
        assert found is not None
        assert found.key == baseline.key
    assert files.find(str(two.key)) is not None


def make_index() -> tuple[Digest, Baseline, Baseline]:
    """An index of two platforms, and the baselines of its images: what a node of each computes."""
    source = MemorySource()
    manifests = []
    for architecture in ("amd64", "arm64"):
        descriptor = set_image(source, [build_tar([file(b"/arch", architecture.encode())])], platform=f"linux/{architecture}")
        manifests.append({**descriptor, "platform": {"os": "linux", "architecture": architecture}})
    source.set_root(source.add(pack_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}), INDEX))
    amd64, arm64 = (ingest(source, platform=f"linux/{architecture}", seal=seal_table) for architecture in ("amd64", "arm64"))
    return source.root().digest, amd64, arm64


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0)])
def test_an_index_means_to_each_platform_its_own_image_whoever_was_stored_last(place: Place, order: tuple[int, ...]) -> None:
    index, *images = make_index()
    amd64, arm64 = images
    assert amd64.key != arm64.key
    store = open_store(place)
    for which in order:
        store.put(images[which])
    for other in (store, open_store(place)):
        for name in (str(index), "local/test:1"):
            for baseline in images:
                assert name in baseline.aliases
                found = other.get(name, baseline.platform)
                assert found is not None
                assert (found.key, found.root, found.platform) == (baseline.key, baseline.root, baseline.platform)
            assert other.get(name, "linux/arm64/v8") is not None
            assert other.get(name, "linux/riscv64") is None
            assert other.get(name) is None, "nobody said which"
        shared = set(amd64.aliases) & set(arm64.aliases)
        for baseline in images:
            own = (str(baseline.key), *(alias for alias in baseline.aliases if alias not in shared))
            for name in own:
                found = other.get(name)
                assert found is not None
                assert found.key == baseline.key


def test_what_one_platform_needs_keeps_no_other_one_from_being_marked(place: Place) -> None:
    index, amd64, arm64 = make_index()
    store = open_store(place)
    store.put(amd64)
    store.put(arm64)
    files = place.open()
    later = max(kept.used_at for kept in files.list_baselines()) + 1000
    files.mark_used([str(index)], later)
    assert {kept.key: kept.used_at for kept in files.list_baselines()} == {amd64.key: later, arm64.key: later}
    assert all(str(index) in kept.aliases for kept in files.list_baselines())


@pytest.mark.parametrize("change", ["another table's bytes", "altered", "cut off", "empty", "far too long"])
def test_a_table_that_somebody_replaced_is_never_believed_and_storing_again_mends_it(place: Place, change: str) -> None:
    baseline = make_baseline()
    store = open_store(place)
    store.put(baseline)
    root, other = baseline.layers[0].root, baseline.layers[1].root
    original = place.read(root)
    bad = {
        "another table's bytes": place.read(other),
        "altered": original[:-1] + b"\xff",
        "cut off": original[: len(original) // 2],
        "empty": b"",
        "far too long": original + bytes(5 << 20),
    }[change]
    del store
    place.replace(root, bad)
    later = open_store(place)
    with pytest.raises((TrustError, InputError)):
        later.get(str(baseline.key))
    assert later.find_layer(baseline.layers[1].diff_id) is None
    later.put(baseline)
    for store in (later, open_store(place)):
        found = store.get(str(baseline.key))
        assert found is not None
        assert found.root == baseline.root


def test_a_table_that_is_gone_is_told_and_mended(place: Place) -> None:
    baseline = make_baseline()
    open_store(place).put(baseline)
    place.remove(baseline.layers[0].root)
    later = open_store(place)
    with pytest.raises(InputError, match="missing"):
        later.get(str(baseline.key))
    later.put(baseline)
    assert open_store(place).get(str(baseline.key)) is not None


def test_many_threads_and_processes_store_the_same_layers_at_once(place: Place) -> None:
    stores = [open_store(place) for _ in range(3)]
    baselines = [make_baseline(b"%d" % (n % 4)) for n in range(12)]

    def put(number: int) -> None:
        for _ in range(20):
            try:
                stores[number % 3].put(baselines[number])
                return
            except IntactError as error:
                if error.exit_code != 12:
                    raise
        raise AssertionError("never stored")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(put, range(12)))
    later = open_store(place)
    assert len(later.keys()) == 4
    for key in later.keys():  # noqa: SIM118
        assert later.get(str(key)) is not None
