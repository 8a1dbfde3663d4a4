"""Where a process of this machine records: the file in its state directory, or the database that it shares with others."""

from __future__ import annotations

import os
from pathlib import Path

from intact.adapters.store.database import FILE_NAME, Database
from intact.run.settings import read_database_url


def open_recorded(state_dir: Path) -> Database:
    """For reading only. In a controller's pod with a shared database (`INTACT_DATABASE_URL`) that is the one. Raises InputError where there
    is nothing."""
    url = read_database_url(os.environ)
    if url and not (state_dir / FILE_NAME).exists():
        return Database.open(url, read_only=True)
    return Database.in_directory(state_dir, read_only=True)
