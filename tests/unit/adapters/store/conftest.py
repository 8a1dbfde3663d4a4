"""The databases that every store is tested on; a further kind is one more parameter here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.adapters.store.database import Database


@pytest.fixture(params=["sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    database = Database.in_directory(tmp_path)
    yield database
    database.close()
