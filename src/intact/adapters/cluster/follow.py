"""All that the controller follows of a cluster, each kind in a thread: nodes, pods, ReplicaSets, Deployments, policies,
and the baselines that people declare.

In: an API server. Out: a `ClusterCache` and a `DeclaredObjects` that stay true. Writes nothing.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from intact.model.errors import TemporaryError

from .api import Api
from .cache import ClusterCache
from .declared import DeclaredObjects
from .kinds import BASELINE, CLUSTER_POLICY, DEPLOYMENT, MACHINE, POD, POLICY, REPLICA_SET
from .reflector import ApiSource, Reflector
from .shapes import DeploymentShape, MachineShape, PodShape, ReplicaSetShape


class Follower:
    """`with Follower(api, cache, policies, baselines) as follower: follower.wait_synced(30)`."""

    def __init__(self, api: Api, cache: ClusterCache, policies: DeclaredObjects, baselines: DeclaredObjects) -> None:
        # Owners first: a pod whose ReplicaSet is not known yet has no Deployment.
        self._reflectors: dict[str, Reflector[Any]] = {
            "replicasets": Reflector(ApiSource(api, REPLICA_SET, ReplicaSetShape), cache.replica_sets),
            "deployments": Reflector(ApiSource(api, DEPLOYMENT, DeploymentShape), cache.deployments),
            "nodes": Reflector(ApiSource(api, MACHINE, MachineShape), cache.machines),
            "policies": Reflector(ApiSource(api, POLICY, dict[str, Any]), policies.of(POLICY)),
            "clusterpolicies": Reflector(ApiSource(api, CLUSTER_POLICY, dict[str, Any]), policies.of(CLUSTER_POLICY)),
            "baselines": Reflector(ApiSource(api, BASELINE, dict[str, Any]), baselines.of(BASELINE)),
            "pods": Reflector(ApiSource(api, POD, PodShape), cache.pods),
        }
        self._threads = [
            threading.Thread(target=reflector.run, name=f"follow-{name}", daemon=True) for name, reflector in self._reflectors.items()
        ]

    def __enter__(self) -> Follower:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for reflector in self._reflectors.values():
            reflector.stop()
        for thread in self._threads:
            thread.join(10)

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The kinds of which there is no first list yet; empty when everything is known."""
        return tuple(name for name, reflector in self._reflectors.items() if not reflector.synced.is_set())

    def wait_synced(self, timeout_s: float) -> None:
        """Raises TemporaryError naming what could not be listed in time."""
        deadline = time.monotonic() + timeout_s
        for reflector in self._reflectors.values():
            reflector.synced.wait(max(0.0, deadline - time.monotonic()))
        if self.waiting_for:
            raise TemporaryError(f"the Kubernetes API did not list {', '.join(self.waiting_for)} within {timeout_s:.0f} s")
