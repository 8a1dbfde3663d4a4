"""What nodes were given of supplied baselines is remembered, by whoever asks, and no longer than there is room."""

from __future__ import annotations

import pytest

from intact.adapters.store import served
from intact.adapters.store.database import Database
from intact.adapters.store.served import SqlServed
from intact.model.digest import Digest

KEY, OTHER = Digest.of(b"image"), Digest.of(b"another")
ROOTS = [Digest.of(b"%d" % number) for number in range(4)]


def test_what_one_remembers_another_reads_in_order(database: Database) -> None:
    SqlServed(database).remember(ROOTS[1], KEY, 2.0)
    SqlServed(database).remember(ROOTS[0], OTHER, 1.0)
    SqlServed(database).remember(ROOTS[1], KEY, 3.0)
    assert list(SqlServed(database).read().items()) == [(ROOTS[0], OTHER), (ROOTS[1], KEY)]


def test_the_oldest_are_forgotten(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "MAX_SERVED", 2)
    for number, root in enumerate(ROOTS):
        SqlServed(database).remember(root, KEY, float(number))
    assert list(SqlServed(database).read()) == ROOTS[2:]
