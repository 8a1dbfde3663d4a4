"""The databases that every store is tested on; a further kind is one more parameter here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from intact.adapters.store.database import FILE_NAME, Database
from lab.postgres import Postgres

Opener = Callable[[], Database]
"""Opens the test's one database once more, as another process would."""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / FILE_NAME}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.make_database()


@pytest.fixture
def open_again(url: str) -> Iterator[Opener]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Database.open(url)))


@pytest.fixture
def database(open_again: Opener) -> Database:
    return open_again()
