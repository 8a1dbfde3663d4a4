"""What pods start with, and what containers write that no rule tells, in SQL: one document for each template, and for each container of a
workload."""

from __future__ import annotations

from sqlalchemy import delete, select

from intact.adapters.codec import decode, encode
from intact.model.counted import CountedDrift
from intact.model.incident import Workload
from intact.model.start import StartProfile, Template

from .database import Database, upsert
from .incidents import workload_key
from .schema import COUNTED_DRIFT, START_PROFILES


class SqlStartStore:
    """`decide.ports.StartStore` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, profile: StartProfile, at: float) -> None:
        with self._database.write() as connection:
            upsert(connection, START_PROFILES, _keys(profile.template), {"at": at, "document": encode(profile)})

    def get(self, template: Template) -> StartProfile | None:
        query = select(START_PROFILES.c.document)
        for name, value in _keys(template).items():
            query = query.where(START_PROFILES.c[name] == value)
        with self._database.read() as connection:
            document = connection.scalar(query)
        return None if document is None else decode(StartProfile, document)

    def of_image(self, image: str) -> tuple[StartProfile, ...]:
        table = START_PROFILES
        query = select(table.c.document).where(table.c.image == image).order_by(table.c.at.desc()).limit(100)
        with self._database.read() as connection:
            return tuple(decode(StartProfile, document) for document in connection.scalars(query))

    def list_all(self) -> tuple[StartProfile, ...]:
        table = START_PROFILES
        query = select(table.c.document).order_by(table.c.workload, table.c.container, table.c.at.desc(), table.c.template, table.c.image)
        with self._database.read() as connection:
            return tuple(decode(StartProfile, document) for document in connection.scalars(query))

    def save_counted(self, counted: CountedDrift, at: float) -> None:
        keys = {"workload": workload_key(counted.workload), "container": counted.container}
        with self._database.write() as connection:
            upsert(connection, COUNTED_DRIFT, keys, {"at": at, "document": encode(counted)})

    def counted(self, workload: Workload, container: str) -> CountedDrift | None:
        table = COUNTED_DRIFT
        query = select(table.c.document).where(table.c.workload == workload_key(workload), table.c.container == container)
        with self._database.read() as connection:
            document = connection.scalar(query)
        return None if document is None else decode(CountedDrift, document)

    def list_counted(self) -> tuple[CountedDrift, ...]:
        query = select(COUNTED_DRIFT.c.document).order_by(COUNTED_DRIFT.c.workload, COUNTED_DRIFT.c.container)
        with self._database.read() as connection:
            return tuple(decode(CountedDrift, document) for document in connection.scalars(query))

    def forget_before(self, at: float) -> int:
        with self._database.write() as connection:
            return sum(connection.execute(delete(table).where(table.c.at < at)).rowcount for table in (START_PROFILES, COUNTED_DRIFT))


def _keys(template: Template) -> dict[str, str]:
    return {
        "workload": workload_key(template.workload),
        "template": template.name,
        "container": template.container,
        "image": template.image,
    }
