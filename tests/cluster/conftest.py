"""Intact installed once for all tests of the whole, in a cluster of three nodes of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from demo.receivers import Receivers
from lab.cluster import Cluster
from lab.install import install
from tests.cluster.whole import Installed, Shop


@pytest.fixture(scope="session")
def installed(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """INTACT_TEST_CLUSTER=ID uses the cluster that is up (`python -m lab up --id ID --nodes 3`)."""
    if id := os.environ.get("INTACT_TEST_CLUSTER"):
        yield from _install(Cluster.running(int(id)), tmp_path_factory)
        return
    with Cluster(nodes=3) as cluster:
        yield from _install(cluster, tmp_path_factory)


def _install(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    assert cluster.plan.nodes >= 3, "the tests of the whole need three nodes"
    with Receivers(cluster.host_ip, tmp_path_factory.mktemp("alerts") / "receivers") as receivers:
        settings = {
            "notify.syslog": receivers.syslog,
            "notify.webhook.url": receivers.webhook,
            "registries.insecure[0]": cluster.registry,
        }
        install(cluster, values=settings)
        yield Installed(cluster, receivers, tmp_path_factory.mktemp("images"))


@pytest.fixture
def shop(installed: Installed) -> Iterator[Shop]:
    with installed.shop() as shop:
        yield shop
