"""Which image a container was started from: its config digest, and its layers' chain id.

In: image names and digests. Out: the config digest that is the image's key. Everything read is checked against the digest that named it.

1. The name's target is an index or a manifest; of an index the manifest for this machine's platform is taken, as containerd does.
2. The manifest names the config.
3. The config names the layers; their chain id (image-spec, config.md#layer-chainid) is the snapshot that containers are made from.
"""

from __future__ import annotations

import hashlib
import json
import platform
import threading
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from intact.model.digest import Digest
from intact.model.errors import InputError

from .client import Client

MAX_DOCUMENT_BYTES: Final = 4 << 20
MAX_DEPTH: Final = 3
MAX_CACHED: Final = 4096
_Value = TypeVar("_Value")
_ARCHITECTURES: Final = {"x86_64": ("amd64", ""), "aarch64": ("arm64", "v8"), "armv7l": ("arm", "v7"), "i686": ("386", "")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIdentity:
    config: Digest
    chain_id: str
    """Empty for an image without layers."""


class Images:
    """The images of one runtime. Answers that follow from a digest are kept; names are looked up each time, since they move."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._configs: dict[tuple[str, Digest], Digest] = {}
        self._chain_ids: dict[tuple[str, Digest], str] = {}

    def identify(self, namespace: str, name: str) -> ImageIdentity:
        """The image `name`. Raises NotFound, InputError (nothing for this platform), TrustError (content is not what its digest says)."""
        target = Digest.parse(self._client.image(namespace, name).target.digest)  # 1
        return self.identify_config(namespace, self.config_of(namespace, target))

    def config_of(self, namespace: str, target: Digest) -> Digest:
        """The config digest of a manifest, or of an index' manifest for this machine."""
        known = self._configs.get((namespace, target))
        if known is None:
            known = self._find_config(namespace, target)
            self._keep(self._configs, (namespace, target), known)
        return known

    def identify_config(self, namespace: str, config: Digest) -> ImageIdentity:
        """The image with this config."""
        chain_id = self._chain_ids.get((namespace, config))
        if chain_id is None:
            rootfs = self._read(namespace, config).get("rootfs")  # 3
            diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
            if not isinstance(diff_ids, list):
                raise InputError(f"{config} is not an image config: it names no layers")
            chain_id = chain_layers([Digest.parse(str(diff_id)) for diff_id in diff_ids])
            self._keep(self._chain_ids, (namespace, config), chain_id)
        return ImageIdentity(config=config, chain_id=chain_id)

    def _find_config(self, namespace: str, digest: Digest) -> Digest:
        for _ in range(MAX_DEPTH):
            document = self._read(namespace, digest)
            if "manifests" not in document:
                config = document.get("config")  # 2
                return Digest.parse(str(config.get("digest") if isinstance(config, dict) else None))
            digest = choose_manifest(document, digest)
        raise InputError(f"{digest}: image indexes are nested more than {MAX_DEPTH} deep")

    def _read(self, namespace: str, digest: Digest) -> dict[str, Any]:
        try:
            document = json.loads(self._client.read_blob(namespace, digest, max_bytes=MAX_DOCUMENT_BYTES))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{digest} is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise InputError(f"{digest} is not a manifest, index or config")
        return document

    def _keep(self, cache: dict[tuple[str, Digest], _Value], key: tuple[str, Digest], value: _Value) -> None:
        with self._lock:
            if len(cache) >= MAX_CACHED:
                cache.clear()
            cache[key] = value


def chain_layers(diff_ids: list[Digest]) -> str:
    """The chain id of a stack of layers, bottom first (image-spec, config.md#layer-chainid)."""
    if not diff_ids:
        return ""
    chain = str(diff_ids[0])
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain


def choose_manifest(index: dict[str, Any], digest: Digest, machine: str = "") -> Digest:
    """The manifest of an index that this machine runs: linux, its architecture, its variant rather than another one."""
    machine = machine or platform.machine()
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    fitting = []
    for manifest in index["manifests"] if isinstance(index["manifests"], list) else []:
        if not isinstance(manifest, dict):
            continue
        wants = manifest.get("platform")
        if not isinstance(wants, dict):
            fitting.append((1, manifest))
        elif wants.get("os") == "linux" and wants.get("architecture") == architecture:
            fitting.append((3 if wants.get("variant", variant) == variant else 2, manifest))
    if not fitting:
        raise InputError(f"{digest} holds no image for linux/{architecture}")
    return Digest.parse(str(max(fitting, key=lambda pair: pair[0])[1].get("digest")))
