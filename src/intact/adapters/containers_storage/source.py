"""`containers-storage:[[DRIVER@]GRAPHROOT[+RUNROOT]]NAME` (containers-transports(5)) as a BlobSource: an image of Podman, Buildah or CRI-O.

In: a place and a reference. Out: the image's own configuration, each layer's tar rebuilt from the store, and a manifest made up of them:
the blobs that the image's real manifest names were compressed, and are not kept. Every digest is one that the configuration states, so
whoever reads still proves all of it. The real manifests' digests are aliases where the store has those manifests, and they name this very
configuration. No process of Podman's is needed or started, no network, nothing is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from intact.ingest.ports import SYNTHETIC_MANIFEST, Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError

from .place import Place, check_driver, default_place
from .records import ImageRecord, LayerRecord
from .store import MAX_DOCUMENT_BYTES, Store
from .tarsplit import FREE_LINE_BYTES, LINES_PER_TAR_BYTE, measure_tar, read_pieces, rebuild_tar

MAX_LAYERS = 500
MAX_UNMEASURED_LINE_BYTES = 4 << 30
"""Of a tar-split whose tar has no stated size."""
MIN_ID_DIGITS = 3
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_ID = re.compile(rf"[0-9a-f]{{{MIN_ID_DIGITS},64}}")
_MANIFEST = "manifest-"


class StorageSource:
    """One image of the stores at `place`. `reference`: a name, `NAME@ID`, `@ID` (at least three digits), `NAME@sha256:…` (of a manifest or
    an index that the store knows), or an id alone where no image has that name."""

    def __init__(self, reference: str, place: Place) -> None:
        self._reference = reference
        self._place = place
        self._stores: list[Store] = []
        self._manifest = b""
        self._config = b""
        self._found: tuple[Store, ImageRecord] | None = None
        self._layers: dict[Digest, tuple[Store, LayerRecord]] = {}

    @property
    def name(self) -> str:
        driver = self._found[0].driver if self._found else self._place.driver
        return f"containers-storage:[{driver + '@' if driver else ''}{self._place.graphroot}]{self._reference}"

    def root(self) -> Descriptor:
        """Raises InputError (no such store or image, or one that cannot be rebuilt) or PermanentError (no right to read)."""
        self._load()
        return Descriptor(media_type=SYNTHETIC_MANIFEST, digest=Digest.of(self._manifest), size_bytes=len(self._manifest))

    def aliases(self) -> tuple[str, ...]:
        """The image's names, the digests of its manifests and indexes, and each name's repository with each of those, sorted."""
        store, image = self._locate()
        self._load()
        names = [name for name in image.names or () if name]
        digests = _manifest_digests(store, image, Digest.of(self._config))
        repositories = {_repository(name) for name in names}
        return tuple(sorted({*names, *digests, *(f"{repository}@{digest}" for repository in repositories for digest in digests)}))

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        self._load()
        for document in (self._manifest, self._config):
            if descriptor.digest == Digest.of(document, descriptor.digest.algorithm):
                yield iter((document,))
                return
        if descriptor.digest not in self._layers:
            raise InputError(f"{self.name} does not have {descriptor.digest}", code="BlobUnknown")
        store, layer = self._layers[descriptor.digest]
        lines = LINES_PER_TAR_BYTE * (descriptor.size_bytes or 0) + FREE_LINE_BYTES
        with store.open_layer(layer) as files, store.open_tar_split(layer) as chunks:
            yield rebuild_tar(read_pieces(chunks, max_bytes=lines, layer=layer.id), files, layer=layer.id)

    def close(self) -> None:
        for store in self._stores:
            store.close()
        self._stores = []
        self._found = None

    def __del__(self) -> None:
        self.close()

    def _load(self) -> None:
        """The configuration, and the layers it names, bottom first."""
        if self._manifest:
            return
        store, image = self._locate()
        config = _read_config(store, image, self.name)
        diff_ids = _diff_ids(config, self.name)
        chain = self._chain(image.layer)
        if len(chain) != len(diff_ids):
            raise InputError(f"{self.name}: {len(chain)} layers, but {len(diff_ids)} diff_ids", code="StoreDamaged")
        layers = []
        for diff_id, (holder, layer) in zip(diff_ids, chain, strict=True):
            self._layers[diff_id] = holder, layer
            layers.append({"mediaType": _LAYER, "digest": str(diff_id), "size": self._measure(holder, layer)})
        described = {"mediaType": _CONFIG, "digest": str(Digest.of(config)), "size": len(config)}
        document = {"schemaVersion": 2, "mediaType": SYNTHETIC_MANIFEST, "config": described, "layers": layers}
        self._config = config
        self._manifest = json.dumps(document, separators=(",", ":")).encode()

    def _measure(self, store: Store, layer: LayerRecord) -> int:
        if layer.diff_size >= 0:
            return layer.diff_size
        with store.open_tar_split(layer) as chunks:
            return measure_tar(read_pieces(chunks, max_bytes=MAX_UNMEASURED_LINE_BYTES, layer=layer.id))

    def _chain(self, top: str) -> list[tuple[Store, LayerRecord]]:
        chain: list[tuple[Store, LayerRecord]] = []
        id = top
        while id:
            if len(chain) >= MAX_LAYERS:
                raise InputError(f"{self.name} has more than {MAX_LAYERS} layers, or they go round in a circle", code="StoreDamaged")
            found = next(((store, store.layers[id]) for store in self._stores if id in store.layers), None)
            if found is None:
                raise InputError(f"{self.name}: its layer {id} is in none of {self._places()}", code="StoreDamaged", hint=_ADDITIONAL)
            chain.append(found)
            id = found[1].parent
        return chain[::-1]

    def _locate(self) -> tuple[Store, ImageRecord]:
        if self._found is None:
            self._open_stores()
            for store in self._stores:
                image = find_image(store.images, self._reference, self.name)
                if image is not None:
                    self._found = store, image
                    return self._found
            known = ", ".join(sorted(name for store in self._stores for image in store.images.values() for name in image.names or ())[:20])
            raise InputError(
                f"{self._places()} has no image {self._reference[:200]!r}", code="NoSuchImage", hint=f"names: {known[:500] or 'none'}"
            )
        return self._found

    def _open_stores(self) -> None:
        if not self._stores:
            place = self._place
            with ExitStack() as opened:
                self._stores.append(opened.enter_context(Store(place.graphroot, place.driver, place.runroot)))
                for path in place.additional:
                    self._stores.append(opened.enter_context(Store(path, self._stores[0].driver)))
                opened.pop_all()

    def _places(self) -> str:
        return ", ".join(str(path) for path in (self._place.graphroot, *self._place.additional))


_ADDITIONAL = "further stores are named by additionalimagestores in storage.conf, and read for the default store"


def open_storage(reference: str, *, driver: str = "", graphroot: Path | None = None, runroot: Path | None = None) -> StorageSource:
    """The image `reference` of a named store, or of this user's own. Raises InputError (a driver or configuration that cannot be read)."""
    if graphroot is None:
        return StorageSource(reference, default_place())
    return StorageSource(reference, Place(graphroot=graphroot, driver=check_driver(driver), runroot=runroot))


