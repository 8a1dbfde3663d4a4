"""Baselines attached to images, as the controller of a real cluster finds them; pull secrets as files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import install
from lab.cluster import Cluster
from lab.images import busybox_image
from lab.oci import ImageLayout
from tests.cluster.kubernetes import deployment, eventually, fresh_namespace, roll_out

NAME = "intact-tests/attached"
SYSTEM = "intact-system"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("attached")
    baseline("keygen", "-o", directory / "ci")
    return directory


@pytest.fixture(scope="module")
def trusting(cluster: Cluster, work: Path) -> Iterator[Cluster]:
    """Intact that trusts the key of CI and has a pull secret, which is not there at first."""
    install.install(
        cluster,
        values={"registries.insecure[0]": cluster.registry, "registries.pullSecrets[0]": "intact-pull"},
        arguments=["--set-file", f"baselines.trustedKeys[0]={work / 'ci.pub'}"],
    )
    yield cluster
    cluster.kubectl("-n", SYSTEM, "delete", "secret", "intact-pull", "--ignore-not-found")


def baseline(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, "-m", "intact", "baseline", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def push_image(cluster: Cluster, work: Path, version: str, *, attach: bool) -> ImageLayout:
    files = {b"/etc/version": version.encode()}
    layout = busybox_image(work / version, f"{cluster.registry}/{NAME}:{version}", files=files)
    layout.push(cluster.registry, f"{NAME}:{version}")
    if attach:
        file, name = work / f"{version}.baseline", f"docker://{cluster.registry}/{NAME}@{layout.manifest_digest}"
        baseline("build", name, "-o", file, "--key", work / "ci.pem", "--plain-http", cluster.registry)
        baseline("push", file, name, "--plain-http", cluster.registry)
    return layout


def graded(cluster: Cluster, image: ImageLayout) -> str:
    for one in json.loads(cluster.kubectl("get", "imagebaselines", "-o", "json"))["items"]:
        if one["spec"].get("key") == image.config_digest:
            return str(one.get("status", {}).get("grade", "") or one["spec"].get("grade", ""))
    return ""


def test_an_image_with_an_attached_baseline_is_signed_and_one_without_is_verified(trusting: Cluster, work: Path) -> None:
    signed, plain = push_image(trusting, work, "signed", attach=True), push_image(trusting, work, "plain", attach=False)
    with fresh_namespace(trusting) as namespace:
        for name, image in (("signed", signed), ("plain", plain)):
            reference = f"{trusting.registry}/{NAME}@{image.manifest_digest}"
            roll_out(trusting, deployment(name, namespace, reference, replicas=1))
        eventually(lambda: graded(trusting, signed) == "Signed", 120)
        eventually(lambda: graded(trusting, plain) == "Verified", 120)


def test_a_pull_secret_reaches_the_controller_without_a_restart(trusting: Cluster) -> None:
    def inside(*command: str) -> str:
        return trusting.kubectl("-n", SYSTEM, "exec", "deploy/intact-controller", "-c", "controller", "--", *command)

    list_files = ("/usr/bin/python3", "-c", "import os; print(os.listdir('/etc/intact/pull-secrets'))")
    assert "intact-pull.json" not in inside(*list_files)
    options = ("--docker-server=r.example", "--docker-username=ada", "--docker-password=word")
    trusting.kubectl("-n", SYSTEM, "create", "secret", "docker-registry", "intact-pull", *options)
    eventually(lambda: "intact-pull.json" in inside(*list_files), 180)
    read = (
        "from pathlib import Path; from intact.run.registries import read_registries; "
        "from intact.adapters.registry.credentials import find_credentials; "
        "access = read_registries(Path('/etc/intact/registries/registries.json')); "
        "print(find_credentials(access, 'r.example', 'a')[0].username)"
    )
    assert inside("/usr/bin/python3", "-IBc", read).strip() == "ada"
