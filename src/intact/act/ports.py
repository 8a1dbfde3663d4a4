"""What acting needs from the world: the state of a pod and of a Deployment, eviction, and a Deployment's template. Nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from intact.model.incident import Workload

Template: TypeAlias = Mapping[str, object]
"""A PodTemplateSpec as the API server gives it, without the `pod-template-hash` label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The controller of an object: its `ownerReferences` entry with `controller: true`."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """One container of a pod that is meant to keep running. `image` is the specified name, `image_id` what the runtime says it runs;
    `started_at` is in Unix seconds, None while it does not run."""

    name: str
    image: str
    image_id: str = ""
    started_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """A pod. `owner` None: nobody would replace it. `static`: its kubelet runs it from a file, the API shows a mirror. `revision` is the
    pod template hash, `template` also the one that a StatefulSet or DaemonSet gives. `ready_since`: since when it is ready, or is not, in
    whole seconds by its node's clock. `finished`: its phase is Succeeded or Failed."""

    uid: str
    namespace: str
    name: str
    node: str
    workload: Workload
    labels: tuple[tuple[str, str], ...] = ()
    owner: Owner | None = None
    revision: str = ""
    containers: tuple[ContainerState, ...] = ()
    init_containers: tuple[ContainerState, ...] = ()
    template: str = ""
    ready: bool = False
    ready_since: float = 0.0
    is_probed: bool = False
    terminating: bool = False
    finished: bool = False
    static: bool = False
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionState:
    """A ReplicaSet of a Deployment, that is one revision of it."""

    name: str
    uid: str
    hash: str
    number: int
    template: Template
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentState:
    """A Deployment with its revisions. `wanted` is what its spec asks for; `updated`, `replicas` and `ready` count pods: of the current
    template, of all templates, and ready ones."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    observed_generation: int
    paused: bool
    wanted: int
    updated: int
    replicas: int
    ready: int
    template: Template
    owner: Owner | None = None
    terminating: bool = False
    revisions: tuple[RevisionState, ...] = ()

    @property
    def current(self) -> RevisionState | None:
        """The revision whose template is the Deployment's: what its controller calls the new ReplicaSet. None until it made one."""
        same = [r for r in self.revisions if r.template == self.template]
        return max(same, key=lambda r: r.number, default=None)


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """An object of the same namespace that a template needs: `kind` is ConfigMap or Secret."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Done:
    """The API server took it."""


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no such pod any more: that uid at least."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """A PodDisruptionBudget does not allow it now. `budget` is its name, empty if the server did not say; `message` is the server's."""

    budget: str
    message: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The object is not any more what the preconditions say."""


class Actuator(Protocol):
    """The hands. Every method may raise TemporaryError (also when this process may not act any more) and PermanentError (no right)."""

    def read_pod(self, namespace: str, name: str) -> PodState | None: ...

    def read_deployment(self, namespace: str, name: str) -> DeploymentState | None: ...

    def exists(self, namespace: str, reference: Reference) -> bool | None:
        """None: it may not be looked at."""

    def evict_pod(self, namespace: str, name: str, uid: str) -> Done | Gone | Blocked:
        """Through the Eviction API only, and only the pod of that uid."""

    def patch_deployment_template(
        self, namespace: str, name: str, *, uid: str, resource_version: str, template: Template
    ) -> Done | Changed:
        """Replaces the pod template and nothing else, if the object still has `uid` and `resource_version`."""
