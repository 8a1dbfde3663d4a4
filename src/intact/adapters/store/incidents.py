"""Incidents with their counted findings, revisions, and remediations in SQL."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, select, update

from intact.adapters.codec import decode, encode
from intact.model.errors import InputError
from intact.model.incident import Incident, IncidentState, Outcome, Phase, Reported, Workload
from intact.model.revision import RevisionRecord

from .database import Database, insert_all_new, insert_new, upsert
from .schema import FINDINGS, INCIDENTS, REMEDIATIONS, REVISIONS


def workload_key(workload: Workload) -> str:
    """One text per workload object; two of the same name have different uids."""
    return "/".join((workload.kind, workload.namespace, workload.name, workload.uid))


class SqlIncidentStore:
    """`decide.ports.IncidentStore` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, incident: Incident) -> None:
        values = {
            "workload": workload_key(incident.workload),
            "namespace": incident.workload.namespace,
            "name": incident.workload.name,
            "state": incident.state.value,
            "level": int(incident.level),
            "first_seen": incident.first_seen,
            "last_seen": incident.last_seen,
            "document": encode(incident),
        }
        with self._database.write() as connection:
            upsert(connection, INCIDENTS, {"id": incident.id}, values)

    def get(self, incident_id: str) -> Incident | None:
        with self._database.read() as connection:
            document = connection.scalar(select(INCIDENTS.c.document).where(INCIDENTS.c.id == incident_id))
        return None if document is None else decode(Incident, document)

    def find_open(self, workload: Workload) -> Incident | None:
        query = select(INCIDENTS.c.document).where(
            INCIDENTS.c.workload == workload_key(workload), INCIDENTS.c.state != IncidentState.RESOLVED.value
        )
        with self._database.read() as connection:
            document = connection.scalar(query)
        return None if document is None else decode(Incident, document)

    def of(self, workload: Workload, limit: int) -> tuple[Incident, ...]:
        query = select(INCIDENTS.c.document).where(INCIDENTS.c.workload == workload_key(workload))
        with self._database.read() as connection:
            documents = connection.scalars(query.order_by(INCIDENTS.c.last_seen.desc(), INCIDENTS.c.id).limit(limit)).all()
        return tuple(decode(Incident, document) for document in documents)

    def list_open(self) -> tuple[Incident, ...]:
        query = select(INCIDENTS.c.document).where(INCIDENTS.c.state != IncidentState.RESOLVED.value)
        with self._database.read() as connection:
            documents = connection.scalars(query.order_by(INCIDENTS.c.first_seen, INCIDENTS.c.id)).all()
        return tuple(decode(Incident, document) for document in documents)

    def list_recent(self, limit: int) -> tuple[Incident, ...]:
        query = select(INCIDENTS.c.document).order_by(INCIDENTS.c.last_seen.desc(), INCIDENTS.c.id).limit(limit)
        with self._database.read() as connection:
            documents = connection.scalars(query).all()
        return tuple(decode(Incident, document) for document in documents)

    def count(self, incident_id: str, reported: Iterable[Reported]) -> tuple[Reported, ...]:
        unique = {one.finding.id: one for one in reported}
        with self._database.write() as connection:
            known = set(connection.scalars(select(FINDINGS.c.id).where(FINDINGS.c.incident_id == incident_id)))
            rows = [
                {
                    "incident_id": incident_id,
                    "id": id,
                    "level": int(one.finding.level),
                    "path": one.finding.difference.path,
                    "document": encode(one),
                }
                for id, one in unique.items()
                if id not in known
            ]
            new = insert_all_new(connection, FINDINGS, ("incident_id", "id"), rows)
        return tuple(one for id, one in unique.items() if id in new)

    def findings(self, incident_id: str, limit: int) -> tuple[Reported, ...]:
        query = select(FINDINGS.c.document).where(FINDINGS.c.incident_id == incident_id)
        with self._database.read() as connection:
            documents = connection.scalars(query.order_by(FINDINGS.c.level.desc(), FINDINGS.c.path, FINDINGS.c.id).limit(limit)).all()
        return tuple(decode(Reported, document) for document in documents)


class SqlRevisionStore:
    """`decide.ports.RevisionStore` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, record: RevisionRecord) -> None:
        keys = {"workload": workload_key(record.workload), "uid": record.uid}
        with self._database.write() as connection:
            upsert(connection, REVISIONS, keys, {"number": record.number, "document": encode(record)})

    def of(self, workload: Workload) -> tuple[RevisionRecord, ...]:
        query = select(REVISIONS.c.document).where(REVISIONS.c.workload == workload_key(workload))
        with self._database.read() as connection:
            documents = connection.scalars(query.order_by(REVISIONS.c.number.desc(), REVISIONS.c.uid)).all()
        return tuple(decode(RevisionRecord, document) for document in documents)

    def list_all(self) -> tuple[RevisionRecord, ...]:
        with self._database.read() as connection:
            documents = connection.scalars(select(REVISIONS.c.document).order_by(REVISIONS.c.workload, REVISIONS.c.uid)).all()
        return tuple(decode(RevisionRecord, document) for document in documents)


class SqlRemediationStore:
    """`decide.ports.RemediationStore` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, proposed: Outcome) -> bool:
        row = {
            "name": proposed.decision.name,
            "incident_id": proposed.decision.incident_id,
            "phase": proposed.phase.value,
            "decided_at": proposed.decision.at,
            "document": encode(proposed),
        }
        with self._database.write() as connection:
            return insert_new(connection, REMEDIATIONS, ("name",), row)

    def save(self, outcome: Outcome) -> None:
        change = update(REMEDIATIONS).where(REMEDIATIONS.c.name == outcome.decision.name)
        with self._database.write() as connection:
            if connection.execute(change.values(phase=outcome.phase.value, document=encode(outcome))).rowcount == 0:
                raise InputError(f"the decision {outcome.decision.name} was never claimed")

    def get(self, name: str) -> Outcome | None:
        with self._database.read() as connection:
            document = connection.scalar(select(REMEDIATIONS.c.document).where(REMEDIATIONS.c.name == name))
        return None if document is None else decode(Outcome, document)

    def of(self, incident_id: str) -> tuple[Outcome, ...]:
        return self._list(REMEDIATIONS.c.incident_id == incident_id)

    def unfinished(self) -> tuple[Outcome, ...]:
        return self._list(REMEDIATIONS.c.phase.in_([Phase.PROPOSED.value, Phase.RUNNING.value, Phase.SUCCEEDED.value]))

    def since(self, at: float) -> tuple[Outcome, ...]:
        return self._list((REMEDIATIONS.c.decided_at >= at) & (REMEDIATIONS.c.phase != Phase.REFUSED.value))

    def _list(self, where: ColumnElement[bool]) -> tuple[Outcome, ...]:
        query = select(REMEDIATIONS.c.document).where(where).order_by(REMEDIATIONS.c.decided_at, REMEDIATIONS.c.name)
        with self._database.read() as connection:
            documents = connection.scalars(query).all()
        return tuple(decode(Outcome, document) for document in documents)
