"""`docker-archive:FILE[:NAME]`: the tar that `docker save` and `skopeo copy … docker-archive:` write, as a BlobSource.

The form has no manifest of its own: one is made up from `manifest.json`, and every digest in it is one the configuration or the archive
states, so that whoever reads still verifies all of it against the configuration's own digest. Members are read in place, never unpacked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intact.ingest.ports import SYNTHETIC_MANIFEST, Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError

from .json import parse_json
from .members import Members

_BLOB = re.compile(r"blobs/([a-z0-9]+)/([0-9a-f]+)")
_PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


class ArchiveSource:
    """One image of a docker-archive. Without a name the archive must hold exactly one."""

    def __init__(self, file: Path, image: str = "") -> None:
        self._file = file
        self._image = image
        self._manifest = b""
        self._names: tuple[str, ...] = ()
        self._members = Members(file, self.name)
        self._blobs: dict[Digest, str] = {}

    @property
    def name(self) -> str:
        return f"docker-archive:{self._file}" + (f":{self._image}" if self._image else "")

    def root(self) -> Descriptor:
        self._load()
        return Descriptor(media_type=SYNTHETIC_MANIFEST, digest=Digest.of(self._manifest), size_bytes=len(self._manifest))

    def aliases(self) -> tuple[str, ...]:
        self._load()
        return self._names

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        self._load()
        if descriptor.digest == Digest.of(self._manifest):
            yield iter((self._manifest,))
            return
        member = self._blobs.get(descriptor.digest)
        if member is None:
            raise InputError(f"{self.name} does not have {descriptor.digest}", code="BlobUnknown")
        with self._members.open(member) as chunks:
            yield chunks

    def _load(self) -> None:
        if self._manifest:
            return
        item = self._choose(self._members.read_json("manifest.json"))
        config_name, layer_names = item.get("Config"), item.get("Layers")
        if not isinstance(config_name, str) or not isinstance(layer_names, list) or not all(isinstance(name, str) for name in layer_names):
            raise InputError(f"{self.name}: manifest.json is malformed", code="Archive")
        config = self._members.read(config_name)
        diff_ids = _diff_ids(parse_json(config, self.name))
        if len(diff_ids) != len(layer_names):
            raise InputError(f"{self.name}: {len(layer_names)} layers, but {len(diff_ids)} diff_ids", code="Archive")
        self._blobs[Digest.of(config)] = config_name
        layers = []
        for name, diff_id in zip(layer_names, diff_ids, strict=True):
            blob = _BLOB.fullmatch(name)
            digest = Digest(blob[1], bytes.fromhex(blob[2])) if blob else diff_id
            self._blobs[digest] = name
            media_type = _DOCKER_LAYER if blob else _PLAIN_LAYER
            layers.append({"mediaType": media_type, "digest": str(digest), "size": self._members.size_bytes(name)})
        tags = item.get("RepoTags")
        self._names = tuple(str(tag) for tag in tags) if isinstance(tags, list) else ()
        described = {"mediaType": _DOCKER_CONFIG, "digest": str(Digest.of(config)), "size": len(config)}
        document = {"schemaVersion": 2, "mediaType": SYNTHETIC_MANIFEST, "config": described, "layers": layers}
        self._manifest = json.dumps(document, separators=(",", ":")).encode()

    def _choose(self, manifest: Any) -> dict[str, Any]:
        if not isinstance(manifest, list) or not all(isinstance(item, dict) for item in manifest):
            raise InputError(f"{self.name}: manifest.json is malformed", code="Archive")
        found = [item for item in manifest if not self._image or self._image in (item.get("RepoTags") or ())]
        if len(found) == 1:
            return dict(found[0])
        names = ", ".join(str(tag) for item in manifest for tag in item.get("RepoTags") or ()) or "none"
        problem = "has several images" if found else f"has no image {self._image!r}"
        raise InputError(f"docker-archive:{self._file} {problem}", code="NoSuchImage", hint=f"names: {names[:500]}")


def _diff_ids(config: Any) -> list[Digest]:
    rootfs = config.get("rootfs") if isinstance(config, dict) else None
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list):
        raise InputError("the image configuration has no list of diff_ids", code="Config")
    return [Digest.parse(str(text)) for text in found]
