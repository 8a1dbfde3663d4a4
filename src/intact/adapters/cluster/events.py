"""Alerts as Kubernetes Events (events.k8s.io/v1) on the workload and on one of its pods: what `kubectl describe` and event exporters show.

In: alerts. Out: one Event an alert and object. The name is made from the alert, so that sending it again is no second Event. Alerts about
no object of the cluster (a forged report) become Events on their Node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from intact.model.alert import Alert, AlertKind
from intact.model.incident import Workload

from .api import Api, Conflict, Rejected
from .kinds import EVENT

MAX_NOTE_BYTES = 1024
"""The API's limit for `note`."""
REPORTER = "intact.dev/controller"
_API_VERSIONS = {
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "Pod": "v1",
    "ReplicationController": "v1",
    "Node": "v1",
}


class KubernetesEvents:
    """A sink of `notify`. `pod_uid(namespace, name)` knows the uid of a pod, or gives an empty one. `instance` names this replica."""

    def __init__(self, api: Api, *, instance: str, pod_uid: Callable[[str, str], str]) -> None:
        self._api, self._instance, self._pod_uid = api, instance[:128], pod_uid

    @property
    def name(self) -> str:
        return "kubernetes-events"

    def send(self, alert: Alert) -> None:
        """Raises TemporaryError when the API does not answer, PermanentError when it will not take the Event."""
        for regarding in self._regarding(alert):
            self._create(alert, regarding)

    def _regarding(self, alert: Alert) -> list[dict[str, str]]:
        if alert.workload is None:
            return [_reference(Workload(kind="Node", namespace="", name=alert.nodes[0]))] if alert.nodes else []
        found = [_reference(alert.workload)]
        pod = alert.pods[0] if alert.pods else ""
        if pod and alert.workload.kind != "Pod":
            namespace = alert.workload.namespace
            found.append(_reference(Workload(kind="Pod", namespace=namespace, name=pod, uid=self._pod_uid(namespace, pod))))
        return found

    def _create(self, alert: Alert, regarding: dict[str, str]) -> None:
        namespace = regarding.get("namespace") or "default"
        token = hashlib.sha256(f"{alert.id} {regarding['kind']} {regarding['name']}".encode()).hexdigest()[:16]
        calm = alert.kind is AlertKind.RESOLVED or (alert.kind is AlertKind.ACTION and alert.phase in ("Succeeded", "Verified"))
        body: dict[str, Any] = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": f"{regarding['name'][:200]}.{token}", "namespace": namespace},
            "eventTime": datetime.fromtimestamp(alert.at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "type": "Normal" if calm else "Warning",
            "reason": alert.kind.value if not alert.phase else f"{alert.action}{alert.phase}",
            "action": alert.action or "Observe",
            "note": alert.summary.encode()[:MAX_NOTE_BYTES].decode("utf-8", "ignore"),
            "regarding": regarding,
            "reportingController": REPORTER,
            "reportingInstance": self._instance,
        }
        try:
            self._api.create(EVENT, body)
        except Conflict as error:
            if error.code != "AlreadyExists":
                raise
        except Rejected as error:
            # Its namespace is gone, or going: nobody would look there.
            if error.status.code != 404 and "because it is being terminated" not in error.status.message:
                raise


def _reference(workload: Workload) -> dict[str, str]:
    reference = {"apiVersion": _API_VERSIONS.get(workload.kind, ""), "kind": workload.kind, "name": workload.name}
    if workload.namespace:
        reference["namespace"] = workload.namespace
    if workload.uid:
        reference["uid"] = workload.uid
    return reference
