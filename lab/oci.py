"""Writes OCI image layouts (image-spec image-layout.md): any number of layers, gzip, zstd or plain.

In: packed layers and a configuration. Out: a directory that skopeo, containerd and Intact read; the same bytes every time.
Never talks to a registry. A layer is packed once and shared by every layout that names it.
"""

import gzip
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.processes import run
from lab.settings import LabError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compression = Literal["gzip", "zstd", "plain"]
SUFFIX: Mapping[str, str] = {"gzip": "+gzip", "zstd": "+zstd", "plain": ""}
OCI = "application/vnd.oci.image."
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedLayer:
    path: Path
    media_type: str
    digest: str
    size_bytes: int
    diff_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayout:
    """An image on disk. `name` is what a runtime calls it, `tag` what skopeo calls it in `oci:DIRECTORY:TAG`."""

    directory: Path
    name: str
    manifest_digest: str
    config_digest: str

    @property
    def tag(self) -> str:
        return self.name.rpartition(":")[2]

    @property
    def source(self) -> str:
        return f"oci:{self.directory}:{self.tag}"

    def push(self, registry: str, repository: str) -> str:
        """Copies the image to a registry of the harness and returns `REGISTRY/REPOSITORY@sha256:…`."""
        copy_image(self.source, f"docker://{registry}/{repository}")
        return f"{registry}/{repository.rpartition(':')[0] or repository}@{self.manifest_digest}"

    def pack_archive(self, path: Path) -> Path:
        run("tar", "-C", self.directory, "-cf", path, "blobs", "index.json", "oci-layout")
        return path


def architecture() -> str:
    """The machine's architecture by its Go name, as image configurations want it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def copy_image(source: str, destination: str, *options: str) -> None:
    """Copies between two image names as skopeo writes them; the digests stay what they are."""
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"]
    run("skopeo", "copy", "--quiet", *plain, *options, source, destination)


def pack_layer(tar: bytes | Path, directory: Path, compression: Compression = "gzip") -> PackedLayer:
    """Stores one layer archive (bytes, or a file that may be large) below `directory` under its digest."""
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f"layer.{os.getpid()}.partial"
    diff_id = hashlib.sha256()
    with partial.open("wb") as raw, _compress(raw, compression) as output:
        if isinstance(tar, bytes):
            diff_id.update(tar)
            output.write(tar)
        else:
            with tar.open("rb") as source:
                while chunk := source.read(1 << 20):
                    diff_id.update(chunk)
                    output.write(chunk)
    with partial.open("rb") as stored:
        digest = hashlib.file_digest(stored, "sha256").hexdigest()
    path = partial.rename(directory / digest)
    return PackedLayer(
        path=path,
        media_type=OCI + "layer.v1.tar" + SUFFIX[compression],
        digest="sha256:" + digest,
        size_bytes=path.stat().st_size,
        diff_id="sha256:" + diff_id.hexdigest(),
    )


def _compress(raw: Any, compression: Compression) -> Any:
    match compression:
        case "gzip":
            return gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0)
        case "zstd":
            return zstd.ZstdFile(raw, "wb", level=3)
        case "plain":
            return raw


def write_layout(
    directory: Path,
    name: str,
    layers: Sequence[PackedLayer],
    *,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    environment: Sequence[str] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
    user: str = "",
    working_directory: str = "/",
    stop_signal: str = "",
    labels: Mapping[str, str] | None = None,
    machine: str = "",
) -> ImageLayout:
    """Writes one image, for this machine or for `machine` (an architecture by its Go name). `name` is a full reference with a tag, for
    example `docker.io/local/web:1`."""
    if ":" not in name.rpartition("/")[2]:
        raise LabError(f"image name {name!r} has no tag: write it as NAME:TAG")
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    config = {
        "created": EPOCH,
        "architecture": machine or architecture(),
        "os": "linux",
        "config": {
            "Env": list(environment),
            "Entrypoint": list(entrypoint),
            "Cmd": list(command),
            "WorkingDir": working_directory,
            "User": user,
            **({"StopSignal": stop_signal} if stop_signal else {}),
            **({"Labels": dict(sorted(labels.items()))} if labels else {}),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": EPOCH, "created_by": "intact lab"} for _ in layers],
    }
    for layer in layers:
        _link(layer.path, blobs / layer.digest.removeprefix("sha256:"))
    config_blob = _store(blobs, OCI + "config.v1+json", config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI + "manifest.v1+json",
        "config": config_blob,
        "layers": [{"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size_bytes} for layer in layers],
    }
    manifest_blob = _store(blobs, OCI + "manifest.v1+json", manifest)
    annotations = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    platform_ = {"architecture": machine or architecture(), "os": "linux"}
    index = {
        "schemaVersion": 2,
        "mediaType": OCI + "index.v1+json",
        "manifests": [{**manifest_blob, "platform": platform_, "annotations": annotations}],
    }
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return ImageLayout(
        directory=directory,
        name=name,
        manifest_digest=str(manifest_blob["digest"]),
        config_digest=str(config_blob["digest"]),
    )


def _store(blobs: Path, media_type: str, document: object) -> dict[str, str | int]:
    data = json.dumps(document, separators=(",", ":")).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}


def _link(source: Path, destination: Path) -> None:
    """A hard link where the file system allows it: a base layer is not copied once per image."""
    if destination.exists():
        return
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)


def stream_layout(directory: Path) -> subprocess.Popen[bytes]:
    """A process whose output is the layout as one archive, for a runtime's import."""
    return subprocess.Popen(["tar", "-C", str(directory), "-cf", "-", "blobs", "index.json", "oci-layout"], stdout=subprocess.PIPE)
