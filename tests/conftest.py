"""The real things that tests run against, each started once a session and gone at its end."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

import intact
from lab.cluster import Cluster
from lab.postgres import Postgres
from lab.runtime import Runtime
from lab.s3 import ObjectServer
from lab.settings import REPOSITORY, cache_dir
from tests.leftovers import Watch

NOT_ROOT = "needs root (containers, mounts, fanotify): run it as root or through `make`, which uses sudo"


def pytest_configure() -> None:
    """1. Processes that tests start run the code of this tree, as the tests do. 2. Random inputs are new ones at every run, and those that
    failed once are tried again; continuous integration tries the same ones every time. A slow machine fails no test of a law. 3. What tests
    start can be interrupted, though a shell that runs these tests in its background has them ignore that (sh(1))."""
    # 1
    os.environ["PYTHONPATH"] = f"{REPOSITORY}/src:{REPOSITORY}"
    if not Path(intact.__file__).is_relative_to(REPOSITORY):
        raise pytest.UsageError(f"the tests of {REPOSITORY} would test {intact.__file__}")
    # 2
    if os.environ.get("CI"):
        settings.register_profile("intact", deadline=None, database=None, derandomize=True, print_blob=True)
    else:
        remembered = DirectoryBasedExampleDatabase(cache_dir() / "hypothesis")
        settings.register_profile("intact", deadline=None, database=remembered, print_blob=True)
    settings.load_profile("intact")
    # 3
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The first to be set up and the last to be taken down: whatever tests and fixtures started, is gone."""
    watch = Watch(tmp_path_factory.getbasetemp())
    yield
    left = watch.find()
    assert not left, "the tests left on this machine:\n" + "\n".join(left)


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the tests' own. Each test makes a database of its own in it."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    """An S3 server of the tests' own, with its credentials in the environment. Each test makes a bucket of its own in it."""
    with ObjectServer() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def layout_directory(tmp_path: Path) -> Path:
    """An empty directory for one image layout."""
    return tmp_path / "layout"
