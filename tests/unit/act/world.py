"""A cluster small enough to hold in one hand: an `Actuator` whose Deployment controller is a function."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from intact.act.ports import (
    Blocked,
    Changed,
    ContainerState,
    DeploymentState,
    Done,
    Gone,
    Owner,
    PodState,
    Reference,
    RevisionState,
    Template,
)
from intact.model.incident import Decision, PodFacts, Workload
from intact.model.policy import ActionKind
from intact.model.revision import RevisionRecord

SHA1, SHA2 = "sha256:" + "1" * 64, "sha256:" + "2" * 64
WEB = Workload(kind="Deployment", namespace="shop", name="web", uid="d1")


def template(image: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}], **spec}}


def revision(number: int, image: str, **spec: Any) -> RevisionState:
    return RevisionState(name=f"web-{number}", uid=f"r{number}", hash=f"h{number}", number=number, template=template(image, **spec))


def record(number: int, *images: str, container: str = "web") -> RevisionRecord:
    return RevisionRecord(
        workload=WEB,
        name=f"web-{number}",
        uid=f"r{number}",
        hash=f"h{number}",
        number=number,
        images=tuple((container, image) for image in images),
        first_seen=0.0,
    )


def deployment(*revisions: RevisionState, **changes: Any) -> DeploymentState:
    """A settled Deployment of two pods at the last of `revisions`."""
    state = DeploymentState(
        namespace="shop",
        name="web",
        uid="d1",
        resource_version="7",
        generation=3,
        observed_generation=3,
        paused=False,
        wanted=2,
        updated=2,
        replicas=2,
        ready=2,
        template=revisions[-1].template,
        revisions=revisions,
    )
    return replace(state, **changes)


def pod(uid: str = "p1", owner: str = "ReplicaSet", **changes: Any) -> PodState:
    state = PodState(
        uid=uid,
        namespace="shop",
        name=f"web-{uid}",
        node="node1",
        workload=WEB,
        owner=Owner(kind=owner, name="web-2", uid="r2") if owner else None,
        revision="h2",
        containers=(ContainerState(name="web", image="reg/web:2", image_id=f"reg/web@{SHA2}", started_at=110.0),),
        ready=True,
        created_at=105.0,
    )
    return replace(state, **changes)


def decision(action: ActionKind, **changes: Any) -> Decision:
    facts = PodFacts(uid="p1", namespace="shop", name="web-p1", node="node1", labels=(), workload=WEB, revision="h2")
    made = Decision(
        name="web-1",
        incident_id="i1",
        action=action,
        workload=WEB,
        pod=facts if action is ActionKind.RESTART_POD else None,
        reason="High, cause Container",
        policy="shop/web",
        at=100.0,
        target="web-1" if action is ActionKind.ROLL_BACK else "",
    )
    return replace(made, **changes)


@dataclass
class World:
    """What is there, what was asked of it, and what gets in the way."""

    pods: dict[str, PodState] = field(default_factory=dict)
    deployment: DeploymentState | None = None
    there: frozenset[Reference] = frozenset()
    hidden: frozenset[Reference] = frozenset()
    blocked_by: str = ""
    conflicts: int = 0
    evicted: list[str] = field(default_factory=list)
    patched: list[Mapping[str, Any]] = field(default_factory=list)
    waited_s: float = 0.0

    def read_pod(self, namespace: str, name: str) -> PodState | None:
        return self.pods.get(name)

    def read_deployment(self, namespace: str, name: str) -> DeploymentState | None:
        return self.deployment

    def exists(self, namespace: str, reference: Reference) -> bool | None:
        return None if reference in self.hidden else reference in self.there

    def evict_pod(self, namespace: str, name: str, uid: str) -> Done | Gone | Blocked:
        if self.blocked_by:
            return Blocked(self.blocked_by, "needs 2 healthy pods and has 2 currently")
        self.evicted.append(uid)
        return Done()

    def patch_deployment_template(
        self, namespace: str, name: str, *, uid: str, resource_version: str, template: Template
    ) -> Done | Changed:
        assert self.deployment is not None
        if self.conflicts:
            self.conflicts -= 1
            self.deployment = replace(self.deployment, resource_version=self.deployment.resource_version + "0")
        if (uid, resource_version) != (self.deployment.uid, self.deployment.resource_version):
            return Changed()
        self.patched.append(copy.deepcopy(dict(template)))
        self.deployment = replace(self.deployment, template=template, generation=self.deployment.generation + 1)
        return Done()

    def wait(self, seconds: float) -> None:
        """Time passes: the Deployment's controller makes the ReplicaSet of the template."""
        self.waited_s += seconds
        if self.deployment is not None and self.deployment.current is None:
            new = RevisionState(name="web-9", uid="r9", hash="h9", number=9, template=self.deployment.template)
            self.deployment = replace(self.deployment, revisions=(*self.deployment.revisions, new))
