"""Writing Intact's custom resources: only when something changed, and not too often.

In: model records. Out: server-side applies. An object is written at most once in `QUIET_S`, except when its phase changes; what could not
be written yet is told to the caller as seconds to come back after. Keeps of each object only a digest of what it wrote last.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from intact.model.digest import Digest
from intact.model.errors import InputError
from intact.model.incident import Decision, Incident, Outcome, PathSummary, Phase
from intact.model.seam import NodeStatus

from .api import Api, Conflict, Rejected
from .bodies import (
    Body,
    ShownBaseline,
    baseline_body,
    baseline_name,
    condition,
    incident_body,
    instant,
    node_body,
    outcome_body,
    remediation_body,
)
from .kinds import BASELINE, INCIDENT, NODE, REMEDIATION, Kind

QUIET_S = 10.0
NODE_REFRESH_S = 300.0
"""A node of which nothing changed is written this often, to show that it was heard."""
_PASSING = frozenset({"verifiedAt", "layersVerifiedAt", "layersUnverifiedBytes"})


@dataclass(slots=True)
class _Written:
    digest: bytes
    phase: str
    at: float


class Objects:
    """Thread-safe. Every method raises TemporaryError or PermanentError from the API; then nothing is taken as written."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._written: dict[tuple[str, str, str], _Written] = {}

    def put_incident(self, incident: Incident, paths: Sequence[PathSummary], now: float, *, namespace: str = "") -> float:
        """Shows the incident in `namespace`, if not in that of its workload; `paths` the gravest first. Returns 0, or in how many seconds
        to call again."""
        body = incident_body(incident, paths, namespace)
        phase = f"{incident.state.value} {body['status']['action']} {incident.level} {incident.cause}"
        return self._put(INCIDENT, body, phase, now)

    def claim(self, decision: Decision) -> bool:
        """Creates the decision's Remediation. False: it exists, somebody did this or is doing it."""
        try:
            self._api.create(REMEDIATION, remediation_body(decision))
        except Conflict as error:
            if error.code == "AlreadyExists":
                return False
            raise
        return True

    def phase_of(self, decision: Decision) -> Phase | None:
        """How far the decision's Remediation is; None if there is none."""
        found = self._api.get(REMEDIATION, decision.name, decision.workload.namespace)
        return None if found is None else Phase((found.get("status") or {}).get("phase") or Phase.PROPOSED)

    def put_outcome(self, outcome: Outcome, now: float) -> float:
        """Shows what came of a claimed decision. Returns 0, or in how many seconds to call again. Raises InputError when there is no such
        Remediation: a decision is claimed before it is carried out."""
        try:
            return self._put(REMEDIATION, outcome_body(outcome), outcome.phase.value, now, create=False)
        except Rejected as error:
            if error.status.code == 404:
                raise InputError(f"remediation {outcome.decision.name} was never claimed, or deleted", code="Unclaimed") from error
            raise

    def put_node(self, status: NodeStatus, now: float) -> float:
        """Shows what a node said last. Its times alone are no change, until `NODE_REFRESH_S`, nor is how far it is with read-only layers
        that it has not verified to the end."""
        body = node_body(status)
        essence = {key: value for key, value in body["status"].items() if key not in ("heardAt", "containers")}
        essence["containers"] = [
            {k: v for k, v in c.items() if k not in _PASSING} | {"isUnverified": c.get("layersUnverifiedBytes") != 0}
            for c in body["status"]["containers"]
        ]
        counts = {verdict: body["status"][verdict] for verdict in ("drifted", "unobserved")}
        return self._put(NODE, body, repr((counts, status.tier)), now, essence=essence, refresh_s=NODE_REFRESH_S)

    def put_baseline(self, shown: ShownBaseline, now: float) -> float:
        """Shows what is known of an image. Returns as `put_incident`."""
        return self._put(BASELINE, baseline_body(shown), f"{shown.grade} {shown.root}", now)

    def delete_baseline(self, key: Digest) -> None:
        """For an image that nobody runs, keeps or declares."""
        self._delete(BASELINE, baseline_name(key), "")

    def put_policy_status(
        self, kind: Kind, name: str, namespace: str, *, generation: int, pods: int, problem: str, changed_at: str, now: float
    ) -> float:
        """Whether a policy is in force, or in `problem` why not, and how many pods it governs. `changed_at` is the RFC 3339 time of the
        last change between the two. Returns as `put_incident`."""
        accepted = not problem
        made = condition("Accepted", accepted, "Valid" if accepted else "Invalid", problem or "in force", changed_at, generation=generation)
        status = {"observedGeneration": generation, "pods": pods, "conditions": [made]}
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "status": status}
        essence = (generation, pods, problem)
        return self._put(kind, body, f"{generation} {problem}", now, essence=essence, create=False)

    def expire(self, now: float, ttl_s: float) -> int:
        """Deletes resolved incidents and ended remediations of which nothing changed for `ttl_s` seconds; the audit log keeps them.
        Returns how many."""
        before = instant(now - ttl_s)
        count = 0
        for kind, field, ended, at in (
            (INCIDENT, "state", {"Resolved"}, "lastSeen"),
            (REMEDIATION, "phase", {"Verified", "Failed", "Refused"}, "updatedAt"),
        ):
            for one in self._api.list_all(kind):
                status, meta = one.get("status") or {}, one["metadata"]
                # RFC 3339 times in UTC with whole seconds sort as text.
                if status.get(field) in ended and str(status.get(at) or before) < before:
                    self._delete(kind, meta["name"], meta["namespace"])
                    count += 1
        return count

    def delete_node(self, name: str) -> None:
        """For a node that is gone."""
        self._delete(NODE, name, "")

    def forget_before(self, at: float) -> None:
        """Forgets what was written before `at`: the worst that follows is one write too many."""
        with self._lock:
            for key in [k for k, w in self._written.items() if w.at < at]:
                del self._written[key]

    def _delete(self, kind: Kind, name: str, namespace: str) -> None:
        self._api.delete(kind, name, namespace)
        with self._lock:
            self._written.pop((kind.plural, namespace, name), None)

    def _put(
        self,
        kind: Kind,
        body: Body,
        phase: str,
        now: float,
        *,
        essence: Any = None,
        create: bool = True,
        refresh_s: float = float("inf"),
    ) -> float:
        """Writes `body` if its `essence` (by default all of it) is not what was written last. The object itself is applied when this
        process has not written it before; afterwards only its status."""
        key = (kind.plural, body["metadata"].get("namespace", ""), body["metadata"]["name"])
        digest = hashlib.sha256(msgspec.json.encode(body["status"] if essence is None else essence)).digest()
        with self._lock:
            last = self._written.get(key)
        if last is not None:
            if last.digest == digest and now - last.at < refresh_s:
                return 0.0
            if last.phase == phase and now - last.at < QUIET_S:
                return QUIET_S - (now - last.at)
        if last is None and create:
            self._api.apply(kind, {k: v for k, v in body.items() if k != "status"})
        status = {k: v for k, v in body.items() if k != "spec"}
        try:
            self._api.apply(kind, status, status=True)
        except Rejected as error:
            if error.status.code != 404 or not create:
                raise
            # Somebody deleted it: it is made again, whole.
            self._api.apply(kind, {k: v for k, v in body.items() if k != "status"})
            self._api.apply(kind, status, status=True)
        with self._lock:
            self._written[key] = _Written(digest, phase, now)
        return 0.0
