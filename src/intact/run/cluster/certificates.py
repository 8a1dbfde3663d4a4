"""The serving certificate on disk, and what agents pin in the cluster: of it, and of the controller's signing keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from intact.adapters.cluster.api import Api
from intact.adapters.cluster.keystore import SecretStore, publish_pinned
from intact.adapters.keys.tls import ensure_serving
from intact.model.errors import TemporaryError
from intact.run.web.server import ApiServer

log = structlog.get_logger()

CHECK_S = 60.0


class Certificates:
    """`pinned` is shown to agents and auditors beside the CA, asked anew at each look. The private keys are in the cluster's Secret;
    `directory` holds a copy of the serving key, for this process alone."""

    def __init__(self, api: Api, *, namespace: str, service: str, directory: Path, pinned: Callable[[], Mapping[str, bytes]]) -> None:
        self._api, self._namespace, self._pinned = api, namespace, pinned
        self._store = SecretStore(api, namespace)
        full = f"{service}.{namespace}"
        self._names = (f"{full}.svc", full, f"{full}.svc.cluster.local", service)
        self.chain, self.key = directory / "tls.crt", directory / "tls.key"
        self._renew_at = 0.0
        self._ca_bundle = b""
        self._published: tuple[bytes, dict[str, bytes]] | None = None

    def renew(self) -> None:
        """Writes what is in force now. Raises TemporaryError when another replica is doing the same."""
        serving = ensure_serving(self._store, self._names, time.time())
        self.key.touch(mode=0o600)
        self.key.write_bytes(serving.key)
        self.chain.write_bytes(serving.chain)
        self._ca_bundle, self._renew_at = serving.ca_bundle, serving.renew_at
        self._publish()

    def _publish(self) -> None:
        pinned = dict(self._pinned())
        if (self._ca_bundle, pinned) != self._published:
            publish_pinned(self._api, self._namespace, {"ca.crt": self._ca_bundle, **pinned})
            self._published = (self._ca_bundle, pinned)

    def keep(self, server: ApiServer, stop: threading.Event) -> None:
        """Renews in time, and publishes what is to be pinned, until `stop` is set."""
        while not stop.wait(CHECK_S):
            try:
                if time.time() >= self._renew_at:
                    self.renew()
                    server.reload_certificate()
                self._publish()
            except TemporaryError as error:
                log.warning("certificate_not_renewed", reason=str(error))
