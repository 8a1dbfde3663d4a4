"""The controller: the cluster's half of the flow, wired to Kubernetes, its store, its API and its sinks.

1. Its state and keys are opened; its certificate is published for agents to pin. 2. Reflectors follow the cluster. 3. The API serves, and
is ready once the caches are complete and this replica holds the Lease. 4. The flow runs. What ends any of its threads ends the process.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from intact.adapters.cluster.actuator import KubernetesActuator
from intact.adapters.cluster.api import Api
from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.cluster.events import KubernetesEvents
from intact.adapters.cluster.identity import AccessReviewer, TokenReviewer
from intact.adapters.cluster.keystore import SecretStore, publish_pinned
from intact.adapters.cluster.kinds import CLUSTER_POLICY, DEPLOYMENT, POD, POLICY, REPLICA_SET
from intact.adapters.cluster.lease import LeaderElection
from intact.adapters.cluster.objects import Objects
from intact.adapters.cluster.policies import KnownPolicy, PolicyCache
from intact.adapters.cluster.reflector import ApiSource, Reflector
from intact.adapters.cluster.revisions import pulled_image
from intact.adapters.cluster.shapes import DeploymentShape, PodShape, ReplicaSetShape
from intact.adapters.keys.tls import ensure_serving
from intact.audit.steps import record_baseline, record_policy
from intact.decide.govern import govern
from intact.decide.grammar import parse_policy
from intact.decide.summary import summarise_paths
from intact.model.errors import IntactError, TemporaryError
from intact.model.policy import Mode

from .baselines import ClusterBaselines, open_own_key, open_store
from .cluster_flow import ClusterFlow
from .delivery import start_delivery
from .kubernetes import KubernetesWorld
from .memory import ClusterState, make_router, open_state
from .people import People
from .settings import ControllerSettings
from .sinks import open_sinks
from .web.app import make_app
from .web.server import ApiServer

log = structlog.get_logger()

LEASE_NAME = "intact-controller"
IMAGES_EVERY_S = 2.0
RETRY_IMAGE_S = 60.0
STATUS_EVERY_S = 10.0
SYNC_TIMEOUT_S = 120.0


def run_controller(settings: ControllerSettings, stop: threading.Event) -> None:
    """Runs until `stop` is set. Raises IntactError where it cannot begin."""
    election: LeaderElection
    api = Api(fence=lambda: election.check())
    election = LeaderElection(api, namespace=settings.namespace, name=LEASE_NAME, identity=settings.identity)
    threads = _Threads(stop)
    threads.start("lease", election.run)
    _wait_for("the Lease", lambda: election.is_acting, stop)
    # 1
    state = open_state(settings.state_dir)
    signer = open_own_key(settings.state_dir / "baselines" / "own")
    store = open_store(settings.state_dir / "baselines", signer)
    library = ClusterBaselines(store, signer, insecure=frozenset(settings.insecure_registries))
    # 2
    cache = ClusterCache()
    policies = PolicyCache(parse_policy, on_change=lambda before, after: _record_policy(state, before, after))
    reflectors: list[Reflector[Any]] = [
        Reflector(ApiSource(api, POD, PodShape), cache.pods),
        Reflector(ApiSource(api, REPLICA_SET, ReplicaSetShape), cache.replica_sets),
        Reflector(ApiSource(api, DEPLOYMENT, DeploymentShape), cache.deployments),
        Reflector(ApiSource(api, POLICY, dict), policies.namespaced),
        Reflector(ApiSource(api, CLUSTER_POLICY, dict), policies.clustered),
    ]
    for reflector in reflectors:
        threads.start("reflector", reflector.run)
    _wait_for("the first list of pods, workloads and policies", lambda: all(r.synced.is_set() for r in reflectors), stop)
    # 3
    objects = Objects(api)
    sinks = open_sinks(
        syslog=settings.syslog, webhook=settings.webhook_url, webhook_secret=settings.webhook_secret, hostname=settings.identity
    )
    sinks.append(KubernetesEvents(api, instance=settings.identity, pod_uid=lambda namespace, name: _find_uid(cache, namespace, name)))
    router = make_router(state, sinks)
    flow = ClusterFlow(
        world=KubernetesWorld(
            cache=cache,
            actuator=KubernetesActuator(api, cache),
            objects=objects,
            policies=policies,
            summarize=summarise_paths,
            own_namespace=settings.namespace,
        ),
        memory=state.memory,
        audit=state.audit,
        router=router,
        library=library,
    )
    reviewer = TokenReviewer(api, cache, namespace=settings.namespace, service_account=settings.agent_service_account)
    access = AccessReviewer(api)
    app = make_app(
        flow,
        People(flow, state),
        identify=reviewer.identify,
        authorize=lambda token, wish: access.authorize(token, verb=wish.verb, resource=wish.resource, namespace=wish.namespace),
        ready=lambda: "" if election.is_acting else "another replica acts",
    )
    with TemporaryDirectory(prefix="intact-tls-") as directory:
        certificates = _Certificates(
            api,
            settings,
            Path(directory),
            pinned={"baseline.pub": _public(settings, "baselines/own"), "audit.pub": _public(settings, "audit")},
        )
        certificates.renew()
        server = ApiServer(app, host=settings.listen_host, port=settings.listen_port, certificate=certificates.chain, key=certificates.key)
        server.start()
        log.info("controller_started", port=server.port, policies=len(policies.all()))
        # 4
        senders = start_delivery(router, stop)
        threads.start("images", lambda: _compute_baselines(cache, library, objects, state, stop))
        threads.start("policies", lambda: _show_policies(cache, policies, objects, stop))
        threads.start("certificates", lambda: certificates.keep(server, stop))
        try:
            flow.run(stop)
        finally:
            stop.set()
            server.stop()
            for sender in senders:
                sender.join(timeout=5)
            for reflector in reflectors:
                reflector.stop()
            election.stop()
            threads.join()


class _Threads:
    """Threads whose end by an error is the end of the process."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._threads: list[threading.Thread] = []

    def start(self, name: str, work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException:
                log.exception("thread_died", thread=name)
                self._stop.set()
                raise

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=5)


