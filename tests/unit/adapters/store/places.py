"""The places where baselines can be kept, each real: what a test does to all of them, and what an attacker does who can write there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import obstore
import pytest
from obstore.store import LocalStore, ObjectStore, S3Store

from intact.adapters.store.baselines import TABLES, BaselineDirectory
from intact.adapters.store.cached import TableCache
from intact.adapters.store.database import FILE_NAME, Database
from intact.adapters.store.object_settings import ObjectSettings
from intact.adapters.store.objects import Bucket
from intact.adapters.store.shared_baselines import SharedBaselines
from intact.baseline.ports import BaselineFiles
from intact.model.digest import Digest
from lab.postgres import Postgres
from lab.s3 import ObjectServer

EMBEDDED = "embedded"
SHARED = ("sqlite and files", "sqlite and s3", "postgresql and s3")


class Place:
    """One place for one test. `objects` is the attacker's way to the tables."""

    def __init__(self, kind: str, request: pytest.FixtureRequest, directory: Path, stack: ExitStack) -> None:
        self.kind, self.directory, self._stack = kind, directory, stack
        self._opened = 0
        self.url = ""
        if kind == EMBEDDED:
            (directory / TABLES).mkdir()
            self.objects: ObjectStore = LocalStore(directory / TABLES)
            return
        if "postgresql" in kind:
            server: Postgres = request.getfixturevalue("postgres")
            self.url = server.make_database()
        else:
            self.url = f"sqlite:///{directory / FILE_NAME}"
        if "s3" in kind:
            s3: ObjectServer = request.getfixturevalue("object_server")
            name = s3.make_bucket()
            self.settings = ObjectSettings(url=f"s3://{name}/intact", endpoint=s3.endpoint, plain_http=True)
            self.objects = S3Store(name, prefix="intact", endpoint=s3.endpoint, region="us-east-1", client_options={"allow_http": True})
        else:
            self.settings = ObjectSettings(url=(directory / "objects").as_uri())
            self.objects = LocalStore(directory / "objects", mkdir=True)

    def open(self, *, clock: Callable[[], float] | None = None, cache: Path | None = None, bucket: Bucket | None = None) -> BaselineFiles:
        """As another process would; with a cache of its own, unless one is given."""
        times = {} if clock is None else {"clock": clock}
        if self.kind == EMBEDDED:
            return self._stack.enter_context(closing(BaselineDirectory(self.directory, **times)))
        self._opened += 1
        database = self._stack.enter_context(closing(Database.open(self.url)))
        copies = TableCache(cache or self.directory / f"cache{self._opened}")
        return SharedBaselines(database, bucket or Bucket(self.settings), copies, **times)

    def names(self) -> list[str]:
        """Of all tables that are stored, whoever knows them."""
        return sorted(meta["path"] for chunk in obstore.list(self.objects) for meta in chunk)

    def name_of(self, root: Digest) -> str:
        (name,) = (name for name in self.names() if root.hex in name)
        return name

    def replace(self, root: Digest, data: bytes) -> None:
        obstore.put(self.objects, self.name_of(root), data, mode="overwrite")

    def read(self, root: Digest) -> bytes:
        return bytes(obstore.get(self.objects, self.name_of(root)).bytes())

    def remove(self, root: Digest) -> None:
        obstore.delete(self.objects, self.name_of(root))
