"""What the cluster's half of the flow remembers between reports. `adapters.store` keeps it; deciding itself is pure and never calls it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from intact.model.counted import CountedDrift
from intact.model.incident import Incident, Outcome, Reported, Workload
from intact.model.revision import RevisionRecord
from intact.model.seam import Coverage, Gap, NodeStatus
from intact.model.start import StartProfile, Template


class Transactions(Protocol):
    def transaction(self) -> AbstractContextManager[None]:
        """Everything the stores write inside is kept together or not at all, and is durable when the block ends. May be nested.

        Raises TemporaryError (disk full, locked), and then nothing was kept.
        """


class IncidentStore(Protocol):
    """Incidents, and the findings counted in them."""

    def save(self, incident: Incident) -> None:
        """Adds the incident or replaces the one of the same id."""

    def get(self, incident_id: str) -> Incident | None: ...

    def find_open(self, workload: Workload) -> Incident | None:
        """The workload's unresolved incident; the uid tells two workloads of the same name apart."""

    def of(self, workload: Workload, limit: int) -> tuple[Incident, ...]:
        """The workload's incidents of any state, the last seen first."""

    def list_open(self) -> tuple[Incident, ...]:
        """All unresolved incidents, the oldest first."""

    def list_recent(self, limit: int) -> tuple[Incident, ...]:
        """Incidents of any state, the last seen first."""

    def count(self, incident_id: str, reported: Iterable[Reported]) -> tuple[Reported, ...]:
        """Remembers the findings as part of the incident; returns those that it did not hold yet, in order: only they are new."""

    def findings(self, incident_id: str, limit: int) -> tuple[Reported, ...]:
        """The incident's findings, the gravest first, then by path."""


class RevisionStore(Protocol):
    """What ran, and how well it was known to be good."""

    def save(self, record: RevisionRecord) -> None:
        """Adds the record or replaces the one of the same revision (`uid`)."""

    def of(self, workload: Workload) -> tuple[RevisionRecord, ...]:
        """The workload's revisions, the newest (highest `number`) first."""

    def list_all(self) -> tuple[RevisionRecord, ...]:
        """Every workload's."""


class RemediationStore(Protocol):
    """Actions by the name of their decision: the name is the lock against doing one twice."""

    def claim(self, proposed: Outcome) -> bool:
        """Remembers a decision before it is carried out. False: it was claimed before, and must not be carried out again."""

    def save(self, outcome: Outcome) -> None:
        """Replaces what is known of a claimed decision; raises InputError if it was never claimed."""

    def get(self, name: str) -> Outcome | None: ...

    def of(self, incident_id: str) -> tuple[Outcome, ...]:
        """What was done about the incident, in order of decision."""

    def unfinished(self) -> tuple[Outcome, ...]:
        """What was begun and not brought to an end (Proposed, Running, Succeeded): to be taken up again after a restart."""

    def since(self, at: float) -> tuple[Outcome, ...]:
        """What was decided at or after `at` and not refused: what budgets count."""


class StartStore(Protocol):
    """What pods start with, by template, and what containers write that no rule tells."""

    def save(self, profile: StartProfile, at: float) -> None:
        """Adds the profile or replaces the one of the same template; `at` is when it was last of use."""

    def get(self, template: Template) -> StartProfile | None: ...

    def of_image(self, image: str) -> tuple[StartProfile, ...]:
        """Profiles of containers of that image, at most a hundred, those last of use first."""

    def list_all(self) -> tuple[StartProfile, ...]:
        """Every workload's, of each those last of use first."""

    def save_counted(self, counted: CountedDrift, at: float) -> None: ...

    def counted(self, workload: Workload, container: str) -> CountedDrift | None: ...

    def list_counted(self) -> tuple[CountedDrift, ...]: ...

    def forget_before(self, at: float) -> int:
        """Forgets what was last of use before `at`; returns how much."""


class ReportStore(Protocol):
    """What nodes have said: reports already taken in, and the coverage of each node."""

    def receive(self, report_id: str, node: str, at: float) -> bool:
        """Remembers a report; False if it was taken in before."""

    def forget_before(self, at: float) -> int:
        """Forgets the ids of reports taken in before `at`; returns how many."""

    def save_coverage(self, node: str, at: float, coverage: tuple[Coverage, ...], tier: str, gaps: tuple[Gap, ...] = ()) -> None:
        """Replaces what the node says of its containers, and of the times in which it did not watch."""

    def coverage(self) -> tuple[tuple[str, float, str, tuple[Coverage, ...]], ...]:
        """(node, when it last spoke, tier, coverage) of all nodes, by name."""

    def statuses(self) -> tuple[NodeStatus, ...]:
        """The same, as one record a node."""
