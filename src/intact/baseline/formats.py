"""A baseline → formats other people read.

`sha256sum`: one line per regular file, as coreutils' sha256sum writes it, names with a backslash or a line break escaped. What it loses:
everything but path and content. `json`: all of it; bytes that are no text come as base64 under `…Base64`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from intact.model.entry import Entry, Kind
from intact.model.errors import InputError
from intact.model.layer import Baseline

FORMATS = ("sha256sum", "json")


def export(baseline: Baseline, form: str, *, prefix: bytes = b"") -> Iterator[bytes]:
    """The lines of `form`, each with its line feed, in order of path. `prefix` goes before every path: where the tree is mounted."""
    match form:
        case "sha256sum":
            return export_sha256sum(baseline, prefix)
        case "json":
            return export_json(baseline)
        case _:
            raise InputError(f"unknown format {form!r}", code="Format", hint=f"known: {', '.join(FORMATS)}")


def export_sha256sum(baseline: Baseline, prefix: bytes = b"") -> Iterator[bytes]:
    """`HASH␠␠/path` lines; `sha256sum -c` reads them where the image's tree is at `prefix`."""
    for entry in baseline.scan():
        if entry.kind is Kind.FILE:
            if entry.digest is None or entry.digest.algorithm != "sha256":
                raise InputError(f"{entry.path!r} has no SHA-256 in this baseline", code="Format")
            path = prefix.rstrip(b"/") + entry.path
            name = escape_name(path)
            mark = b"\\" if name != path else b""
            yield mark + entry.digest.hex.encode() + b"  " + name + b"\n"


def escape_name(name: bytes) -> bytes:
    """As coreutils' print_filename: a backslash, a line feed and a carriage return become two characters."""
    return name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")


def export_json(baseline: Baseline) -> Iterator[bytes]:
    """One document: the baseline's head and its flattened entries."""
    head = json.dumps(describe(baseline), ensure_ascii=True, indent=1)
    yield head[:-2].encode() + b',\n "entries": ['
    separator = b"\n"
    for entry in baseline.scan():
        yield separator + b"  " + json.dumps(describe_entry(entry), ensure_ascii=True).encode()
        separator = b",\n"
    yield b"\n ]\n}\n"


def describe(baseline: Baseline) -> dict[str, Any]:
    """What a person or a program wants to know of a baseline without its entries."""
    return {
        "key": str(baseline.key),
        "root": str(baseline.root),
        "grade": baseline.grade.title,
        "source": baseline.source,
        "platform": baseline.platform,
        "aliases": list(baseline.aliases),
        "layers": [
            {"diffId": str(layer.diff_id), "tableRoot": str(layer.root), "form": layer.form.name, "entries": len(layer)}
            for layer in baseline.layers
        ],
    }


def describe_entry(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {
        **_bytes("path", entry.path),
        "kind": entry.kind.value,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
    }
    if entry.kind is Kind.FILE:
        found |= {"size": entry.size_bytes, "digest": str(entry.digest) if entry.digest else None}
    if entry.kind is Kind.SYMLINK:
        found |= _bytes("target", entry.target)
    if entry.device is not None:
        found["device"] = list(entry.device)
    if entry.xattrs:
        found["xattrs"] = [{**_bytes("name", name), "valueBase64": base64.b64encode(value).decode()} for name, value in entry.xattrs]
    return found


def _bytes(key: str, value: bytes) -> dict[str, str]:
    try:
        return {key: value.decode()}
    except UnicodeDecodeError:
        return {f"{key}Base64": base64.b64encode(value).decode()}
