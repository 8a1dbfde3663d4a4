"""Where a process keeps its baselines: in its state directory, or with an index in its database and the tables in a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from intact.adapters.store.baselines import BaselineDirectory
from intact.adapters.store.cached import DEFAULT_MAX_BYTES, TableCache
from intact.adapters.store.database import Database
from intact.adapters.store.objects import Bucket, ObjectSettings
from intact.adapters.store.shared_baselines import SharedBaselines
from intact.baseline.ports import BaselineFiles
from intact.model.errors import InputError

BASELINES = "baselines"
COPIES = "copies"


def read_object_settings(env: Mapping[str, str]) -> ObjectSettings | None:
    """`INTACT_OBJECTS_*`; None without `INTACT_OBJECTS_URL`. Raises InputError naming the variable that is wrong."""
    url = env.get("INTACT_OBJECTS_URL", "").strip()
    if not url:
        return None
    authority = env.get("INTACT_OBJECTS_CA_FILE", "")
    return ObjectSettings(
        url=url,
        endpoint=env.get("INTACT_OBJECTS_ENDPOINT", "").strip(),
        region=env.get("INTACT_OBJECTS_REGION", "").strip(),
        ca_file=Path(authority) if authority else None,
        plain_http=read_flag(env, "INTACT_OBJECTS_PLAIN_HTTP"),
        virtual_hosted=read_flag(env, "INTACT_OBJECTS_VIRTUAL_HOSTED"),
    )


def read_flag(env: Mapping[str, str], name: str) -> bool:
    match env.get(name, ""):
        case "" | "false":
            return False
        case "true":
            return True
        case other:
            raise InputError(f"{name} is neither true nor false: {other!r}")


def open_baseline_files(
    state_dir: Path, database: Database | None, objects: ObjectSettings | None, *, copies_bytes: int = DEFAULT_MAX_BYTES
) -> BaselineFiles:
    """With `objects` the index is in `database`, and copies of the tables are kept below `state_dir`; else everything is there.

    The bucket is asked once, so that a wrong address or missing rights are told now. Raises IntactError.
    """
    directory = state_dir / BASELINES
    if objects is None or database is None:
        return BaselineDirectory(directory)
    bucket = Bucket(objects)
    bucket.check()
    return SharedBaselines(database, bucket, TableCache(directory / COPIES, max_bytes=copies_bytes))
