"""A cluster as a source for `intact status` and `intact incident`: Intact's custom resources, read with the caller's own rights.

In: objects of the API server, whose fields may be missing and whose text may be hostile. Out: the rows of `source`, text unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from intact.adapters.cluster.api import Rejected
from intact.adapters.cluster.kinds import BASELINE, CLUSTER_POLICY, INCIDENT, NODE, POLICY, REMEDIATION, Kind
from intact.adapters.cluster.objects import NODE_REFRESH_S
from intact.model.errors import InputError

from .source import Row, parse_instant

SILENT_S = 120.0
_COUNTS = ("intact", "expected", "drifted", "unobserved", "pending")


class Reader(Protocol):
    """What is needed of `adapters.cluster.api.Api`."""

    @property
    def namespace(self) -> str: ...

    def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any] | None: ...

    def list_all(self, kind: Kind, namespace: str = "*") -> Iterator[dict[str, Any]]: ...


class ClusterSource:
    """Implements `source.Source`. A node of which nothing changed is written every five minutes only, so patience is longer here."""

    name = "the cluster of your kubeconfig"
    patience_s = NODE_REFRESH_S + SILENT_S

    def __init__(self, api: Reader) -> None:
        self._api = api
        self.namespace = api.namespace

    def nodes(self) -> list[Row]:
        return sorted((_node(one) for one in self._list(NODE, "")), key=lambda row: str(row["node"]))

    def policies(self, namespace: str) -> list[Row]:
        found = [*self._list(CLUSTER_POLICY, ""), *self._list(POLICY, namespace)]
        return [_policy(one) for one in found]

    def incidents(self, namespace: str) -> list[Row]:
        rows = [_incident(one) for one in self._list(INCIDENT, namespace)]
        return sorted(rows, key=lambda row: parse_instant(row["last_seen"]), reverse=True)

    def incident(self, name: str, namespace: str) -> Row | None:
        found = self._api.get(INCIDENT, name, namespace)
        return None if found is None else _incident(found)

    def actions(self, name: str, namespace: str) -> list[Row]:
        rows = [_action(one) for one in self._list(REMEDIATION, namespace) if _part(one, "spec").get("incident") == name]
        return sorted(rows, key=lambda row: parse_instant(row["decided_at"]))

    def baseline(self, key: str) -> Row | None:
        try:
            found = self._api.get(BASELINE, key.replace(":", "-")) if key else None
        except Rejected:  # no right to see it: what the incident itself says is all there is
            return None
        status = _part(found or {}, "status")
        if not status:
            return None
        return {
            "grade": status.get("grade") or "",
            "source": status.get("source") or "",
            "signers": list(status.get("signers") or []),
            "aliases": list(status.get("aliases") or []),
        }

    def _list(self, kind: Kind, namespace: str) -> list[dict[str, Any]]:
        try:
            return list(self._api.list_all(kind, namespace or "*"))
        except Rejected as error:
            if error.status.code == 404:
                raise InputError(
                    f"this cluster knows no {kind.resource}: Intact is not installed in it", hint="install its Helm chart"
                ) from None
            raise


def _part(one: dict[str, Any], name: str) -> dict[str, Any]:
    return one.get(name) or {}


def _node(one: dict[str, Any]) -> Row:
    status, name = _part(one, "status"), one["metadata"]["name"]
    containers = [_container(c, name) for c in status.get("containers") or []]
    counts = {verdict: int(status.get(verdict) or 0) for verdict in _COUNTS}
    return {
        "node": name,
        "heard_at": status.get("heardAt") or "",
        "tier": status.get("tier") or "",
        **counts,
        "events_lost": int(status.get("eventsLost") or 0),
        "unlisted": int(status.get("omittedContainers") or 0),
        "containers": containers,
    }


def _container(one: dict[str, Any], node: str) -> Row:
    name = str(one.get("container") or "")
    namespace, _, rest = name.rpartition("/")[0].partition("/")
    return {
        "container": name,
        "namespace": namespace if rest else "",
        "pod": rest,
        "node": node,
        "verdict": one.get("verdict") or "Unobserved",
        "grade": one.get("grade") or "",
        "verified_at": one.get("verifiedAt") or "",
        "layers_verified_at": one.get("layersVerifiedAt") or "",
        "layers_unverified_bytes": one.get("layersUnverifiedBytes"),
        "reason": one.get("reason") or "",
    }


def _policy(one: dict[str, Any]) -> Row:
    metadata, status = one["metadata"], _part(one, "status")
    accepted = next((c for c in status.get("conditions") or [] if c.get("type") == "Accepted"), None)
    if accepted is None:
        problem = "the controller has not read it yet"
    else:
        problem = "" if accepted.get("status") == "True" else str(accepted.get("message") or accepted.get("reason") or "not accepted")
    return {
        "policy": metadata["name"],
        "namespace": metadata.get("namespace") or "",
        "mode": _part(one, "spec").get("mode") or "Observe",
        "accepted": not problem,
        "problem": problem,
        "pods": int(status.get("pods") or 0),
    }


def _incident(one: dict[str, Any]) -> Row:
    metadata, status = one["metadata"], _part(one, "status")
    paths = [
        {
            "path": path.get("path") or "",
            "change": path.get("change") or "",
            "level": path.get("level") or "",
            "expected": path.get("expected") or "-",
            "actual": path.get("actual") or "-",
            "first_seen": path.get("firstSeen") or "",
            "pods": int(path.get("pods") or 0),
        }
        for path in status.get("paths") or []
    ]
    return {
        "incident": metadata["name"],
        "namespace": metadata.get("namespace") or "",
        "workload": _part(one, "spec").get("subject") or "",
        "state": status.get("state") or "Open",
        "cause": status.get("cause") or "Unknown",
        "level": status.get("level") or "",
        "explanation": status.get("explanation") or "",
        "policy": status.get("policy") or "",
        "action": status.get("action") or "",
        "first_seen": status.get("firstSeen") or "",
        "last_seen": status.get("lastSeen") or "",
        "count": int(status.get("count") or 0),
        "pods": list(status.get("pods") or []),
        "pod_count": int(status.get("podCount") or 0),
        "nodes": list(status.get("nodes") or []),
        "node_count": int(status.get("nodeCount") or 0),
        "paths": paths,
        "omitted_paths": int(status.get("omittedPaths") or 0),
        "grade": status.get("grade") or "",
        "baselines": [{key: one.get(key) or "" for key in ("key", "root", "grade")} for one in status.get("baselines") or []],
        "matters": [
            {key: matter.get(key) or "" for key in ("about", "level", "text", "since")} | {"nodes": list(matter.get("nodes") or [])}
            for matter in status.get("matters") or []
        ],
        "matter_count": int(status.get("matterCount") or 0),
    }


def _action(one: dict[str, Any]) -> Row:
    spec, status = _part(one, "spec"), _part(one, "status")
    return {
        "remediation": one["metadata"]["name"],
        "action": spec.get("action") or "",
        "phase": status.get("phase") or "Proposed",
        "message": status.get("message") or "",
        "revision": status.get("revision") or "",
        "reason": spec.get("reason") or "",
        "decided_at": spec.get("decidedAt") or "",
        "updated_at": status.get("updatedAt") or "",
    }
