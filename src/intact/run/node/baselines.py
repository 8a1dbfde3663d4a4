"""A node's baselines, best source first.

1. Kept from before, on this node's disk. 2. Signed by the cluster, or by who the cluster trusts. 3. Computed here from the runtime's own
blobs. 4. Read from the image's layers as they are unpacked, where the runtime discarded its blobs: of grade FIRST_SEEN, and asked for anew
until there is a better one. What 2 to 4 give is stored, and used from where it is stored: mapped, not held in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

import structlog

from intact.adapters.runtime.content import ContainerdSource
from intact.baseline.document import load_document, split_document
from intact.baseline.store import BaselineStore
from intact.baseline.table import seal_table
from intact.baseline.trust import NOBODY, TrustRoot
from intact.ingest.image import ingest
from intact.ingest.unpacked import ingest_unpacked
from intact.model.container import Running
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TrustError
from intact.model.layer import Baseline, Grade, Record
from intact.model.observation import Unobserved

log = structlog.get_logger()


class ReadLayer(Protocol):
    """One read-only layer as it lies on disk; throttled."""

    def __call__(self, running: Running, directory: bytes, /) -> Iterator[Record | Unobserved]: ...


class NodeBaselines:
    """`fetch` asks the cluster for a document; `trust` names the keys its documents must be signed with, and must be the store's too;
    `read_layer` reads what the runtime unpacked. With more than `at_most_bytes` stored, what no container needs goes before its time."""

    def __init__(
        self,
        store: BaselineStore,
        *,
        socket: str,
        read_layer: ReadLayer,
        at_most_bytes: int = 512 << 20,
        fetch: Callable[[Digest], bytes | None] = lambda key: None,
        trust: Callable[[], TrustRoot] = lambda: NOBODY,
    ) -> None:
        self._store = store
        self._socket = socket
        self._read_layer = read_layer
        self._at_most_bytes = at_most_bytes
        self._fetch = fetch
        self._trust = trust
        self._lock = threading.Lock()
        self._building: dict[Digest, threading.Lock] = {}
        self._reading = threading.Lock()
        self._withdrawn: frozenset[Digest] = frozenset()

    def withdraw(self, roots: frozenset[Digest]) -> None:
        """Baselines of these roots, that the cluster gave out, are not used any more."""
        self._withdrawn = roots

    def is_withdrawn(self, baseline: Baseline) -> bool:
        """What this node computed itself is nobody's to take back."""
        return baseline.grade is Grade.SIGNED and baseline.root in self._withdrawn

    def obtain(self, running: Running) -> Baseline:
        """The baseline of a container's image. Raises IntactError with the reason why there is none."""
        key = running.container.image_key
        if key is None:
            raise InputError(f"the image of {running.container.name} cannot be told: {running.unkeyed}")
        with self._lock:
            building = self._building.setdefault(key, threading.Lock())
        with building:  # one at a time for each image: a slow one holds up nobody else's
            kept = self._kept(key)  # 1
            if kept is not None and kept.grade is not Grade.FIRST_SEEN:
                return kept
            fetched = self._fetched(key)  # 2
            if fetched is not None:
                return fetched
            try:
                return self._computed(key)  # 3
            except InputError as error:
                if error.code != "BlobMissing" or running.mounted is None:
                    raise
                return kept or self._first_seen(running, key, str(error))  # 4

    def keep_house(self, running: Iterable[Running], now: float) -> None:
        """Lets go of baselines that none of `running` needs: after their time, and at once where all of them have more than
        `at_most_bytes`. Raises IntactError where the disk does not let it."""
        needed = {str(one.container.image_key) for one in running if one.container.image_key is not None}
        harvest = self._store.collect(needed, now, at_most_bytes=self._at_most_bytes)
        if harvest.baselines or harvest.tables:
            log.info("baselines_let_go", baselines=len(harvest.baselines), tables=len(harvest.tables), bytes=harvest.size_bytes)

    def _kept(self, key: Digest) -> Baseline | None:
        try:
            kept = self._store.get(str(key))
        except (TrustError, InputError) as error:
            log.error("stored_baseline_refused", key=str(key), reason=str(error))
            return None
        return None if kept is None or self.is_withdrawn(kept) else kept

    def _fetched(self, key: Digest) -> Baseline | None:
        try:
            document = self._fetch(key)
        except IntactError as error:
            log.info("baseline_not_fetched", key=str(key), reason=str(error))
            return None
        if document is None:
            return None
        trust = self._trust().for_new(time.time())
        baseline = load_document(document, trusted=trust.keys, refused=trust.refused)
        if baseline.key != key:
            raise TrustError(f"the cluster sent the baseline of {baseline.key} for {key}")
        if self.is_withdrawn(baseline):
            return None
        envelope, _ = split_document(memoryview(document))
        return self._stored(baseline, envelope)

    def _computed(self, key: Digest) -> Baseline:
        return self._read(key, partial(ingest, known_layers=self._store.find_layer, seal=seal_table))

    def _first_seen(self, running: Running, key: Digest, why: str) -> Baseline:
        assert running.mounted is not None, "who calls this has looked"
        log.warning("baseline_by_first_sight", key=str(key), reason=why)
        directories = [partial(self._read_layer, running, lower) for lower in reversed(running.mounted.lowers)]
        return self._read(key, partial(ingest_unpacked, directories=directories, known_layers=self._store.find_layer, seal=seal_table))

    def _read(self, key: Digest, read: Callable[[ContainerdSource], Baseline]) -> Baseline:
        """What `read` makes of the runtime's image, stored."""
        source = ContainerdSource(str(key), self._socket)
        try:
            with self._reading:  # what the records of a whole image take, is taken once
                baseline = read(source)
        finally:
            source.close()
        if baseline.key != key:
            raise TrustError(f"the runtime's image {key} has the configuration {baseline.key}")
        return self._stored(baseline)

    def _stored(self, baseline: Baseline, envelope: bytes | None = None) -> Baseline:
        self._store.put(baseline, envelope=envelope)
        stored = self._store.get(str(baseline.key))
        if stored is None:
            raise InputError(f"the baseline of {baseline.key} was stored and is gone", code="StoreDamaged")
        return stored
