"""A bucket that is away is no reason not to begin; one that cannot be right is."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from intact.adapters.store import objects
from intact.adapters.store.database import Database
from intact.adapters.store.object_settings import ObjectSettings
from intact.baseline.store import BaselineStore
from intact.model.errors import IntactError, TemporaryError
from intact.run.storage.open import open_baseline_files
from lab.s3 import ObjectServer
from tests.unit.baseline.test_store import OWN, make_baseline


def test_a_process_begins_while_its_bucket_is_away_and_uses_it_when_it_is_back(
    tmp_path: Path, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "RETRIES", 1)
    bucket = f"s3://{object_server.make_bucket()}"
    with closing(Database.in_directory(tmp_path)) as database:
        settings = ObjectSettings(url=bucket, endpoint=object_server.endpoint, plain_http=True)
        object_server.stop()
        try:
            store = BaselineStore(open_baseline_files(tmp_path, database, settings), signer=OWN)
            with pytest.raises(TemporaryError):
                store.put(make_baseline())
        finally:
            object_server.start()
        store.put(make_baseline())


def test_a_bucket_that_is_not_there_is_told_at_the_start(tmp_path: Path, object_server: ObjectServer) -> None:
    with closing(Database.in_directory(tmp_path)) as database, pytest.raises(IntactError) as caught:
        open_baseline_files(tmp_path, database, ObjectSettings(url="s3://nobodys", endpoint=object_server.endpoint, plain_http=True))
    assert not isinstance(caught.value, TemporaryError)
