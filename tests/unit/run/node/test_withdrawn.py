"""A baseline that the cluster takes back is used no more, wherever it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intact.adapters.keys.signing import generate_key, load_private_key
from intact.baseline.document import encode_document, split_document
from intact.baseline.signing import KeySigner
from intact.baseline.table import seal_table
from intact.baseline.trust import TrustRoot
from intact.model.container import Container, Running
from intact.model.digest import Digest
from intact.model.errors import IntactError
from intact.model.layer import Baseline, Form, Grade, Record, complete_parents
from intact.model.observation import Unobserved
from intact.run.node.baselines import NodeBaselines
from intact.run.storage.keeping import open_own_key, open_store
from tests.unit.trees import file

KEY = Digest.of(b"image")
RUNNING = Running(
    container=Container(id="c", name="web", image="web", image_key=KEY, node="n"), init_pid=1, mounted=None, unobservable="not needed here"
)


def baseline(content: bytes) -> Baseline:
    records = complete_parents({b"/bin/app": Record(path=b"/bin/app", entry=file(b"/bin/app", content))})
    sealed = seal_table(Digest.of(content), Form.PLAIN, records)
    return Baseline(key=KEY, layers=(sealed,), grade=Grade.SUPPLIED, source="supplied:test")


def read_nothing(running: Running, directory: bytes) -> Iterator[Record | Unobserved]:
    return iter(())


def test_a_node_drops_what_was_withdrawn_and_obtains_another(tmp_path: Path) -> None:
    generate_key(tmp_path / "cluster")
    cluster = KeySigner(load_private_key(tmp_path / "cluster.pem"))
    trust = TrustRoot.of(cluster.public)
    supplied, better = baseline(b"supplied"), baseline(b"better")
    given = supplied
    store = open_store(tmp_path / "node", open_own_key(tmp_path / "own"), lambda: trust)
    node = NodeBaselines(
        store,
        socket=str(tmp_path / "no-runtime"),
        read_layer=read_nothing,
        fetch=lambda key: encode_document(given, [cluster]),
        trust=lambda: trust,
    )
    assert node.obtain(RUNNING).root == supplied.root
    given = better
    assert node.obtain(RUNNING).root == supplied.root, "kept"
    node.withdraw(frozenset({supplied.root}))
    assert node.obtain(RUNNING).root == better.root
    given = supplied
    assert node.obtain(RUNNING).root == better.root, "also across what the cluster says later"
    node.withdraw(frozenset({supplied.root, better.root}))
    with pytest.raises(IntactError):
        node.obtain(RUNNING)  # a replica that has not heard yet still sends it


def test_layers_of_a_supplied_baseline_are_good_for_its_image_alone(tmp_path: Path) -> None:
    generate_key(tmp_path / "cluster")
    cluster = KeySigner(load_private_key(tmp_path / "cluster.pem"))
    store = open_store(tmp_path / "node", open_own_key(tmp_path / "own"), lambda: TrustRoot.of(cluster.public))
    supplied = baseline(b"supplied")
    diff_id = supplied.layers[0].diff_id
    document = encode_document(supplied, [cluster])
    envelope, _ = split_document(memoryview(document))
    store.put(replace(supplied, grade=Grade.SIGNED), envelope=envelope)
    assert store.get(str(KEY)) is not None and store.find_layer(diff_id) is None
    computed = replace(supplied, key=Digest.of(b"another"), grade=Grade.VERIFIED)
    store.put(computed)
    assert store.find_layer(diff_id) is not None
