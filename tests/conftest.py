"""The real things that tests run against, each started once a session and gone at its end."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.runtime import Runtime

NOT_ROOT = "needs root (containers, mounts, fanotify): run it as root or through `make`, which uses sudo"


@pytest.fixture(scope="session")
def root() -> None:
    """Skips, with the reason, where the tests run without the rights they need; continuous integration has them."""
    if os.geteuid():
        pytest.skip(NOT_ROOT)


@pytest.fixture(scope="session")
def runtime(root: None) -> Iterator[Runtime]:
    """A containerd of the tests' own. Each test uses container ids of its own and stops what it starts."""
    with Runtime() as runtime:
        yield runtime


@pytest.fixture(scope="session")
def cluster(root: None) -> Iterator[Cluster]:
    """A Kubernetes cluster of one node; INTACT_TEST_CLUSTER=ID uses one that is up (`python -m lab up --id ID`)."""
    if id := os.environ.get("INTACT_TEST_CLUSTER"):
        yield Cluster.running(int(id))
        return
    with Cluster(nodes=1) as cluster:
        yield cluster


@pytest.fixture
def layout_directory(tmp_path: Path) -> Path:
    """An empty directory for one image layout."""
    return tmp_path / "layout"
