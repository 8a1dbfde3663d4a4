"""`docker-archive:FILE[:NAME]`: the tar that `docker save` and `skopeo copy … docker-archive:` write, as a BlobSource.

The form has no manifest of its own: one is made up from `manifest.json`, and every digest in it is one the configuration or the archive
states, so that whoever reads still verifies all of it against the configuration's own digest. Members are read in place, never unpacked.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intact.ingest.ports import SYNTHETIC_MANIFEST, Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError

from .json import MAX_JSON_BYTES, parse_json
from .oci import open_regular, read_chunks

MAX_MEMBERS = 100_000
_BLOB = re.compile(r"blobs/([a-z0-9]+)/([0-9a-f]+)")
_PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a member's content lies in the archive."""

    start: int
    size_bytes: int


class ArchiveSource:
    """One image of a docker-archive. Without a name the archive must hold exactly one."""

    def __init__(self, file: Path, image: str = "") -> None:
        self._file = file
        self._image = image
        self._manifest = b""
        self._names: tuple[str, ...] = ()
        self._places: dict[Digest, _Place] = {}

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
        place = self._places.get(descriptor.digest)
        if place is None:
            raise InputError(f"{self.name} does not have {descriptor.digest}", code="BlobUnknown")
        with open_regular(self._file, self.name) as fd:
            yield read_chunks(fd, start=place.start, size_bytes=place.size_bytes)

    def _load(self) -> None:
        if self._manifest:
            return
        members = self._index()
        item = self._choose(self._read(members, "manifest.json"))
        config_name, layer_names = item.get("Config"), item.get("Layers")
        if not isinstance(config_name, str) or not isinstance(layer_names, list) or not all(isinstance(name, str) for name in layer_names):
            raise InputError(f"{self.name}: manifest.json is malformed", code="Archive")
        config = self._read_bytes(members, config_name)
        diff_ids = _diff_ids(parse_json(config, self.name))
        if len(diff_ids) != len(layer_names):
            raise InputError(f"{self.name}: {len(layer_names)} layers, but {len(diff_ids)} diff_ids", code="Archive")
        self._places[Digest.of(config)] = members[config_name]
        layers = []
        for name, diff_id in zip(layer_names, diff_ids, strict=True):
            place = self._place(members, name)
            blob = _BLOB.fullmatch(name)
            digest = Digest(blob[1], bytes.fromhex(blob[2])) if blob else diff_id
            self._places[digest] = place
            layers.append({"mediaType": _DOCKER_LAYER if blob else _PLAIN_LAYER, "digest": str(digest), "size": place.size_bytes})
        tags = item.get("RepoTags")
        self._names = tuple(str(tag) for tag in tags) if isinstance(tags, list) else ()
        described = {"mediaType": _DOCKER_CONFIG, "digest": str(Digest.of(config)), "size": len(config)}
        document = {"schemaVersion": 2, "mediaType": SYNTHETIC_MANIFEST, "config": described, "layers": layers}
        self._manifest = json.dumps(document, separators=(",", ":")).encode()

    def _index(self) -> dict[str, _Place]:
        """The archive's regular members and symlinks to them (older `docker save` links equal layers)."""
        members: dict[str, _Place] = {}
        links: dict[str, str] = {}
        try:
            with (
                open_regular(self._file, self.name) as fd,
                open(fd, "rb", closefd=False) as file,
                tarfile.open(fileobj=file, mode="r:") as archive,
            ):
                for count, member in enumerate(archive):
                    if count > MAX_MEMBERS:
                        raise InputError(f"{self.name} has more than {MAX_MEMBERS} members", code="Archive")
                    if member.isreg() and not member.issparse():
                        members[member.name] = _Place(member.offset_data, member.size)
                    elif member.issym():
                        links[member.name] = _join(member.name, member.linkname)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise InputError(
                f"{self.name} is not a tar archive: {error}", code="Archive", hint="decompress it first if it is compressed"
            ) from None
        for link, target in links.items():
            if target in members:
                members.setdefault(link, members[target])
        return members

    def _choose(self, manifest: Any) -> dict[str, Any]:
        if not isinstance(manifest, list) or not all(isinstance(item, dict) for item in manifest):
            raise InputError(f"{self.name}: manifest.json is malformed", code="Archive")
        found = [item for item in manifest if not self._image or self._image in (item.get("RepoTags") or ())]
        if len(found) == 1:
            return dict(found[0])
        names = ", ".join(str(tag) for item in manifest for tag in item.get("RepoTags") or ()) or "none"
        problem = "has several images" if found else f"has no image {self._image!r}"
        raise InputError(f"docker-archive:{self._file} {problem}", code="NoSuchImage", hint=f"names: {names[:500]}")

    def _place(self, members: dict[str, _Place], name: str) -> _Place:
        if name not in members:
            raise InputError(f"{self.name} has no member {name!r}", code="Archive", hint="is it a docker-archive, and complete?")
        return members[name]

    def _read(self, members: dict[str, _Place], name: str) -> Any:
        return parse_json(self._read_bytes(members, name), f"{self.name}: {name}")

    def _read_bytes(self, members: dict[str, _Place], name: str) -> bytes:
        place = self._place(members, name)
        if place.size_bytes > MAX_JSON_BYTES:
            raise InputError(f"{self.name}: {name} is larger than {MAX_JSON_BYTES} bytes", code="Archive")
        with open_regular(self._file, self.name) as fd:
            return b"".join(read_chunks(fd, start=place.start, size_bytes=place.size_bytes))


def _diff_ids(config: Any) -> list[Digest]:
    rootfs = config.get("rootfs") if isinstance(config, dict) else None
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list):
        raise InputError("the image configuration has no list of diff_ids", code="Config")
    return [Digest.parse(str(text)) for text in found]


def _join(link: str, target: str) -> str:
    """A relative symlink's target as a member's name: `a/layer.tar` → `../b/layer.tar` is `b/layer.tar`."""
    parts = link.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
