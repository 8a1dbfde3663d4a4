"""The seam within one process keeps the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from intact.adapters.seam.inprocess import InProcessCluster
from tests.unit.seam_contract import FileCluster, SeamContract, World


class InOneProcess:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.cluster = FileCluster(path)

    def seam(self, node: str) -> InProcessCluster:
        return InProcessCluster(self.cluster, node, time.time)

    def restarted(self) -> None:
        self.cluster = FileCluster(self._path)

    @contextmanager
    def gone(self) -> Iterator[None]:
        self.cluster.away = True
        yield
        self.cluster.away = False


class TestInProcess(SeamContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return InOneProcess(tmp_path / "reports")
