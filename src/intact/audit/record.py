r"""One leaf of the audit log: what it says and how it is written.

In: the kind, the time, what it is about, and a body of plain JSON. Out: canonical bytes, one way only (docs/formats/audit-log.md): a subset
of RFC 8785 with sorted ASCII keys, no white space, no floating point. Times are `2026-01-31T12:00:00.000000Z`; bytes are written as
`model.bytestext` does. `steps` makes the bodies, and bounds them: nothing a container or a node says can make a leaf unwritable.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from intact.model.bytestext import escape_bytes
from intact.model.errors import InputError

VERSION = 1
MAX_LEAF_BYTES = 1 << 20
MAX_BODY_BYTES = MAX_LEAF_BYTES - (1 << 17)
"""Leaves room for the other fields at their largest."""
MAX_TEXT = 4096
MAX_INTEGER = 2**53 - 1
"""RFC 8785 §3.2.2.3: larger integers are not the same in every reader."""
MAX_DEPTH = 16

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_KEY = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_FIELDS = {"at", "body", "incident", "kind", "node", "version", "workload"}


class LeafKind(StrEnum):
    """What a leaf tells of. A reader passes over kinds that it does not know."""

    CLEAN = "Clean"
    """The containers of one node that were found intact in one interval."""
    VERDICT = "Verdict"
    """One comparison that was not clean."""
    FINDING = "Finding"
    INCIDENT_OPENED = "IncidentOpened"
    INCIDENT_CHANGED = "IncidentChanged"
    INCIDENT_RESOLVED = "IncidentResolved"
    DECISION = "Decision"
    """The intent, before anything is done."""
    OUTCOME = "Outcome"
    POLICY_CHANGED = "PolicyChanged"
    BASELINE_ACCEPTED = "BaselineAccepted"
    BASELINES_COLLECTED = "BaselinesCollected"
    """Stored baselines and tables that no image needed were removed."""
    SCRATCH_CODE = "ScratchCode"
    """Code-like files in directories where the image has none: told once a day, by container and pattern."""
    START_PROFILE = "StartProfile"
    """What pods of one template change in their own files before they are ready, and that is not told as an incident."""
    GAP = "Gap"
    """A time without watching, or events that were lost."""
    FORGED_REPORT = "ForgedReport"
    KEY_EVENT = "KeyEvent"
    RESTORED = "Restored"
    """The log was restored from a backup: what was recorded after that was taken is not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """`node`, `workload` (`Deployment shop/web`) and `incident` are empty where the leaf is not about one. `at` in Unix seconds."""

    kind: str
    at: float
    body: Mapping[str, object] = field(default_factory=dict)
    node: str = ""
    workload: str = ""
    incident: str = ""


def encode_leaf(leaf: Leaf) -> bytes:
    """The canonical bytes of `leaf`; raises InputError on a body with floats, foreign types, odd keys, or beyond MAX_LEAF_BYTES."""
    _check(leaf.body, depth=0)
    at = format_time(leaf.at)
    parse_time(at)
    document = {
        "at": at,
        "body": leaf.body,
        "incident": leaf.incident,
        "kind": leaf.kind,
        "node": leaf.node,
        "version": VERSION,
        "workload": leaf.workload,
    }
    data = _write(document)
    if len(data) > MAX_LEAF_BYTES:
        raise InputError(f"an audit leaf of {len(data)} bytes is larger than the bound of {MAX_LEAF_BYTES}")
    return data


def parse_leaf(unverified_data: bytes) -> Leaf:
    """The leaf that `encode_leaf` wrote; raises InputError on any other bytes."""
    if len(unverified_data) > MAX_LEAF_BYTES:
        raise InputError(f"an audit leaf of {len(unverified_data)} bytes is larger than the bound of {MAX_LEAF_BYTES}")
    try:
        document = json.loads(unverified_data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not an audit leaf: {error}") from None
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise InputError(f"not an audit leaf: expected the fields {', '.join(sorted(_FIELDS))}")
    if document["version"] != VERSION:
        raise InputError(f"an audit leaf of version {document['version']!r:.20}; this program knows {VERSION}")
    if not isinstance(document["body"], dict) or not all(isinstance(document[name], str) for name in _FIELDS - {"body", "version"}):
        raise InputError("not an audit leaf: a field has the wrong type")
    leaf = Leaf(
        kind=document["kind"],
        at=parse_time(document["at"]),
        body=document["body"],
        node=document["node"],
        workload=document["workload"],
        incident=document["incident"],
    )
    if encode_leaf(leaf) != unverified_data:
        raise InputError("not an audit leaf: not in canonical form")
    return leaf


def format_time(at: float) -> str:
    """Unix seconds → RFC 3339 in UTC with microseconds; a time no calendar has becomes `unix:<number>`."""
    try:
        return f"{_EPOCH + timedelta(microseconds=round(at * 1e6)):%Y-%m-%dT%H:%M:%S.%fZ}".rjust(27, "0")
    except (OverflowError, ValueError):
        return f"unix:{at!r}"


def parse_time(text: str) -> float:
    """The inverse of `format_time`; raises InputError."""
    try:
        if _TIME.fullmatch(text):
            return (datetime.fromisoformat(text) - _EPOCH) / timedelta(seconds=1)
    except ValueError:
        pass
    raise InputError(f"not a time of the audit log: {text[:40]!r}")


def measure_body(body: Mapping[str, object]) -> tuple[int, str]:
    """The size in bytes of a body as it is written, and the SHA-256 of that in hex."""
    data = _write(body)
    return len(data), hashlib.sha256(data).hexdigest()


def write_text(text: str, limit: int = MAX_TEXT) -> str:
    """`text`, beyond `limit` characters its start and its length; what is not Unicode is escaped."""
    bounded = text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
    return bounded.encode("utf-8", "backslashreplace").decode()


def write_integer(number: int) -> int | str:
    """`number`; beyond MAX_INTEGER as text."""
    return number if abs(number) <= MAX_INTEGER else f"{number:#x}"[:MAX_TEXT]


def write_bytes(data: bytes, limit: int = MAX_TEXT) -> str:
    r"""`data` as `model.bytestext` writes it; beyond `limit` bytes its start, `\+`, its size and its SHA-256 (nobody's text)."""
    if len(data) <= limit:
        return escape_bytes(data)
    return rf"{escape_bytes(data[:limit])}\+{len(data)}:{hashlib.sha256(data).hexdigest()}"


def _write(document: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"an audit leaf holds a text that is not Unicode: {error}") from None


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InputError(f"the body of an audit leaf is deeper than {MAX_DEPTH}")
    match value:
        case None | bool() | str():
            return
        case int():
            if abs(value) > MAX_INTEGER:
                raise InputError(f"an integer in an audit leaf is beyond ±{MAX_INTEGER}: {value!r:.40}")
        case list():
            for item in value:
                _check(item, depth + 1)
        case dict():
            for key, item in value.items():
                if not isinstance(key, str) or not _KEY.fullmatch(key):
                    raise InputError(f"a key of an audit leaf is not lower-case ASCII: {key!r:.40}")
                _check(item, depth + 1)
        case _:
            raise InputError(f"the body of an audit leaf holds a {type(value).__name__}")
