"""containers-storage stores written by hand, right or wrong in one chosen way, as Podman 4 writes them."""

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from intact.adapters.containers_storage.place import Place
from intact.adapters.containers_storage.source import StorageSource

NAME = "docker.io/local/web:1"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def split_tar(tar: bytes) -> list[dict[str, Any]]:
    """What tar-split keeps of an archive; the checksums are left out: nothing depends on them."""
    pieces: list[dict[str, Any]] = []
    at = 0
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            pieces.append(segment(tar[at : member.offset_data]))
            size = member.size if member.isreg() else 0
            pieces.append(entry(os.fsencode(member.name), size))
            at = member.offset_data + size
    return [*pieces, segment(tar[at:])]


def segment(data: bytes) -> dict[str, Any]:
    return {"type": 2, "payload": base64.b64encode(data).decode()}


def entry(name: bytes, size: int) -> dict[str, Any]:
    payload = base64.b64encode(b"unproven").decode() if size else None
    try:
        return {"type": 1, "name": name.decode(), "size": size, "payload": payload}
    except UnicodeDecodeError:
        return {"type": 1, "name_raw": base64.b64encode(name).decode(), "size": size, "payload": payload}


def pack_pieces(pieces: Sequence[dict[str, Any]]) -> bytes:
    return gzip.compress(b"".join(json.dumps({**piece, "position": at}).encode() + b"\n" for at, piece in enumerate(pieces)))


def document_name(name: str) -> str:
    return "=" + base64.b64encode(name.encode()).decode() if set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789.") else name


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class StoreWriter:
    """A store of one image, written with the overlay driver."""

    def __init__(self, graphroot: Path, tars: Sequence[bytes]) -> None:
        self.graphroot = graphroot
        self.layers = [{"id": hashlib.sha256(b"%d" % at + tar).hexdigest(), "diff-digest": digest_of(tar), "diff-size": len(tar)}
                       for at, tar in enumerate(tars)]  # fmt: skip
        for below, layer in zip(self.layers, self.layers[1:], strict=False):
            layer["parent"] = below["id"]
        config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]}}
        self.config = json.dumps(config).encode()
        described = {"mediaType": CONFIG, "digest": digest_of(self.config), "size": len(self.config)}
        blobs = [{"mediaType": LAYER, "digest": digest_of(b"compressed" + tar), "size": 1} for tar in tars]
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": blobs}).encode()
        self.images = [{"id": digest_of(self.config)[7:], "digest": digest_of(self.manifest), "names": [NAME],
                        "layer": self.layers[-1]["id"], "big-data-names": []}]  # fmt: skip
        for layer, tar in zip(self.layers, tars, strict=True):
            self.diff(layer["id"]).mkdir(parents=True)
            with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
                archive.extractall(self.diff(layer["id"]), filter="fully_trusted")
            self.write(f"overlay-layers/{layer['id']}.tar-split.gz", pack_pieces(split_tar(tar)))
        self.keep("manifest", self.manifest)
        self.keep(f"manifest-{digest_of(self.manifest)}", self.manifest)
        self.keep(digest_of(self.config), self.config)
        self.list_again()

    def diff(self, id: Any = None) -> Path:
        return self.graphroot / "overlay" / str(id or self.layers[0]["id"]) / "diff"

    def keep(self, name: str, data: bytes) -> None:
        """Keeps a document with the image."""
        self.images[0]["big-data-names"].append(name)  # type: ignore[attr-defined]
        self.write(f"overlay-images/{self.images[0]['id']}/{document_name(name)}", data)

    def list_again(self) -> None:
        self.write("overlay-images/images.json", json.dumps(self.images).encode())
        self.write("overlay-layers/layers.json", json.dumps(self.layers).encode())

    def split_again(self, pieces: Sequence[dict[str, Any]], rank: int = 0) -> None:
        self.write(f"overlay-layers/{self.layers[rank]['id']}.tar-split.gz", pack_pieces(pieces))

    def write(self, name: str, data: bytes) -> None:
        path = self.graphroot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def source(self, reference: str = NAME, **place: Any) -> StorageSource:
        return StorageSource(reference, Place(graphroot=self.graphroot, **place))