def find_image(images: dict[str, ImageRecord], reference: str, what: str) -> ImageRecord | None:
    """The image that `reference` means. Raises InputError if it means several."""
    name, at, suffix = reference.partition("@")
    if at:
        found = _by_digest(images, suffix) if ":" in suffix else _by_id(images, suffix)
    else:
        spelled = _spell(name)
        found = next((same for known in spelled if (same := [image for image in images.values() if known in (image.names or ())])), [])
        found = found or (_by_digest(images, name) if name.startswith("sha256:") else _by_id(images, name))
    if len(found) > 1:
        raise InputError(f"{what} means several images", code="NoSuchImage", hint=", ".join(image.id for image in found[:5]))
    return found[0] if found else None


def _by_id(images: dict[str, ImageRecord], digits: str) -> list[ImageRecord]:
    return [image for id, image in images.items() if id.startswith(digits)] if _ID.fullmatch(digits) else []


def _by_digest(images: dict[str, ImageRecord], digest: str) -> list[ImageRecord]:
    return [
        image
        for image in images.values()
        if digest == image.digest or {digest, _MANIFEST + digest} & {*(image.big_data_names or ())} or digest == f"sha256:{image.id}"
    ]


def _spell(name: str) -> tuple[str, ...]:
    """The name, and what people leave out of it: the tag, docker.io, library/; a name without a registry may be one built here."""
    tagged = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    return (name, tagged, f"localhost/{tagged}", f"docker.io/{tagged}", f"docker.io/library/{tagged}")


def _repository(name: str) -> str:
    path, slash, last = name.partition("@")[0].rpartition("/")
    return path + slash + last.partition(":")[0]


def _read_config(store: Store, image: ImageRecord, what: str) -> bytes:
    """The image's configuration: the document whose digest its manifest names."""
    manifest = _parse(store.read_document(image.id, "manifest"))
    described = manifest.get("config") if manifest else None
    try:
        digest = Digest.parse(str(described.get("digest"))) if isinstance(described, dict) else None
    except InputError:
        digest = None
    if digest is None:
        raise InputError(
            f"{what} has no manifest of version 2 that names a configuration", code="Manifest", hint="an index or an old image is none"
        )
    config = store.read_document(image.id, str(digest))
    if config is None:
        raise InputError(f"{what}: its configuration {digest} is not in the store", code="StoreDamaged")
    return config


def _diff_ids(config: bytes, what: str) -> list[Digest]:
    rootfs = (_parse(config) or {}).get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list):
        raise InputError(f"{what}: its configuration has no list of diff_ids", code="Config")
    return [Digest.parse(str(text)) for text in found]


def _manifest_digests(store: Store, image: ImageRecord, config: Digest) -> list[str]:
    """The digests of the manifests kept with the image that name its configuration, and of the indexes that name one of those."""
    kept: dict[str, dict[str, Any]] = {}
    for name in image.big_data_names or ():
        if not name.startswith(_MANIFEST):
            continue
        try:
            data = store.read_document(image.id, name)
            digest = Digest.parse(name.removeprefix(_MANIFEST))
        except IntactError:
            continue  # an alias less: what cannot be read names nothing
        document = _parse(data)
        if data is not None and document is not None and Digest.of(data, digest.algorithm) == digest:
            kept[str(digest)] = document
    manifests = [digest for digest, document in kept.items() if _names(document.get("config"), {str(config)})]
    indexes = [
        digest
        for digest, document in kept.items()
        if isinstance(listed := document.get("manifests"), list) and any(_names(item, {*manifests}) for item in listed)
    ]
    return sorted({*manifests, *indexes})


def _names(descriptor: object, digests: set[str]) -> bool:
    return isinstance(descriptor, dict) and descriptor.get("digest") in digests


def _parse(data: bytes | None) -> dict[str, Any] | None:
    if data is None or len(data) > MAX_DOCUMENT_BYTES:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
