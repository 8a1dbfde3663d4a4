"""The controller: the cluster's half of the flow, wired to Kubernetes, its store, its API and its sinks.

1. It opens its state and keys: with a store of its own only when it holds the Lease; with a database that others share, at once. 2. It
follows the cluster until its caches are complete. 3. It publishes its certificate for agents to pin, and serves. 4. Holding the Lease, it
acts: the flow runs. What ends any of its threads ends the process, and so does another replica that begins to act.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import structlog

from intact.adapters.cluster.actuator import KubernetesActuator
from intact.adapters.cluster.api import Api
from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.cluster.declared import DeclaredObjects
from intact.adapters.cluster.events import KubernetesEvents
from intact.adapters.cluster.follow import Follower
from intact.adapters.cluster.identity import AccessReviewer, TokenReviewer
from intact.adapters.cluster.keystore import SecretStore
from intact.adapters.cluster.lease import LeaderElection
from intact.adapters.cluster.objects import Objects
from intact.adapters.sigstore.identities import SigstoreIdentities
from intact.adapters.store.inbox import SqlCommands, SqlInbox, SqlTerms, TermTransactions
from intact.adapters.store.served import SqlServed
from intact.baseline.store import BaselineStore
from intact.baseline.trust import TrustRoot
from intact.decide.summary import summarise_paths
from intact.model.digest import Digest
from intact.model.errors import TemporaryError
from intact.notify.router import Router
from intact.run.registries import open_signatures, read_registries
from intact.run.settings import ControllerSettings
from intact.run.storage.memory import make_router, open_state
from intact.run.storage.open import open_baseline_files
from intact.run.storage.own_keys import OwnKeys
from intact.run.threads import Threads
from intact.run.trust import TrustDirectory
from intact.run.web.app import make_app
from intact.run.web.server import ApiServer

from .acting import CommandWriter, InboxReader, watch_term
from .baselines import ClusterBaselines
from .casebook import Memory
from .certificates import Certificates
from .delivery import start_delivery
from .flow import ClusterFlow
from .housekeeping import BaselineKeeper
from .image_trust import ImageTrust, list_running
from .images import ImageReader, running_images
from .kubernetes import KubernetesWorld
from .people import People
from .policies import PolicyBook, show_policies
from .policy_record import PolicyRecord
from .replica import ReplicaSide, SharedCommands, warm_library
from .shared_keys import share_audit_key
from .shown_baselines import ShownBaselines, existing_keys
from .sinks import open_sinks
from .supplied import SuppliedBaselines, read_declarations

log = structlog.get_logger()

LEASE_NAME = "intact-controller"
SYNC_TIMEOUT_S = 120.0
RETRY_S = 0.5
T = TypeVar("T")


def run_controller(settings: ControllerSettings, stop: threading.Event) -> None:
    """Runs until `stop` is set. Raises IntactError where it cannot begin."""
    api = Api()
    election = LeaderElection(api, namespace=settings.namespace, name=LEASE_NAME, identity=settings.identity)
    api.fence = election.check
    threads = Threads(stop)
    threads.start("lease", election.run)
    try:
        if settings.database_url or _wait_to_act(election, stop):
            controller = _Controller(settings, api, election, threads, stop)
            if not stop.is_set():
                controller.run(stop)
    finally:
        stop.set()
        election.stop()
        threads.join()


def _wait_to_act(election: LeaderElection, stop: threading.Event) -> bool:
    """Whether this replica acts now; False only when `stop` was set."""
    while not election.is_acting and not stop.wait(0.05):
        pass
    return not stop.is_set()


def _retry(work: Callable[[], T], stop: threading.Event) -> T:
    """What another replica must have done first is tried until it has. Raises TemporaryError when `stop` is set."""
    told = ""
    while True:
        try:
            return work()
        except TemporaryError as error:
            if str(error) != told:
                told = str(error)
                log.info("waiting", reason=told)
            if stop.wait(RETRY_S):
                raise


class _Controller:
    """Everything of one replica."""

    def __init__(self, settings: ControllerSettings, api: Api, election: LeaderElection, threads: Threads, stop: threading.Event) -> None:
        self._settings, self._api, self._election, self._threads = settings, api, election, threads
        self._is_shared = bool(settings.database_url)
        # 1
        secrets = SecretStore(api, settings.namespace)
        if self._is_shared:
            share_audit_key(secrets, settings.state_dir, may_make=lambda: election.is_acting, stop=stop)
        self._state = open_state(settings.state_dir, settings.database_url)
        self._trust = TrustDirectory(settings.trust_dir, remembered=settings.state_dir / "trust")
        self._keys = _retry(
            lambda: OwnKeys(secrets, people=self._trust.read, now=time.time(), rotate_after_s=settings.rotate_keys_after_s), stop
        )
        self._files = open_baseline_files(settings.state_dir, self._state.database, settings.objects)
        store = BaselineStore(self._files, signer=self._keys, retired=self._keys.retired, trust=self._read_trust)
        access = read_registries(settings.registries_file)
        self._supplied = _retry(
            lambda: SuppliedBaselines(
                settings.state_dir / "supplied",
                self._keys,
                served=SqlServed(self._state.database),
                access=access,
                trust=self._read_trust,
                retired=self._keys.retired,
            ),
            stop,
        )
        self._library = ClusterBaselines(
            store, self._keys, access=access, trust=self._read_trust, supplied=self._supplied, algorithms=settings.algorithms
        )
        self._cache = ClusterCache()
        self._objects = Objects(api)
        self._declared = DeclaredObjects(on_change=lambda: self._policies.refresh())
        self._declared_baselines = DeclaredObjects()
        self._flow: ClusterFlow | None = None
        self._policies = PolicyBook(self._declared.declared, on_change=lambda change: self._policy_record.add(change))
        self._policy_record = PolicyRecord(self._state.audit)
        self._image_trust = ImageTrust(
            pods=lambda: list_running(self._cache),
            policies=self._policies.all,
            fetch=lambda reference: open_signatures(reference, access),
            revoked=lambda: {one.id: f"was revoked: {one.reason}" for one in self._read_trust().revoked},
            revisions=self._state.memory.revisions.of,
            identities=SigstoreIdentities(settings.sigstore_trusted_root),
            contradicted=self._library.contradicted,
        )

    def run(self, stop: threading.Event) -> None:
        following = Follower(self._api, self._cache, self._declared, self._declared_baselines)
        with following as follower, TemporaryDirectory(prefix="intact-tls-") as directory:
            follower.wait_synced(SYNC_TIMEOUT_S)  # 2
            world, router = self._make_world(), self._make_router()
            flow = None if self._is_shared else self._make_flow(world, router, self._state.memory)
            side = flow or self._make_side(world, router, stop)
            # 3
            certificates = Certificates(
                self._api,
                namespace=self._settings.namespace,
                service=self._settings.service,
                directory=Path(directory),
                pinned=self._pin,
            )
            _retry(certificates.renew, stop)
            server = self._make_server(side, certificates)
            server.start()
            log.info("controller_started", port=server.port, policies=len(self._policies.all()))
            self._threads.start("certificates", lambda: certificates.keep(server, stop))
            self._threads.start("supplied", lambda: self._follow_supplied(stop))
            try:
                # 4
                if self._wait_to_act(stop):
                    self._act(flow or self._take_over(world, router, stop), router, stop)
            finally:
                stop.set()
                server.stop()

    def _wait_to_act(self, stop: threading.Event) -> bool:
        """Meanwhile a replica has at hand what it hands out: computed, or out of the bucket where the one that acts stores it for all."""
        acting = threading.Event()
        if not self._election.is_acting:
            obtain = self._library.compute if self._settings.objects is None else self._library.find
            warmer = threading.Thread(target=warm_library, args=(self._cache, obtain, acting, stop), name="warmer", daemon=True)
            warmer.start()
        try:
            return _wait_to_act(self._election, stop)
        finally:
            acting.set()

    def _take_over(self, world: KubernetesWorld, router: Router, stop: threading.Event) -> ClusterFlow:
        """From now on this replica takes in what all of them stored."""
        database, audit = self._state.database, self._state.audit
        terms = SqlTerms(database)
        term = _retry(lambda: terms.begin(self._settings.identity, time.time()), stop)
        log.info("acting", term=term)
        flow = self._make_flow(world, router, replace(self._state.memory, transactions=TermTransactions(database, term)))
        reader = InboxReader(flow, SqlInbox(database), database, audit)
        writer = CommandWriter(flow, SqlCommands(database))
        self._threads.start("term", lambda: watch_term(terms, term, stop))
        self._threads.start("inbox", lambda: reader.run(stop))
        self._threads.start("command-writer", lambda: writer.run(stop))
        return flow

    def _act(self, flow: ClusterFlow, router: Router, stop: threading.Event) -> None:
        self._policy_record.begin(self._policies.known())
        self._flow = flow
        reader = ImageReader(
            self._cache, self._library, self._state.audit, learn=flow.learn, revoked=lambda: self._read_trust().revoked_ids
        )
        self._threads.start("images", lambda: reader.run(stop))
        shown = ShownBaselines(
            cache=self._cache,
            library=self._library,
            objects=self._objects,
            statuses=flow.status,
            dispute_of=flow.dispute_of,
            judged=self._supplied.judged,
            existing=lambda: existing_keys(self._declared_baselines),
        )
        self._threads.start("baselines", lambda: shown.run(stop))
        self._threads.start("image-trust", lambda: self._image_trust.run(flow.hold, stop))
        keeper = BaselineKeeper(self._files, needed=self._find_needed, audit=self._state.audit, retain_s=self._settings.retain_baselines_s)
        self._threads.start("housekeeping", lambda: keeper.run(stop))
        self._threads.start("policies", lambda: show_policies(self._policies, self._cache, self._objects, stop))
        self._threads.start("policy-record", lambda: self._policy_record.run(stop))
        senders = start_delivery(router, stop)
        try:
            flow.run(stop)
        finally:
            stop.set()
            for sender in senders:
                sender.join(timeout=5)

    def _find_needed(self) -> set[str]:
        """The images that run, as the cluster and as the nodes name them, and those that a rollback may go to."""
        assert self._flow is not None, "only the acting replica keeps house"
        running = {reference for reference, _ in running_images(self._cache)}
        seen = {str(covered.container.image_key) for status in self._flow.status() for covered in status.coverage}
        revisions = (one for one in self._state.memory.revisions.list_all() if self._cache.deployment(one.workload.uid) is not None)
        return running | seen | {image for revision in revisions for _, image in revision.images}

    def _follow_supplied(self, stop: threading.Event) -> None:
        """What people declare of baselines: followed by every replica, each hands out baselines."""

        def changed(key: Digest) -> None:
            self._library.forget(key)
            if self._flow is not None:
                self._flow.learn(key)

        self._supplied.run(lambda: read_declarations(self._declared_baselines), self._library.computed, changed, stop)

    def _make_router(self) -> Router:
        sinks = open_sinks(
            syslog=self._settings.syslog,
            webhook=self._settings.webhook_url,
            webhook_secret=self._settings.webhook_secret,
            hostname=self._settings.identity,
        )
        sinks.append(KubernetesEvents(self._api, instance=self._settings.identity, pod_uid=self._find_pod))
        return make_router(self._state, sinks)

    def _make_world(self) -> KubernetesWorld:
        return KubernetesWorld(
            cache=self._cache,
            actuator=KubernetesActuator(self._api, self._cache),
            objects=self._objects,
            policies=self._policies,
            summarize=summarise_paths,
            own_namespace=self._settings.namespace,
        )

    def _make_flow(self, world: KubernetesWorld, router: Router, memory: Memory) -> ClusterFlow:
        return ClusterFlow(
            world=world,
            memory=memory,
            audit=self._state.audit,
            router=router,
            library=self._library,
            is_signed=self._image_trust.is_signed,
            corroborating_nodes=self._settings.corroborating_nodes,
        )

    def _make_side(self, world: KubernetesWorld, router: Router, stop: threading.Event) -> ReplicaSide:
        database = self._state.database
        commands = SharedCommands(SqlCommands(database), database)
        self._threads.start("commands", lambda: commands.follow(stop))
        return ReplicaSide(
            world=world,
            memory=self._state.memory,
            inbox=SqlInbox(database),
            audit=self._state.audit,
            router=router,
            library=self._library,
            commands=commands,
        )

    def _make_server(self, side: ClusterFlow | ReplicaSide, certificates: Certificates) -> ApiServer:
        settings = self._settings
        reviewer = TokenReviewer(self._api, self._cache, namespace=settings.namespace, service_account=settings.agent_service_account)
        access = AccessReviewer(self._api)
        app = make_app(
            side,
            People(side, self._state),
            identify=reviewer.identify,
            authorize=lambda token, wish: access.authorize(token, verb=wish.verb, resource=wish.resource, namespace=wish.namespace),
            ready=lambda: "" if self._is_shared or self._election.is_acting else "another replica acts",
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
