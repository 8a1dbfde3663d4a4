"""The cluster's own baselines."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from intact.adapters.layout.names import parse_reference
from intact.adapters.registry.access import RegistryAccess
from intact.adapters.registry.source import RegistrySource
from intact.baseline.document import encode_document
from intact.baseline.signing import Signer
from intact.baseline.store import BaselineStore
from intact.baseline.table import MappedTable, seal_table
from intact.baseline.trust import NOBODY, Trust, TrustRoot
from intact.ingest.documents import INDEX_TYPES
from intact.ingest.image import Resolved, ingest, resolve
from intact.ingest.limits import Limits
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError, TrustError
from intact.model.layer import Baseline, Grade

from .attached import find_attached_to
from .library import Known
from .supplied import SuppliedBaselines, check_own

log = structlog.get_logger()

KNOWN_S = 60.0
"""What is known of a baseline is looked up again after so long: its signer's key may have been revoked."""
UNKNOWN_S = 5.0
READ_WITHIN_S = 3600.0
"""One image at a time: the next ones wait for none longer than this, however large or slow its registry makes it."""
MAX_KNOWN = 20_000


class ClusterBaselines:
    """The cluster's own baselines, computed from registries in the background and signed with the cluster's key."""

    def __init__(
        self,
        store: BaselineStore,
        signer: Signer,
        *,
        access: RegistryAccess,
        trust: Callable[[], TrustRoot] = lambda: NOBODY,
        supplied: SuppliedBaselines | None = None,
        algorithms: Algorithms = SHA256,
    ) -> None:
        """`trust`: whose signatures count on baselines that are attached to images. `supplied`: what people declared. `algorithms`: by what
        files are known in what is computed here."""
        self._algorithms = algorithms
        self._trust = trust
        self._store = store
        self._signer = signer
        self._access = access
        self._supplied = supplied
        self._known: dict[Digest, tuple[float, Known | None]] = {}
        self._contradicted: dict[str, str] = {}

    def get(self, key: Digest) -> Baseline | None:
        """Kept, or supplied by people where nothing better is kept."""
        return self._get(key) or (self._supplied.get(key) if self._supplied else None)

    def computed(self, key: Digest) -> Baseline | None:
        """What the cluster itself holds the image to be, whatever people supplied."""
        return self._get(key)

    def find(self, reference: str, platform: str) -> Baseline | None:
        """What is kept of the image that `repo@sha256:…` names; no registry is asked. Raises IntactError."""
        return self._store.get(reference, platform)

    def withdrawn(self) -> tuple[Digest, ...]:
        """Never what the cluster itself holds the image to be, though somebody supplied the same once and took it back."""
        told = self._supplied.withdrawn() if self._supplied else ()
        return tuple(root for key, root in told if (known := self.known(key)) is None or known.root != root)

    def has_supplied(self, root: Digest) -> bool:
        return self._supplied is not None and self._supplied.has_served(root)

    def contradicted(self) -> dict[str, str]:
        """`repo@sha256:…` → how the baseline that a trusted key attached to it differs from what was computed here of its own bytes."""
        return dict(self._contradicted)

    def known(self, key: Digest) -> Known | None:
        until, known = self._known.get(key, (0.0, None))
        if time.monotonic() >= until:
            try:
                known = self._look_up(key)
            except (TemporaryError, PermanentError) as error:  # reports are taken in all the same: the node's word is then its own
                log.warning("baseline_not_looked_up", key=str(key), reason=str(error))
                known = None
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[key] = time.monotonic() + (KNOWN_S if known else UNKNOWN_S), known
        return known

    def forget(self, key: Digest) -> None:
        """What is known of it is looked up again."""
        self._known.pop(key, None)

    def _look_up(self, key: Digest) -> Known | None:
        baseline = self.get(key)
        if baseline is None:
            return None
        signer = next(iter(self.signers(key)), "")
        return Known(root=baseline.root, algorithms=str(baseline.algorithms), grade=baseline.grade, source=baseline.source, signer=signer)

    def signers(self, key: Digest) -> tuple[str, ...]:
        """The ids of the accepted keys that signed what is kept or supplied; empty for the cluster's own work."""
        if self._get(key) is not None:
            return self._store.signers(key)
        return self._supplied.signers(key) if self._supplied else ()

    def size_bytes(self, baseline: Baseline) -> int:
        """How large its tables are."""
        return sum(len(layer.data) for layer in baseline.layers if isinstance(layer, MappedTable))

    def document(self, key: Digest) -> bytes | None:
        baseline = self.get(key)
        return None if baseline is None else encode_document(baseline, [self._signer])

    def compute(self, reference: str, platform: str = "") -> Baseline:
        """The baseline of `repo@sha256:…`, the best source first: kept and signed, attached and signed by a trusted key, kept, computed
        from its registry. Of an index, the image for `platform` (`os/architecture`; empty: this machine's). It counts as needed
        from now on. Raises IntactError."""
        baseline = self._compute(reference, platform)
        self._store.mark_used(baseline.key)
        return baseline

    def _compute(self, reference: str, platform: str) -> Baseline:
        try:
            known = self._store.get(reference, platform)
        except (TrustError, InputError) as error:
            log.error("stored_baseline_refused", image=reference, reason=str(error))
            known = None
        trust = self._trust().for_new(time.time())
        if known is not None and known.grade is not Grade.SIGNED and known.algorithms != self._algorithms:
            known = None
        if known is not None and (known.grade is Grade.SIGNED or not trust.keys):
            return known
        name = parse_reference(reference)
        source = RegistrySource(name.host, name.repository, name.reference, access=self._access.within(READ_WITHIN_S))
        try:
            wanted = platform if platform and source.root().media_type in INDEX_TYPES else None
            image = resolve(source, platform=wanted, limits=Limits())
            signed = self._find_signed(image, source, reference, trust) if trust.keys else None
            if signed is not None:
                return signed
            known = known or self._get(image.manifest.config.digest)
            if known is not None and known.grade >= Grade.VERIFIED and known.algorithms == self._algorithms:
                return known
            baseline = ingest(
                source,
                image=image,
                algorithms=self._algorithms,
                known_layers=lambda diff_id: self._store.find_layer(diff_id, self._algorithms),
                seal=seal_table,
                parallel=self._access.concurrency,
            )
        finally:
            source.close()
            for note in source.notes:
                log.info("registry", image=reference, note=note)
        self._store.put(baseline)
        self.forget(baseline.key)
        return baseline

    def _find_signed(self, image: Resolved, source: RegistrySource, reference: str, trust: Trust) -> Baseline | None:
        """A baseline by a trusted key, kept or attached. One that contradicts what was computed here from the image's own bytes, or cannot
        be compared with it, is not used."""
        try:
            kept = self._get(image.manifest.config.digest)
            if kept is not None and kept.grade is Grade.SIGNED:
                return kept
            attached = find_attached_to(image, source, trust, note=lambda text: log.warning("attached", image=reference, note=text))
            if attached is None:
                return None
            baseline = attached.baseline
            self._contradicted.pop(reference, None)
            try:
                check_own(baseline, kept)
            except TrustError as error:
                log.error("attached_contradicts_image", image=reference, signer=attached.signer, reason=str(error))
                if len(self._contradicted) < MAX_KNOWN:
                    self._contradicted[reference] = f"{reference} has a baseline by key {attached.signer} that is not its own: {error}"
                return None
            self._store.put(baseline, envelope=attached.envelope)
        except IntactError as error:
            log.warning("attached_not_read", image=reference, reason=str(error))
            return None
        self.forget(baseline.key)
        log.info("attached", image=reference, key=str(baseline.key), signer=attached.signer, served_by=attached.served_by)
        return baseline

    def _get(self, key: Digest) -> Baseline | None:
        try:
            return self._store.get(str(key))
        except (TrustError, InputError) as error:
            log.error("stored_baseline_refused", key=str(key), reason=str(error))
            return None
