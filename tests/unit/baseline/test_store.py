"""Baselines survive the process, are given out only if they verify, and nothing that goes wrong while writing breaks what is there."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.adapters.store.baselines import BaselineDirectory
from intact.baseline.signing import KeySigner, seal_envelope
from intact.baseline.statement import encode_statement
from intact.baseline.store import BaselineStore
from intact.baseline.table import seal_table
from intact.baseline.trust import TrustRoot
from intact.ingest.image import ingest
from intact.model.digest import Digest
from intact.model.errors import InputError, TemporaryError, TrustError
from intact.model.layer import Baseline, Grade
from lab import layers
from tests.unit.ingest.sources import make_image

OWN, FOREIGN, STRANGER = (KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2, 3))
BASE = layers.build_tar([layers.file(b"/usr/lib/shared", b"1" * 5000)])


def make_baseline(content: bytes = b"app") -> Baseline:
    return ingest(make_image([BASE, layers.build_tar([layers.file(b"/app", content)])]), seal=seal_table)


def open_store(directory: Path) -> BaselineStore:
    return BaselineStore(BaselineDirectory(directory), signer=OWN, trust=lambda: TrustRoot.of(FOREIGN.public))


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    return open_store(tmp_path)


def test_a_baseline_is_found_by_key_and_alias_after_a_restart(store: BaselineStore, tmp_path: Path) -> None:
    baseline = make_baseline()
    store.put(baseline)
    for name in (str(baseline.key), *baseline.aliases):
        found = open_store(tmp_path).get(name)
        assert found is not None
        assert (found.root, found.grade, list(found.scan())) == (baseline.root, Grade.VERIFIED, list(baseline.scan()))
    assert store.get("no/such:1") is None
    assert store.keys() == (baseline.key,)


def test_images_share_the_tables_of_the_layers_they_share(store: BaselineStore, tmp_path: Path) -> None:
    one, two = make_baseline(b"1"), make_baseline(b"2")
    store.put(one)
    store.put(two)
    assert len(list((tmp_path / "tables").iterdir())) == 3
    first, second = store.get(str(one.key)), store.get(str(two.key))
    assert first is not None
    assert second is not None
    assert first.layers[0] is second.layers[0]


def test_what_a_trusted_key_signed_keeps_its_envelope_and_is_signed(store: BaselineStore) -> None:
    baseline = make_baseline()
    store.put(baseline, envelope=seal_envelope(encode_statement(baseline), [FOREIGN]))
    found = store.get(str(baseline.key))
    assert found is not None
    assert found.grade is Grade.SIGNED
    with pytest.raises(TrustError, match="not a trusted key"):
        store.put(baseline, envelope=seal_envelope(encode_statement(baseline), [STRANGER]))


def test_an_envelope_of_another_baseline_is_refused(store: BaselineStore) -> None:
    with pytest.raises(TrustError):
        store.put(make_baseline(b"1"), envelope=seal_envelope(encode_statement(make_baseline(b"2")), [FOREIGN]))


def test_a_layer_is_known_only_from_a_baseline_that_verifies(store: BaselineStore, tmp_path: Path) -> None:
    baseline = make_baseline()
    store.put(baseline)
    diff_id = baseline.layers[0].diff_id
    assert open_store(tmp_path).find_layer(diff_id) is not None
    (tmp_path / "tables" / f"sha256-{baseline.layers[1].root.hex}.table").write_bytes(b"x")
    assert open_store(tmp_path).find_layer(diff_id) is None
    assert store.find_layer(Digest.of(b"other")) is None


def test_any_altered_byte_on_disk_is_refused_and_storing_again_mends_it(store: BaselineStore, tmp_path: Path) -> None:
    baseline = make_baseline()
    store.put(baseline)
    path = tmp_path / "tables" / f"sha256-{baseline.layers[0].root.hex}.table"
    original = path.read_bytes()
    for damaged in (original[:-1] + b"\xff", original[: len(original) // 2], b""):
        path.write_bytes(damaged)
        with pytest.raises((TrustError, InputError)):
            open_store(tmp_path).get(str(baseline.key))
    open_store(tmp_path).put(baseline)
    assert open_store(tmp_path).get(str(baseline.key)) is not None


def test_an_index_that_points_a_name_at_another_image_is_refused(store: BaselineStore, tmp_path: Path) -> None:
    one, two = make_baseline(b"1"), make_baseline(b"2")
    store.put(one)
    store.put(two)
    with sqlite3.connect(tmp_path / "baselines.sqlite") as sql:
        sql.execute("INSERT INTO names (alias, platform, key) VALUES ('shop/web:1', '', ?)", (str(two.key),))
        sql.execute(
            "UPDATE baselines SET envelope = (SELECT envelope FROM baselines WHERE key = ?) WHERE key = ?", (str(two.key), str(one.key))
        )
    for name in ("shop/web:1", str(one.key)):
        with pytest.raises(TrustError, match="another image"):
            open_store(tmp_path).get(name)


KILLED = """
import sys; from pathlib import Path
from tests.unit.baseline.test_store import make_baseline, open_store
store = open_store(Path(sys.argv[1])); print(flush=True)
for number in range(10_000): store.put(make_baseline(b"%d" % number))
"""


@pytest.mark.parametrize("after_s", [0.01, 0.05, 0.11])
def test_a_killed_writer_leaves_only_whole_baselines(tmp_path: Path, after_s: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = open_store(tmp_path)
    assert all(store.get(str(key)) is not None for key in store.keys())  # noqa: SIM118
    assert not list((tmp_path / "tables").glob(".*"))
    store.put(make_baseline(b"after"))


@pytest.fixture
def small_disk(root: None, tmp_path: Path) -> Iterator[Path]:
    point = tmp_path / "disk"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(point)], check=True)
    yield point
    subprocess.run(["umount", str(point)], check=True)


@pytest.mark.root
def test_a_full_disk_is_said_and_breaks_nothing(small_disk: Path) -> None:
    directory = BaselineDirectory(small_disk)
    store = BaselineStore(directory, signer=OWN)
    first = make_baseline(b"first")
    store.put(first)
    big = layers.build_tar([layers.file(b"/f%d" % number, b"") for number in range(8000)])
    with pytest.raises(TemporaryError, match="disk is full"):
        store.put(ingest(make_image([big]), seal=seal_table))
    with pytest.raises(TemporaryError, match="disk is full"):
        for number in range(100_000):
            store.put(make_baseline(b"%d" % number))
    directory.close()
    again = BaselineDirectory(small_disk)
    assert BaselineStore(again, signer=OWN).get(str(first.key)) is not None
    again.close()
