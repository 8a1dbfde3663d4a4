"""The hands of `act` in a real cluster: `act.ports.Actuator` on the Kubernetes API.

In: names with uids and resource versions. Out: evictions, and the pod template of a Deployment; nothing else is ever written here.
Reads are fresh from the API server, never from a cache: what is decided on must be what is there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from intact.act.ports import (
    Blocked,
    Changed,
    DeploymentState,
    Done,
    Gone,
    PodState,
    Reference,
    RevisionState,
    Template,
)
from intact.act.template import without_hash
from intact.model.errors import PermanentError

from .api import Answered, Api, Busy, Conflict, Object, Rejected
from .cache import ClusterCache
from .kinds import CONFIG_MAP, DEPLOYMENT, POD, REPLICA_SET, SECRET
from .shapes import HASH_LABEL, Metadata, PodShape, pod_state

_KINDS = {"ConfigMap": CONFIG_MAP, "Secret": SECRET}


class KubernetesActuator:
    """`cache` is asked only who owns a pod's ReplicaSet."""

    def __init__(self, api: Api, cache: ClusterCache) -> None:
        self._api, self._cache = api, cache

    def read_pod(self, namespace: str, name: str) -> PodState | None:
        found = self._api.get(POD, name, namespace)
        return None if found is None else self._cache.resolve(pod_state(msgspec.convert(found, PodShape)))

    def read_deployment(self, namespace: str, name: str) -> DeploymentState | None:
        found = self._api.get(DEPLOYMENT, name, namespace)
        if found is None:
            return None
        spec, status = found["spec"], found.get("status") or {}
        meta = msgspec.convert(found["metadata"], Metadata)
        return DeploymentState(
            namespace=namespace,
            name=name,
            uid=meta.uid,
            resource_version=meta.resourceVersion,
            generation=meta.generation,
            observed_generation=status.get("observedGeneration", 0),
            paused=bool(spec.get("paused", False)),
            wanted=spec.get("replicas", 1),
            updated=status.get("updatedReplicas", 0),
            replicas=status.get("replicas", 0),
            ready=status.get("readyReplicas", 0),
            template=spec["template"],
            owner=meta.owner,
            terminating=meta.deletionTimestamp is not None,
            revisions=tuple(self._revisions(namespace, meta.uid, spec.get("selector") or {})),
        )

    def exists(self, namespace: str, reference: Reference) -> bool | None:
        try:
            return self._api.get(_KINDS[reference.kind], reference.name, namespace, metadata_only=True) is not None
        except Rejected as error:
            if error.status.code == 403:
                return None
            raise

    def evict_pod(self, namespace: str, name: str, uid: str) -> Done | Gone | Blocked:
        """Eviction of policy/v1 with the uid as precondition. 429 with the cause `DisruptionBudget` is a budget; 429 without is a busy
        server. A pod under two budgets cannot be evicted at all: the server says so with 500, and that stays so."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        try:
            self._api.create_sub(POD, name, namespace, "eviction", body)
        except Conflict:
            return Gone()
        except Busy as error:
            budget = _disruption_budget(error)
            if budget is not None:
                return budget
            if "more than one PodDisruptionBudget" in error.status.message:
                raise PermanentError(f"pod {namespace}/{name} cannot be evicted: {error.status.message}", code="TwoBudgets") from error
            raise
        except Rejected as error:
            if error.status.code == 404:
                return Gone()
            raise
        return Done()

    def patch_deployment_template(
        self, namespace: str, name: str, *, uid: str, resource_version: str, template: Template
    ) -> Done | Changed:
        """A JSON patch: two tests as preconditions, then the whole template replaced (a merge would keep what the target does not have)."""
        operations: list[Object] = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version},
            {"op": "replace", "path": "/spec/template", "value": dict(template)},
        ]
        try:
            self._api.patch(DEPLOYMENT, name, namespace, operations)
        except Conflict:
            return Changed()
        except Rejected as error:
            # A failed test is 422 without details of a field; an object that admission or validation refuses names its fields or webhook.
            if error.status.code == 404 or (error.status.code == 422 and not error.status.details):
                return Changed()
            raise
        return Done()

    def _revisions(self, namespace: str, uid: str, selector: dict[str, Any]) -> list[RevisionState]:
        found = []
        for one in self._api.list_all(REPLICA_SET, namespace, labels=_selector(selector)):
            meta = msgspec.convert(one["metadata"], Metadata)
            if meta.owner is None or meta.owner.uid != uid:
                continue
            number = (meta.annotations.revision if meta.annotations else None) or "0"
            found.append(
                RevisionState(
                    name=meta.name,
                    uid=meta.uid,
                    hash=(meta.labels or {}).get(HASH_LABEL, ""),
                    number=int(number) if number.isascii() and number.isdigit() else 0,
                    template=without_hash(one["spec"]["template"]),
                    created_at=meta.creationTimestamp.timestamp() if meta.creationTimestamp else 0.0,
                )
            )
        return found


def _disruption_budget(error: Answered) -> Blocked | None:
    causes = (error.status.details or {}).get("causes") or []
    for cause in causes:
        if cause.get("reason") == "DisruptionBudget":
            message = str(cause.get("message", "")) or error.status.message
            # "The disruption budget NAME needs 2 healthy pods and has 2 currently" (registry/core/pod/storage/eviction.go)
            words = message.split()
            name = words[3] if words[:3] == ["The", "disruption", "budget"] and len(words) > 3 else ""
            return Blocked(name, message)
    return None


def _selector(selector: dict[str, Any]) -> str:
    """The equality part of a LabelSelector as the API's query: it narrows the list, ownership decides."""
    return ",".join(f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items()))
