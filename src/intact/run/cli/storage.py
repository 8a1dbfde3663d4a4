"""The options that say where a process keeps what it remembers, as one record."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from intact.adapters.store.database import FILE_NAME, Database
from intact.adapters.store.object_settings import ObjectSettings
from intact.baseline.ports import BaselineFiles
from intact.model.errors import InputError
from intact.run.settings import read_database_url, read_object_settings
from intact.run.storage.open import open_baseline_files

_OPTIONS = (
    click.option(
        "--state-dir",
        "--state",
        "state_dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="INTACT_STATE_DIR",
        metavar="DIR",
        help="State directory of the controller or of `intact watch` (INTACT_STATE_DIR).",
    ),
    click.option("--database", metavar="URL", help="Its database, if it is not in the state directory (INTACT_DATABASE_URL)."),
    click.option("--objects", metavar="URL", help="s3://BUCKET[/PREFIX], if its tables are in a bucket (INTACT_OBJECTS_URL)."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """`state_dir` holds keys in every case, and all that has no place of its own."""

    state_dir: Path
    database_url: str
    objects: ObjectSettings | None

    @property
    def has_database(self) -> bool:
        return bool(self.database_url) or (self.state_dir / FILE_NAME).exists()

    @contextmanager
    def open_database(self, *, read_only: bool) -> Iterator[Database]:
        database = (
            Database.open(self.database_url, read_only=read_only)
            if self.database_url
            else Database.in_directory(self.state_dir, read_only=read_only)
        )
        with closing(database):
            yield database

    @contextmanager
    def open_baselines(self, *, read_only: bool = False) -> Iterator[BaselineFiles]:
        if self.objects is None:
            files = open_baseline_files(self.state_dir, None, None)
            yield files
            return
        with self.open_database(read_only=read_only) as database:
            yield open_baseline_files(self.state_dir, database, self.objects)


def storage_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command gets them as `storage`. Endpoint, region, authority and plain HTTP are `INTACT_OBJECTS_*`, as in the
    controller's own environment."""

    @functools.wraps(function)
    def wrapper(*args: Any, state_dir: Path | None, database: str | None, objects: str | None, **others: Any) -> Any:
        if state_dir is None:
            raise InputError("no state directory was named", hint="--state-dir DIR, or INTACT_STATE_DIR")
        env = {
            **os.environ,
            **({"INTACT_DATABASE_URL": database} if database else {}),
            **({"INTACT_OBJECTS_URL": objects} if objects else {}),
        }
        storage = Storage(state_dir=state_dir, database_url=read_database_url(env), objects=read_object_settings(env))
        return function(*args, storage=storage, **others)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper
