"""The store of `intact watch` as a source for `intact status` and `intact incident`; may be read while it is being written.

In: its state directory. Out: the rows of `source`, text unchanged.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from intact.adapters.store.incidents import SqlIncidentStore, SqlRemediationStore
from intact.adapters.store.leaves import SqlLeafStore
from intact.adapters.store.reports import SqlReportStore
from intact.audit.ports import Query
from intact.audit.query import find_leaves
from intact.audit.record import LeafKind
from intact.decide.summary import summarise_paths
from intact.model.entry import display_path
from intact.model.incident import Incident, Outcome
from intact.model.seam import EXPECTED, Coverage
from intact.run.storage.recorded import open_recorded

from .output import describe_time
from .source import Row

SILENT_S = 120.0
MOST_INCIDENTS = 500
MOST_PATHS = 20
LOST_WITHIN_S = 86400.0
"""Lost events of the last day are counted."""


class LocalSource:
    """Implements `source.Source`. There are no policies in the store: `intact watch` is given them as files."""

    namespace = ""
    patience_s = SILENT_S

    def __init__(self, state: Path) -> None:
        """Raises InputError where there is no store in `state`."""
        self.name = f"the state of `intact watch` in {state}"
        self._database = open_recorded(state)
        self._incidents = SqlIncidentStore(self._database)

    def close(self) -> None:
        self._database.close()

    def nodes(self) -> list[Row]:
        lost = self._lost_events()
        return [_node(node, at, tier, coverage, lost[node]) for node, at, tier, coverage in SqlReportStore(self._database).coverage()]

    def policies(self, namespace: str) -> list[Row]:
        return []

    def incidents(self, namespace: str) -> list[Row]:
        found = self._incidents.list_recent(MOST_INCIDENTS)
        known = {incident.id for incident in found}
        found += tuple(incident for incident in self._incidents.list_open() if incident.id not in known)
        return [_incident(incident) for incident in found if namespace in ("", incident.workload.namespace)]

    def incident(self, name: str, namespace: str) -> Row | None:
        found = self._incidents.get(name)
        return None if found is None or namespace not in ("", found.workload.namespace) else _incident(found)

    def actions(self, name: str, namespace: str) -> list[Row]:
        return [_action(outcome) for outcome in SqlRemediationStore(self._database).of(name)]

    def baseline(self, key: str) -> Row | None:
        """Not kept beside the incidents: what an incident says of its baseline is all there is."""
        return None

    def _lost_events(self) -> Counter[str]:
        query = Query(since=time.time() - LOST_WITHIN_S, kinds=frozenset({LeafKind.GAP.value}))
        lost: Counter[str] = Counter()
        for _, leaf in find_leaves(SqlLeafStore(self._database), query):
            told = leaf.body.get("events_lost")
            lost[leaf.node] += told if isinstance(told, int) else 0
        return lost


def _node(node: str, at: float, tier: str, coverage: tuple[Coverage, ...], lost: int) -> Row:
    verdicts = Counter(covered.verdict for covered in coverage)
    return {
        "node": node,
        "heard_at": describe_time(at),
        "tier": tier,
        "intact": verdicts["Intact"],
        "expected": verdicts[EXPECTED],
        "drifted": verdicts["Drifted"],
        "unobserved": len(coverage) - sum(verdicts[known] for known in ("Intact", EXPECTED, "Drifted", "Pending")),
        "pending": verdicts["Pending"],
        "events_lost": lost,
        "unlisted": 0,
        "containers": [_container(covered, node) for covered in coverage],
    }


def _container(covered: Coverage, node: str) -> Row:
    container = covered.container
    pod = container.pod
    return {
        "container": f"{pod.namespace}/{pod.name}/{container.name}" if pod else container.name,
        "namespace": pod.namespace if pod else "",
        "pod": f"{pod.name}/{container.name}" if pod else container.name,
        "node": node,
        "verdict": covered.verdict,
        "grade": covered.grade,
        "verified_at": describe_time(covered.verified_at),
        "layers_verified_at": describe_time(covered.layers_verified_at),
        "layers_unverified_bytes": covered.layers_unverified_bytes,
        "reason": covered.reason,
    }


def _incident(incident: Incident) -> Row:
    last = incident.taken[-1] if incident.taken else None
    paths = summarise_paths(incident, MOST_PATHS)
    return {
        "incident": incident.id,
        "namespace": incident.workload.namespace,
        "workload": f"{incident.workload.kind}/{incident.workload.name}",
        "state": incident.state.value,
        "cause": incident.cause.value,
        "level": incident.level.title,
        "explanation": incident.explanation,
        "policy": incident.policy,
        "action": f"{last.action.title} {last.state}" if last else "",
        "first_seen": describe_time(incident.first_seen),
        "last_seen": describe_time(incident.last_seen),
        "count": incident.count,
        "pods": list(incident.pods),
        "pod_count": len(incident.pods),
        "nodes": list(incident.nodes),
        "node_count": len(incident.nodes),
        "paths": [
            {
                "path": display_path(path.path),
                "change": path.change,
                "level": path.level.title,
                "expected": path.expected,
                "actual": path.actual,
                "first_seen": describe_time(path.first_seen),
                "pods": len(path.pods),
            }
            for path in paths
        ],
        "omitted_paths": max(0, incident.count - len(paths)),
        "grade": incident.against[0].grade.title if incident.against else "",
        "baselines": [{"key": one.key, "root": one.root, "grade": one.grade.title} for one in incident.against],
        "matters": [
            {"about": m.key, "level": m.level.title, "text": m.text, "since": describe_time(m.at), "nodes": list(m.nodes)}
            for m in incident.matters
        ],
        "matter_count": incident.matter_count,
    }


def _action(outcome: Outcome) -> Row:
    decision = outcome.decision
    return {
        "remediation": decision.name,
        "action": decision.action.title,
        "phase": outcome.phase.value,
        "message": outcome.message,
        "revision": outcome.revision,
        "reason": decision.reason,
        "decided_at": describe_time(decision.at),
        "updated_at": describe_time(outcome.at),
    }
