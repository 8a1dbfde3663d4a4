"""A baseline as one JSON document (docs/formats/json.md, docs/formats/json.schema.json), without loss.

In: a document's bytes → a baseline; or a baseline and the envelope it came with → the document, a record a line. Layers keep their records,
whiteouts too; a name that is not UTF-8 comes as base64 under `…Base64`; what a list does not state is left out. A document that carries its
signed envelope is the same baseline again, and believed as far as its signature; without one it is of grade SUPPLIED.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from mmap import mmap
from typing import Annotated, Any, Literal

import msgspec

from intact.baseline.table import load_table, seal_table
from intact.model.bytestext import escape_bytes, unescape_bytes
from intact.model.digest import SIZES, WEAK, Digest
from intact.model.encoding import is_table_path
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError, TrustError
from intact.model.layer import Baseline, Form, Grade, LayerTable, Record
from intact.model.stated import EVERYTHING, Aspect, Stated

from .lines import MAX_ENTRIES
from .losses import Losses

FORMAT = "https://intact.dev/baseline-json/v1"
MAX_DOCUMENT_BYTES = 2 << 30
MAX_LAYERS = 1000

Hash = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]+:[0-9a-f]+$", max_length=160, description="ALGORITHM:HEX")]
Base64 = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9+/]*={0,2}$", description="RFC 4648, with padding")]
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Attribute(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """An extended attribute."""

    valueBase64: Base64
    name: str | None = None
    nameBase64: Base64 | None = None


class Line(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """A record: one path of one layer. `whiteout`: the path is gone, and all below it."""

    kind: Literal["file", "directory", "symlink", "char", "block", "fifo", "socket", "whiteout"]
    path: str | None = None
    pathBase64: Base64 | None = None
    mode: Annotated[str, msgspec.Meta(pattern="^[0-7]{4}$")] | None = None
    uid: Number | None = None
    gid: Number | None = None
    size: Size | None = None
    digests: list[Hash] | None = None
    """The one that decides first; those after it, and MD5 and SHA-1 wherever they stand, decide nothing."""
    target: str | None = None
    targetBase64: Base64 | None = None
    device: tuple[Number, Number] | None = None
    xattrs: list[Attribute] | None = None
    opaque: bool = False
    implicit: bool = False


class LayerDocument(msgspec.Struct, forbid_unknown_fields=True):
    diffId: Hash
    tableRoot: Hash
    form: Literal["PLAIN", "STACKED", "BASE"]
    records: list[Line]


class StatedDocument(msgspec.Struct, forbid_unknown_fields=True):
    aspects: list[str]
    kinds: list[str]
    below: list[str]
    """Paths with `\\\\` for a backslash and `\\xNN` for a byte that is not UTF-8."""


class Document(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A baseline."""

    format: Literal["https://intact.dev/baseline-json/v1"]
    key: Hash
    root: Hash
    source: str
    platform: str
    aliases: list[str]
    layers: list[LayerDocument]
    grade: str = ""
    stated: StatedDocument | None = None
    envelopeBase64: Base64 | None = None
    """The DSSE envelope (baseline.md), with its signatures."""


