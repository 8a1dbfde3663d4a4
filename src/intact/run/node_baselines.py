"""A node's baselines, best source first."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from intact.adapters.runtime.content import ContainerdSource
from intact.baseline.document import load_document
from intact.baseline.signing import PublicKey
from intact.baseline.store import BaselineStore
from intact.baseline.table import seal_table
from intact.ingest.image import ingest
from intact.model.container import Running
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TrustError
from intact.model.layer import Baseline

log = structlog.get_logger()


class NodeBaselines:
    """A node's baselines: 1 kept from before, 2 signed by the cluster, 3 computed here from the runtime's own blobs.

    `fetch` asks the cluster for a document; `trusted` are the keys its documents must be signed with.
    """

    def __init__(
        self,
        store: BaselineStore,
        *,
        socket: str,
        fetch: Callable[[Digest], bytes | None] = lambda key: None,
        trusted: Callable[[], tuple[PublicKey, ...]] = tuple,
    ) -> None:
        self._store = store
        self._socket = socket
        self._fetch = fetch
        self._trusted = trusted
        self._lock = threading.Lock()
        self._building: dict[Digest, threading.Lock] = {}

    def obtain(self, running: Running) -> Baseline:
        """The baseline of a container's image. Raises IntactError with the reason why there is none."""
        key = running.container.image_key
        if key is None:
            raise InputError(f"the image of {running.container.name} cannot be told: {running.unkeyed}")
        with self._lock:
            building = self._building.setdefault(key, threading.Lock())
        with building:  # one at a time for each image: a slow one holds up nobody else's
            return self._kept(key) or self._fetched(key) or self._computed(key)

    def _kept(self, key: Digest) -> Baseline | None:
        try:
            return self._store.get(str(key))
        except (TrustError, InputError) as error:
            log.error("stored_baseline_refused", key=str(key), reason=str(error))
            return None

    def _fetched(self, key: Digest) -> Baseline | None:
        try:
            document = self._fetch(key)
        except IntactError as error:
            log.info("baseline_not_fetched", key=str(key), reason=str(error))
            return None
        if document is None:
            return None
        baseline = load_document(document, trusted=self._trusted())
        if baseline.key != key:
            raise TrustError(f"the cluster sent the baseline of {baseline.key} for {key}")
        return baseline

    def _computed(self, key: Digest) -> Baseline:
        source = ContainerdSource(str(key), self._socket)
        try:
            baseline = ingest(source, known_layers=self._store.find_layer, seal=seal_table)
        finally:
            source.close()
        if baseline.key != key:
            raise TrustError(f"the runtime's image {key} has the configuration {baseline.key}")
        self._store.put(baseline)
        return baseline
