"""The JSON documents of an image → what ingest needs of them (image-spec: image-index.md, manifest.md, config.md; Docker schema 2).

In: bytes whose digest was verified. Out: descriptors and diff_ids. Two parsers must never see two different documents in the same bytes, so
a repeated key, and a key that differs from a known one by case alone (which Go's encoding/json would take for it), are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intact.model.digest import Digest
from intact.model.errors import InputError

from .limits import Limits
from .ports import SYNTHETIC_MANIFEST, Descriptor

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST, SYNTHETIC_MANIFEST})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})

_KNOWN = (
    *("schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size"),
    *("platform", "architecture", "os", "variant", "rootfs", "type", "diff_ids", "urls"),
)
_LOWERED = {key.lower(): key for key in _KNOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One manifest of an index. `platform` is `os/architecture[/variant]`, empty where the index does not say."""

    descriptor: Descriptor
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`platform` is `os/architecture[/variant]`."""

    platform: str
    diff_ids: tuple[Digest, ...]


def parse_index(data: bytes, limits: Limits) -> tuple[Choice, ...]:
    """The manifests of an index, in its order."""
    document = parse_json(data, "image index")
    _expect_type(document, INDEX_TYPES, "image index")
    choices = []
    for item in _list(document, "manifests", "image index"):
        choices.append(Choice(descriptor=_descriptor(item, "image index", limits), platform=_platform(item.get("platform"))))
    return tuple(choices)


def parse_manifest(data: bytes, limits: Limits) -> Manifest:
    document = parse_json(data, "image manifest")
    _expect_type(document, MANIFEST_TYPES, "image manifest")
    layers = _list(document, "layers", "image manifest")
    if len(layers) > limits.layers:
        raise InputError(f"the image manifest has {len(layers)} layers, more than {limits.layers}", code="Manifest")
    config = document.get("config")
    if not isinstance(config, dict):
        raise InputError("the image manifest names no configuration", code="Manifest")
    return Manifest(
        config=_descriptor(config, "image manifest", limits),
        layers=tuple(_descriptor(item, "image manifest", limits) for item in layers),
    )


def parse_config(data: bytes) -> Config:
    document = parse_json(data, "image configuration")
    rootfs = document.get("rootfs")
    if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
        raise InputError("the image configuration has no rootfs of type `layers`", code="Config", hint="artifacts have no file tree")
    diff_ids = rootfs.get("diff_ids")
    if not isinstance(diff_ids, list) or not all(isinstance(text, str) for text in diff_ids):
        raise InputError("the image configuration has no list of diff_ids", code="Config")
    return Config(platform=_platform(document), diff_ids=tuple(Digest.parse(text) for text in diff_ids))


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """An object; raises InputError on anything that is not one, unambiguously."""
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unambiguous)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"the {what} is not JSON: {error}", code="Json") from None
    except RecursionError:
        raise InputError(f"the {what} is nested too deeply", code="Json") from None
    except ValueError as error:
        raise InputError(f"the {what} is refused: {error}", code="Json") from None
    if not isinstance(document, dict):
        raise InputError(f"the {what} is not a JSON object", code="Json")
    return document


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:100]!r} is repeated")
        if _LOWERED.get(key.lower(), key) != key:
            raise ValueError(f"the key {key[:100]!r} would be read as {_LOWERED[key.lower()]!r} by some")
        found[key] = value
    return found


def _expect_type(document: Mapping[str, Any], accepted: frozenset[str], what: str) -> None:
    """A document says what it is (`mediaType`), or shows it; an index passed off as a manifest, or the reverse, is refused."""
    stated = document.get("mediaType")
    if stated is not None and stated not in accepted:
        raise InputError(f"the {what} says it is of type {str(stated)[:200]!r}", code="MediaType")
    if document.get("schemaVersion") != 2:
        raise InputError(f"the {what} has schema version {document.get('schemaVersion')!r}", code="MediaType", hint="version 2 can be read")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise InputError(f"the {what} claims to be an index and a manifest at once", code="MediaType")


def _list(document: Mapping[str, Any], key: str, what: str) -> list[dict[str, Any]]:
    items = document.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(f"the {what} has no list `{key}`", code="Json")
    return items


def _descriptor(item: Mapping[str, Any], what: str, limits: Limits) -> Descriptor:
    media_type, digest, size = item.get("mediaType"), item.get("digest"), item.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or type(size) is not int:
        raise InputError(f"a descriptor of the {what} has no mediaType, digest and size", code="Descriptor")
    if not 0 <= size <= limits.uncompressed_bytes:
        raise InputError(f"a descriptor of the {what} states a size of {size} bytes", code="Descriptor")
    return Descriptor(media_type=media_type, digest=Digest.parse(digest), size_bytes=size)


def _platform(item: object) -> str:
    if not isinstance(item, dict):
        return ""
    parts = [item.get("os"), item.get("architecture"), item.get("variant")]
    return "/".join(part for part in parts if isinstance(part, str) and part)