class _Certificates:
    """The serving certificate on disk, and what agents pin of it in the cluster."""

    def __init__(self, api: Api, settings: ControllerSettings, directory: Path, *, pinned: dict[str, bytes]) -> None:
        self._api, self._namespace, self._pinned = api, settings.namespace, pinned
        self._store = SecretStore(api, settings.namespace)
        service = f"{settings.service}.{settings.namespace}"
        self._names = (f"{service}.svc", service, f"{service}.svc.cluster.local", settings.service)
        self.chain, self.key = directory / "tls.crt", directory / "tls.key"
        self._renew_at = 0.0

    def renew(self) -> None:
        serving = ensure_serving(self._store, self._names, time.time())
        self.key.touch(mode=0o600)
        self.key.write_bytes(serving.key)
        self.chain.write_bytes(serving.chain)
        publish_pinned(self._api, self._namespace, {"ca.crt": serving.ca_bundle, **self._pinned})
        self._renew_at = serving.renew_at

    def keep(self, server: ApiServer, stop: threading.Event) -> None:
        while not stop.wait(60.0):
            if time.time() >= self._renew_at:
                try:
                    self.renew()
                    server.reload_certificate()
                except TemporaryError as error:
                    log.warning("certificate_not_renewed", reason=str(error))


def _wait_for(what: str, holds: Callable[[], bool], stop: threading.Event) -> None:
    deadline = time.monotonic() + SYNC_TIMEOUT_S
    while not holds():
        if stop.wait(0.05):
            return
        if time.monotonic() > deadline and what != "the Lease":
            raise TemporaryError(f"{what} did not come within {SYNC_TIMEOUT_S:.0f} s")


