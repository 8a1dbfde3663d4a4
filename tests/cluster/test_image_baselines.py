"""What `kubectl get imagebaselines` shows, and the baselines that people supply, in a real cluster."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from intact.adapters.layout.oci import LayoutSource
from intact.baseline.document import encode_document
from intact.ingest.image import ingest
from lab.images import busybox_image
from lab.oci import ImageLayout, architecture, write_layout
from lab.settings import LabError
from tests.artifacts import push_file, push_index
from tests.cluster.kubernetes import apply, eventually
from tests.cluster.test_three_nodes import SPREAD
from tests.cluster.whole import Installed, Object, Shop

PATIENCE_S = 120.0


def name_of(key: str) -> str:
    return key.replace(":", "-")


def shown(installed: Installed, key: str) -> Object:
    """The status of the image's object; empty where there is none."""
    found = installed.read("imagebaselines", f"--field-selector=metadata.name={name_of(key)}")["items"]
    return found[0].get("status", {}) if found else {}


def condition(status: Object, kind: str) -> Object:
    return next((one for one in status.get("conditions", []) if one["type"] == kind), {})


@pytest.fixture
def imported(installed: Installed, tmp_path: Path) -> ImageLayout:
    """An image that every node has and no registry: nobody but the nodes can say what it is."""
    name = f"imported.example/only-{uuid.uuid4().hex[:8]}:1"
    layout = busybox_image(tmp_path / "imported", name, files={b"/etc/imported": name.encode()})
    archive = layout.pack_archive(tmp_path / "imported.tar")
    for number in range(1, 4):
        installed.cluster.import_image(archive, node_number=number)
    return layout


def test_an_image_of_several_platforms_is_shown_with_all_that_is_known_of_it(installed: Installed, shop: Shop, tmp_path: Path) -> None:
    here = architecture()
    other = "arm64" if here == "amd64" else "amd64"
    own = busybox_image(tmp_path / "own", "docker.io/local/both:1", files={b"/etc/both": shop.namespace.encode()})
    foreign = write_layout(tmp_path / "foreign", "docker.io/local/both:1", [], machine=other)
    index = push_index(installed.cluster.registry, f"both-{uuid.uuid4().hex[:8]}", [(own, here), (foreign, other)])
    shop.deploy("web", index)
    shop.wait_intact("web")
    key = own.config_digest

    def complete() -> Object | None:
        status = shown(installed, key)
        return status if status.get("pods") == 1 and status.get("grade") == "Verified" else None

    status = eventually(complete, PATIENCE_S)
    assert status["platform"] == f"linux/{here}" and status["algorithms"] == ["sha256"]
    assert status["workloads"] == [f"Deployment {shop.namespace}/web"] and status["nodes"] == 1
    assert any(index.partition("@")[2] in alias for alias in status["aliases"]), status["aliases"]
    assert status["entries"] > 100 and status["bytes"] > 1000 and status["root"].startswith("sha256:")
    assert condition(status, "Ready")["status"] == condition(status, "Agreed")["status"] == "True"
    wide = installed.kubectl("get", "imagebaseline", name_of(key), "-o", "wide")
    assert "GRADE" in wide and "Verified" in wide and f"linux/{here}" in wide and index.partition("@")[2][:30] in wide
    assert not shown(installed, foreign.config_digest), "nobody runs the other platform's image"
    matters = [matter for one in installed.read("incidents", "-A")["items"] for matter in one.get("status", {}).get("matters", [])]
    assert not [matter for matter in matters if matter["about"] in (key, foreign.config_digest)], "nobody is accused"


def test_what_only_nodes_know_is_corroborated_and_what_people_supply_is_verified_first(
    installed: Installed, shop: Shop, imported: ImageLayout
) -> None:
    key = imported.config_digest
    shop.deploy("spread", imported.name, replicas=2, topologySpreadConstraints=SPREAD)
    shop.wait_intact("spread")

    def graded(*grades: str) -> Object | None:
        status = shown(installed, key)
        return status if status.get("grade") in grades and status.get("nodes") == 2 else None

    status = eventually(lambda: graded("Corroborated"), PATIENCE_S)
    assert (status["pods"], status["source"]) == (2, "2 nodes")
    baseline = ingest(LayoutSource(imported.directory))
    assert status["root"] == str(baseline.root), "the nodes computed what anybody computes"

    artifact = push_file(installed.cluster.registry, "supplied", encode_document(baseline))
    body: Object = {"apiVersion": "intact.dev/v1alpha1", "kind": "ImageBaseline", "metadata": {"name": name_of(key)}}
    wrong = f"sha256:{'0' * 64}"
    apply(installed.cluster, body | {"spec": {"key": key, "supplied": {"artifact": artifact, "root": wrong}}})

    def judged(reason: str) -> Object | None:
        found = condition(shown(installed, key), "Supplied")
        return found if found.get("reason") == reason else None

    refused = eventually(lambda: judged("RootMismatch"), PATIENCE_S)
    assert refused["status"] == "False" and wrong in refused["message"]
    apply(installed.cluster, body | {"spec": {"key": key, "supplied": {"artifact": artifact, "root": str(baseline.root)}}})
    accepted = eventually(lambda: judged("Accepted"), PATIENCE_S)
    assert accepted["status"] == "True" and "not signed" in accepted["message"]
    assert eventually(lambda: shown(installed, key) if "supplied:" in shown(installed, key).get("source", "") else None, PATIENCE_S)

    installed.kubectl("delete", "imagebaseline", name_of(key))
    eventually(lambda: graded("Corroborated"), PATIENCE_S)
    assert eventually(lambda: not condition(shown(installed, key), "Supplied"), PATIENCE_S), "with the object it is withdrawn"

    shop.kubectl("delete", "deployment", "spread", "--wait=true")
    assert eventually(lambda: not shown(installed, key), PATIENCE_S), "nobody runs it, and nothing keeps it"


@pytest.mark.parametrize(
    ("supplied", "said"),
    [
        ({"artifact": "registry.example/web:latest"}, "spec.supplied.artifact"),
        ({"artifact": f"registry.example/web@sha256:{'0' * 64}", "root": "md5:00"}, "spec.supplied.root"),
        ({}, "artifact"),
    ],
)
def test_a_wrong_declaration_is_refused_at_once(installed: Installed, supplied: Object, said: str) -> None:
    key = f"sha256:{'7' * 64}"
    body = {"apiVersion": "intact.dev/v1alpha1", "kind": "ImageBaseline", "metadata": {"name": name_of(key)}}
    with pytest.raises(LabError, match=re.escape(said)):
        apply(installed.cluster, body | {"spec": {"key": key, "supplied": supplied}})
