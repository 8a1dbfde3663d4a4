"""Where a process keeps its baselines: in its state directory, or with an index in its database and the tables in a bucket."""

from __future__ import annotations

from pathlib import Path

import structlog

from intact.adapters.store.baselines import BaselineDirectory
from intact.adapters.store.cached import DEFAULT_MAX_BYTES, TableCache
from intact.adapters.store.database import Database
from intact.adapters.store.object_settings import ObjectSettings
from intact.adapters.store.objects import Bucket
from intact.adapters.store.shared_baselines import SharedBaselines
from intact.baseline.ports import BaselineFiles
from intact.model.errors import TemporaryError

log = structlog.get_logger()

BASELINES = "baselines"
COPIES = "copies"


def open_baseline_files(
    state_dir: Path, database: Database | None, objects: ObjectSettings | None, *, copies_bytes: int = DEFAULT_MAX_BYTES
) -> BaselineFiles:
    """With `objects` the index is in `database`, and copies of the tables are kept below `state_dir`; else everything is there.

    The bucket is asked once, so that a wrong address or missing rights are told now (PermanentError, InputError). One that is only away is
    no reason not to begin: it may be back when it is needed, and findings do not need it.
    """
    directory = state_dir / BASELINES
    if objects is None or database is None:
        return BaselineDirectory(directory)
    bucket = Bucket(objects)
    try:
        bucket.check()
    except TemporaryError as error:
        log.warning("bucket_away", reason=str(error))
    return SharedBaselines(database, bucket, TableCache(directory / COPIES, max_bytes=copies_bytes))