def _public(settings: ControllerSettings, stem: str) -> bytes:
    return (settings.state_dir / f"{stem}.pub").read_bytes()


def _find_uid(cache: ClusterCache, namespace: str, name: str) -> str:
    return next((pod.uid for pod in cache.all_pods() if (pod.namespace, pod.name) == (namespace, name)), "")


def _record_policy(state: ClusterState, before: KnownPolicy | None, after: KnownPolicy | None) -> None:
    one = after or before
    assert one is not None
    verb = "Added" if before is None else "Deleted" if after is None else "Modified"
    leaf = record_policy(
        kind=one.kind.kind,
        namespace=one.namespace,
        name=one.name,
        generation=one.generation,
        verb=verb,
        mode=one.policy.mode.value if one.policy else "",
        spec=json.dumps(one.spec, sort_keys=True).encode(),
        by="",
        weakened=_is_weaker(before, after),
        now=time.time(),
    )
    state.audit.append([leaf])


_STRICTNESS = {Mode.OFF: 0, Mode.OBSERVE: 1, Mode.ENFORCE: 2}


def _is_weaker(before: KnownPolicy | None, after: KnownPolicy | None) -> bool:
    """Whether the mode does less than before: of a policy that was deleted, broken or turned down; without one, pods are observed."""
    was = before.policy.mode if before and before.policy else Mode.OBSERVE
    now = after.policy.mode if after and after.policy else Mode.OBSERVE
    return _STRICTNESS[now] < _STRICTNESS[was]


def _compute_baselines(
    cache: ClusterCache, library: ClusterBaselines, objects: Objects, state: ClusterState, stop: threading.Event
) -> None:
    """Reads every image that runs from its registry, once. What cannot be read is tried again; until then the node's word counts."""
    done: set[str] = set()
    retry_at: dict[str, float] = {}
    while not stop.wait(IMAGES_EVERY_S):
        wanted = {pulled_image(c) for pod in cache.all_pods() for c in (*pod.init_containers, *pod.containers)} - {""} - done
        for reference in sorted(wanted):
            now = time.time()
            if stop.is_set() or now < retry_at.get(reference, 0.0):
                continue
            try:
                baseline = library.compute(reference)
                entries = sum(len(layer) for layer in baseline.layers)
                objects.put_baseline(baseline, entries, now)
            except IntactError as error:
                log.warning("image_not_read", image=reference, reason=str(error))
                retry_at[reference] = now + RETRY_IMAGE_S
                continue
            done.add(reference)
            log.info("baseline", image=reference, key=str(baseline.key), entries=entries, grade=baseline.grade.title)
            leaf = record_baseline(
                key=baseline.key,
                root=baseline.root,
                grade=baseline.grade,
                source=baseline.source,
                aliases=baseline.aliases,
                entries=entries,
                now=now,
            )
            state.audit.append([leaf])


def _show_policies(cache: ClusterCache, policies: PolicyCache, objects: Objects, stop: threading.Event) -> None:
    """Tells each policy's author whether it is in force, and on how many pods."""
    changed_at: dict[tuple[str, str, str, bool], str] = {}
    while True:
        in_force = policies.all()
        governed: dict[str, int] = {}
        for pod in cache.all_pods():
            name = str(govern(pod.namespace, pod.labels, in_force))
            governed[name] = governed.get(name, 0) + 1
        for known in policies.known():
            key = (known.kind.kind, known.namespace, known.name, known.policy is not None)
            since = changed_at.setdefault(key, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
            pods = governed.get(str(known.policy), 0) if known.policy else 0
            try:
                objects.put_policy_status(
                    known.kind, known.name, known.namespace, generation=known.generation, pods=pods, problem=known.problem,
                    changed_at=since, now=time.time(),
                )  # fmt: skip
            except IntactError as error:
                log.info("policy_status_not_written", policy=known.name, reason=str(error))
        if stop.wait(STATUS_EVERY_S):
            return
