"""What a containers-storage store says of its images and layers: `images.json`, `layers.json` and the documents kept with an image.

In: bytes of the store, bounded and believed in nothing. Out: records. Fields that nobody here needs are not looked at.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from intact.model.errors import InputError

MAX_LISTING_BYTES = 128 << 20
_ID = re.compile(r"[0-9a-f]{64}")
_PLAIN_NAME = re.compile(r"[.0-9a-z]+")


class ImageRecord(msgspec.Struct, frozen=True, rename="kebab"):
    """An image. `layer` is its topmost layer; `big_data_names` the documents kept with it."""

    id: str
    digest: str = ""
    names: Sequence[str] | None = None
    layer: str = ""
    big_data_names: Sequence[str] | None = None


class LayerRecord(msgspec.Struct, frozen=True, rename="kebab"):
    """A layer. `diff_size` is that of its tar: absent or negative where nobody has seen that tar whole. `flags`: `incomplete` while it is
    being written or removed."""

    id: str
    parent: str = ""
    diff_digest: str = ""
    diff_size: int = -1
    toc_digest: str = ""
    flags: Mapping[str, object] | None = None


_Record = TypeVar("_Record", ImageRecord, LayerRecord)


def parse_images(data: bytes, what: str) -> dict[str, ImageRecord]:
    """The images of one listing by id. Raises InputError on a malformed listing, or one that names an image twice."""
    return _by_id(_decode(data, list[ImageRecord], what), what)


def parse_layers(data: bytes, what: str) -> dict[str, LayerRecord]:
    """The layers of one listing by id. Raises InputError on a malformed listing, or one that names a layer twice."""
    found = _by_id(_decode(data, list[LayerRecord], what), what)
    for record in found.values():
        if record.parent and not _ID.fullmatch(record.parent):
            raise InputError(f"{what}: {record.parent[:80]!r} is not a layer's id", code="StoreDamaged")
    return found


def document_file(name: str) -> str:
    """The name of the file that keeps the document `name` of an image: as it is if it has only digits, dots and small letters, else in
    base64 behind an equals sign (containers/storage, makeBigDataBaseName)."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    return "=" + base64.b64encode(name.encode("utf-8", "surrogatepass")).decode()


def _decode(data: bytes, type_: type[list[_Record]], what: str) -> list[_Record]:
    try:
        return [] if data.strip() in (b"", b"null") else msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{what} is malformed: {error}", code="StoreDamaged") from None


def _by_id(records: list[_Record], what: str) -> dict[str, _Record]:
    found: dict[str, _Record] = {}
    for record in records:
        if not _ID.fullmatch(record.id):
            raise InputError(f"{what}: {record.id[:80]!r} is not an id", code="StoreDamaged")
        if record.id in found:
            raise InputError(f"{what} names {record.id} twice", code="StoreDamaged")
        found[record.id] = record
    return found