def make_schema() -> bytes:
    """The JSON Schema of the document, as docs/formats has it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": FORMAT, **msgspec.json.schema(Document)}
    return json.dumps(schema, indent=1).encode() + b"\n"


def export_document(baseline: Baseline, envelope: bytes | None = None) -> Iterator[bytes]:
    """The document, a record a line; no more than one record is held."""
    head: dict[str, Any] = {
        "format": FORMAT,
        "key": str(baseline.key),
        "root": str(baseline.root),
        "grade": baseline.grade.title,
        "source": baseline.source,
        "platform": baseline.platform,
        "aliases": list(baseline.aliases),
    }
    if not baseline.stated.is_everything:
        head["stated"] = describe_stated(baseline.stated)
    if envelope is not None:
        head["envelopeBase64"] = base64.b64encode(envelope).decode()
    yield json.dumps(head, indent=1)[:-2].encode() + b',\n "layers": ['
    for number, layer in enumerate(baseline.layers):
        about = {"diffId": str(layer.diff_id), "tableRoot": str(layer.root), "form": layer.form.name}
        yield (b",\n  " if number else b"\n  ") + json.dumps(about)[:-1].encode() + b', "records": ['
        separator = b"\n"
        for record in layer.scan():
            yield separator + b"   " + msgspec.json.encode(_describe_record(record, baseline.stated))
            separator = b",\n"
        yield b"\n  ]}"
    yield b"\n ]\n}\n"


def describe_stated(stated: Stated) -> dict[str, list[str]]:
    return {
        "aspects": sorted(stated.aspects),
        "kinds": sorted(stated.kinds),
        "below": [escape_bytes(path) for path in stated.below],
    }


def describe_line(entry: Entry, stated: Stated = EVERYTHING) -> Line:
    """One entry, without what nobody stated."""
    return _describe_record(Record(path=entry.path, entry=entry), stated)


def _describe_record(record: Record, stated: Stated) -> Line:
    entry, aspects = record.entry, stated.aspects
    path = _text("path", record.path)
    if entry is None:
        return Line(kind="whiteout", **path)
    found: dict[str, Any] = {"kind": entry.kind.value, **path}
    if Aspect.MODE in aspects or record.implicit:
        found["mode"] = f"{entry.mode:04o}"
    if Aspect.UID in aspects:
        found["uid"] = entry.uid
    if Aspect.GID in aspects:
        found["gid"] = entry.gid
    if entry.kind is Kind.FILE:
        if Aspect.SIZE in aspects:
            found["size"] = entry.size_bytes
        found["digests"] = [str(digest) for digest in (entry.digest, *entry.further) if digest is not None]
    if entry.kind is Kind.SYMLINK and Aspect.TARGET in aspects:
        found |= _text("target", entry.target)
    if entry.device is not None and Aspect.DEVICE in aspects:
        found["device"] = entry.device
    if entry.xattrs:
        found["xattrs"] = [Attribute(valueBase64=_to_base64(value), **_text("name", name)) for name, value in entry.xattrs]
    return Line(opaque=record.opaque, implicit=record.implicit, **found)


def read_document(data: bytes | mmap) -> tuple[Baseline, bytes | None]:
    """The baseline of a document, of grade SUPPLIED, and the envelope it carries, which nobody has verified.

    1. It is a document of this format. 2. Every record is one that a table can hold, in order. 3. Each table has the root it states.
    4. So has the whole. Raises InputError (1, 2) or TrustError (3, 4).
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InputError(f"a document of more than {MAX_DOCUMENT_BYTES} bytes", code="TooLarge")
    try:
        found = msgspec.json.decode(data, type=Document)  # 1
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(f"not a baseline in JSON: {error}", code="Document") from None
    if len(found.layers) > MAX_LAYERS or sum(len(layer.records) for layer in found.layers) > MAX_ENTRIES:
        raise InputError("the document has too many layers or records", code="TooManyEntries")
    stated = _read_stated(found.stated)
    baseline = Baseline(
        key=Digest.parse(found.key),
        layers=tuple(_read_layer(layer) for layer in found.layers),
        grade=Grade.SUPPLIED,
        source=found.source,
        aliases=tuple(found.aliases),
        platform=found.platform,
        stated=stated,
    )
    if str(baseline.root) != found.root:  # 4
        raise TrustError(f"the document states the root {found.root}, it has {baseline.root}", code="RootMismatch")
    return baseline, _from_base64(found.envelopeBase64) if found.envelopeBase64 is not None else None


def _read_layer(layer: LayerDocument) -> LayerTable:
    records = map(_read_record, layer.records)
    table = load_table(seal_table(Digest.parse(layer.diffId), Form[layer.form], records).data)  # 2
    if str(table.root) != layer.tableRoot:  # 3
        raise TrustError(f"the layer {layer.diffId} states the root {layer.tableRoot}, it has {table.root}", code="TableRoot")
    return table


def _read_record(line: Line) -> Record:
    path = _bytes(line.path, line.pathBase64, "path")
    if not is_table_path(path):
        raise InputError(f"an impossible path: {path[:100]!r}", code="Document")
    if line.kind == "whiteout":
        return Record(path=path, entry=None)
    digests = [Digest.parse(text, SIZES) for text in line.digests or ()]
    deciding = digests.pop(0) if digests and digests[0].algorithm not in WEAK else None
    has_target = line.target is not None or line.targetBase64 is not None
    entry = Entry(
        path=path,
        kind=Kind(line.kind),
        mode=int(line.mode, 8) if line.mode is not None else 0,
        uid=line.uid or 0,
        gid=line.gid or 0,
        size_bytes=line.size or 0,
        digest=deciding,
        further=tuple(digests),
        target=_bytes(line.target, line.targetBase64, "target") if has_target else b"",
        device=line.device,
        xattrs=tuple((_bytes(one.name, one.nameBase64, "name"), _from_base64(one.valueBase64)) for one in line.xattrs or ()),
    )
    return Record(path=path, entry=entry, opaque=line.opaque, implicit=line.implicit)


def _read_stated(found: StatedDocument | None) -> Stated:
    if found is None:
        return EVERYTHING
    try:
        stated = Stated(
            kinds=frozenset(map(Kind, found.kinds)),
            aspects=frozenset(map(Aspect, found.aspects)),
            below=tuple(sorted(map(unescape_bytes, found.below))),
        )
    except ValueError as error:
        raise InputError(f"the document states something unknown: {error}", code="Document") from None
    if not stated.below or not all(map(is_table_path, stated.below)):
        raise InputError("the document speaks of impossible directories", code="Document")
    return stated


def _text(key: str, value: bytes) -> Mapping[str, Any]:
    try:
        return {key: value.decode()}
    except UnicodeDecodeError:
        return {f"{key}Base64": _to_base64(value)}


def _bytes(text: str | None, coded: str | None, what: str) -> bytes:
    if (text is None) == (coded is None):
        raise InputError(f"a record has no {what}, or two", code="Document")
    return text.encode("utf-8", "surrogatepass") if text is not None else _from_base64(coded or "")


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError("something in the document is not base64", code="Document") from None


def export_entries(baseline: Baseline, losses: Losses) -> Iterator[bytes]:
    """JSON lines: the entries as a container would show them, layers merged, each a `Line`."""
    if len(baseline.layers) > 1:
        losses.of_all = ("which layer has it",)
    for entry in baseline.scan():
        if baseline.stated.speaks_of(entry):
            yield msgspec.json.encode(describe_line(entry, baseline.stated)) + b"\n"
