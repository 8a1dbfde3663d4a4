"""A stored table is proven once for each state of its file, however often it is opened; what was written to since is proven again."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from intact.adapters.store import cached
from intact.baseline import store as store_module
from intact.baseline.store import BaselineStore
from intact.model.digest import Digest
from intact.model.encoding import compute_root
from intact.model.errors import InputError, TrustError
from intact.model.layer import Baseline, Form

from .test_store import make_baseline, open_store


@pytest.fixture
def proven(monkeypatch: pytest.MonkeyPatch) -> list[Digest]:
    """The layers whose roots were computed, in order. The state of a file counts from the moment it was written."""
    monkeypatch.setattr(cached, "SETTLED_NS", 0)
    computed: list[Digest] = []

    def count(diff_id: Digest, form: Form, number: int, encoded: Iterable[bytes | memoryview]) -> Digest:
        computed.append(diff_id)
        return compute_root(diff_id, form, number, encoded)

    monkeypatch.setattr("intact.baseline.table.compute_root", count)
    return computed


@pytest.fixture
def baseline() -> Baseline:
    return make_baseline()


@pytest.fixture
def store(tmp_path: Path, baseline: Baseline, proven: list[Digest]) -> BaselineStore:
    store = open_store(tmp_path)
    store.put(baseline)
    proven.clear()
    return store


def path_of(directory: Path, root: Digest) -> Path:
    return directory / "tables" / f"sha256-{root.hex}.table"


def test_a_table_is_proven_once_however_often_it_is_opened(store: BaselineStore, baseline: Baseline, proven: list[Digest]) -> None:
    layers = [layer.diff_id for layer in baseline.layers]
    for _ in range(3):
        found = store.get(str(baseline.key))
        assert found is not None and list(found.scan()) == list(baseline.scan())
        assert store.find_layer(layers[0]) is not None
        del found
        gc.collect()
    assert proven == layers


def test_another_process_proves_for_itself(store: BaselineStore, baseline: Baseline, proven: list[Digest], tmp_path: Path) -> None:
    for one in (store, open_store(tmp_path)):
        assert one.get(str(baseline.key)) is not None
    assert len(proven) == 2 * len(baseline.layers)


@pytest.mark.parametrize("times_are_put_back", [False, True])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_table_that_was_altered_after_it_was_proven_is_refused(
    store: BaselineStore, baseline: Baseline, tmp_path: Path, times_are_put_back: bool, is_replaced: bool
) -> None:
    assert store.get(str(baseline.key)) is not None
    path = path_of(tmp_path, baseline.layers[0].root)
    before = path.stat()
    altered = path.read_bytes()[:-1] + b"\xff"
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # until the kernel's clock has moved on
        if is_replaced:
            (tmp_path / "other").write_bytes(altered)
            (tmp_path / "other").rename(path)
        else:
            path.write_bytes(altered)
        if times_are_put_back:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(2):
        with pytest.raises((TrustError, InputError)):
            store.get(str(baseline.key))
    assert store.find_layer(baseline.layers[0].diff_id) is None
    store.put(baseline)
    assert store.get(str(baseline.key)) is not None


def test_a_table_under_another_name_is_refused_although_both_were_proven(store: BaselineStore, baseline: Baseline, tmp_path: Path) -> None:
    assert store.get(str(baseline.key)) is not None
    first, second = (path_of(tmp_path, layer.root) for layer in baseline.layers)
    second.unlink()
    os.link(first, second)
    with pytest.raises((TrustError, InputError)):
        store.get(str(baseline.key))


def test_what_is_remembered_of_tables_is_bounded(
    store: BaselineStore, baseline: Baseline, proven: list[Digest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_PROVEN", 1)
    for _ in range(2):
        assert store.get(str(baseline.key)) is not None
        gc.collect()
    assert len(proven) == 2 * len(baseline.layers), "the other one is forgotten, and proven again"


def test_what_was_written_just_now_is_proven_every_time(
    store: BaselineStore, baseline: Baseline, proven: list[Digest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "SETTLED_NS", 3600 * 1_000_000_000)
    for _ in range(2):
        assert store.get(str(baseline.key)) is not None
        gc.collect()
    assert len(proven) == 2 * len(baseline.layers)
