"""The controller: the cluster's half of the flow, wired to Kubernetes, its store, its API and its sinks.

1. Holding the Lease, it opens its state and keys. 2. It follows the cluster until its caches are complete. 3. It publishes its certificate
for agents to pin, and serves. 4. The flow runs. What ends any of its threads ends the process.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from intact.adapters.cluster.actuator import KubernetesActuator
from intact.adapters.cluster.api import Api
from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.cluster.events import KubernetesEvents
from intact.adapters.cluster.follow import Follower
from intact.adapters.cluster.identity import AccessReviewer, TokenReviewer
from intact.adapters.cluster.keystore import SecretStore
from intact.adapters.cluster.lease import LeaderElection
from intact.adapters.cluster.objects import Objects
from intact.adapters.cluster.policies import PolicyStore
from intact.audit.steps import record_policy
from intact.baseline.trust import TrustRoot
from intact.decide.summary import summarise_paths
from intact.notify.router import Router

from .baselines import ClusterBaselines, open_store
from .certificates import Certificates
from .cluster_flow import ClusterFlow
from .delivery import start_delivery
from .images import ImageReader
from .kubernetes import KubernetesWorld
from .memory import make_router, open_state
from .own_keys import OwnKeys
from .people import People
from .policies import Change, PolicyBook, is_weaker, show_policies
from .registries import read_registries
from .settings import ControllerSettings
from .sinks import open_sinks
from .trust import TrustDirectory
from .web.app import make_app
from .web.server import ApiServer

log = structlog.get_logger()

LEASE_NAME = "intact-controller"
SYNC_TIMEOUT_S = 120.0


def run_controller(settings: ControllerSettings, stop: threading.Event) -> None:
    """Runs until `stop` is set. Raises IntactError where it cannot begin."""
    api = Api()
    election = LeaderElection(api, namespace=settings.namespace, name=LEASE_NAME, identity=settings.identity)
    api.fence = election.check
    threads = _Threads(stop)
    threads.start("lease", election.run)
    try:
        while not election.is_acting and not stop.wait(0.05):
            pass
        if not stop.is_set():
            _Controller(settings, api, election, threads).run(stop)
    finally:
        stop.set()
        election.stop()
        threads.join()


class _Controller:
    """Everything of the one replica that acts."""

    def __init__(self, settings: ControllerSettings, api: Api, election: LeaderElection, threads: _Threads) -> None:
        self._settings, self._api, self._election, self._threads = settings, api, election, threads
        # 1
        self._state = open_state(settings.state_dir)
        self._trust = TrustDirectory(settings.trust_dir, remembered=settings.state_dir / "trust")
        self._keys = OwnKeys(
            SecretStore(api, settings.namespace), people=self._trust.read, now=time.time(), rotate_after_s=settings.rotate_keys_after_s
        )
        store = open_store(settings.state_dir / "baselines", self._keys, self._read_trust, retired=self._keys.retired)
        self._library = ClusterBaselines(store, self._keys, access=read_registries(settings.registries_file), trust=self._read_trust)
        self._cache = ClusterCache()
        self._objects = Objects(api)
        self._declared = PolicyStore(on_change=lambda: self._policies.refresh())
        self._policies = PolicyBook(self._declared.declared, on_change=self._record_policy)

    def run(self, stop: threading.Event) -> None:
        with Follower(self._api, self._cache, self._declared) as follower, TemporaryDirectory(prefix="intact-tls-") as directory:
            follower.wait_synced(SYNC_TIMEOUT_S)  # 2
            router = self._make_router()
            flow = self._make_flow(router)
            # 3
            certificates = Certificates(
                self._api,
                namespace=self._settings.namespace,
                service=self._settings.service,
                directory=Path(directory),
                pinned=self._pin,
            )
            certificates.renew()
            server = self._make_server(flow, certificates)
            server.start()
            log.info("controller_started", port=server.port, policies=len(self._policies.all()))
            # 4
            reader = ImageReader(self._cache, self._library, self._objects, self._state.audit, learn=flow.learn)
            self._threads.start("images", lambda: reader.run(stop))
            self._threads.start("policies", lambda: show_policies(self._policies, self._cache, self._objects, stop))
            self._threads.start("certificates", lambda: certificates.keep(server, stop))
            senders = start_delivery(router, stop)
            try:
                flow.run(stop)
            finally:
                stop.set()
                server.stop()
                for sender in senders:
                    sender.join(timeout=5)

    def _make_router(self) -> Router:
        sinks = open_sinks(
            syslog=self._settings.syslog,
            webhook=self._settings.webhook_url,
            webhook_secret=self._settings.webhook_secret,
            hostname=self._settings.identity,
        )
        sinks.append(KubernetesEvents(self._api, instance=self._settings.identity, pod_uid=self._find_pod))
        return make_router(self._state, sinks)

    def _make_flow(self, router: Router) -> ClusterFlow:
        world = KubernetesWorld(
            cache=self._cache,
            actuator=KubernetesActuator(self._api, self._cache),
            objects=self._objects,
            policies=self._policies,
            summarize=summarise_paths,
            own_namespace=self._settings.namespace,
        )
        return ClusterFlow(world=world, memory=self._state.memory, audit=self._state.audit, router=router, library=self._library)

    def _make_server(self, flow: ClusterFlow, certificates: Certificates) -> ApiServer:
        settings = self._settings
        reviewer = TokenReviewer(self._api, self._cache, namespace=settings.namespace, service_account=settings.agent_service_account)
        access = AccessReviewer(self._api)
        app = make_app(
            flow,
            People(flow, self._state),
            identify=reviewer.identify,
            authorize=lambda token, wish: access.authorize(token, verb=wish.verb, resource=wish.resource, namespace=wish.namespace),
            ready=lambda: "" if self._election.is_acting else "another replica acts",
        )
        return ApiServer(app, host=settings.listen_host, port=settings.listen_port, certificate=certificates.chain, key=certificates.key)

    def _pin(self) -> Mapping[str, bytes]:
        """What agents and auditors pin, as it is now: called about once a minute."""
        self._keys.turn(time.time())
        return {"trust.json": self._keys.published(), "audit.pub": (self._settings.state_dir / "audit.pub").read_bytes()}

    def _read_trust(self) -> TrustRoot:
        """Whom people trust. What they revoked once stays revoked, whatever they say now: the controller's keys remember it."""
        return self._trust.read().without(self._keys.revoked_ids)

    def _find_pod(self, namespace: str, name: str) -> str:
        return next((pod.uid for pod in self._cache.all_pods() if (pod.namespace, pod.name) == (namespace, name)), "")

    def _record_policy(self, change: Change) -> None:
        before, after = change
        one = after or before
        assert one is not None
        leaf = record_policy(
            kind=one.kind.kind,
            namespace=one.namespace,
            name=one.name,
            generation=one.generation,
            verb="Added" if before is None else "Deleted" if after is None else "Modified",
            mode=one.policy.mode.value if one.policy else "",
            spec=json.dumps(one.spec, sort_keys=True).encode(),
            by="",
            weakened=is_weaker(change),
            now=time.time(),
        )
        self._state.audit.append([leaf])


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
