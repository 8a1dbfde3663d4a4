"""The trust root's document, in JSON or YAML (docs/keys.md): bytes → `TrustRoot`, and back. What is unknown or missing is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from intact.model.errors import InputError

from .signing import MAX_KEY_BYTES, PublicKey
from .trust import Revocation, TrustedKey, TrustRoot, format_time

FORMAT = "intact.dev/trust-root/v1"
MAX_ROOT_BYTES = 4 << 20
MAX_YAML_BYTES = 1 << 18
"""Reading it takes some ten microseconds a byte."""
MAX_KEYS = 256
MAX_REVOKED = 4096
"""They are kept for ever, by whoever has seen them: more than any one document says."""
MAX_TEXT = 512
MAX_VERSION = 1 << 53


def parse_trust(unverified: bytes) -> TrustRoot:
    """A trust root in JSON or YAML, or a single public key in PEM, which counts without end. Raises InputError."""
    if len(unverified) > MAX_ROOT_BYTES:
        raise InputError(f"the trust root is longer than {MAX_ROOT_BYTES} bytes", code="TrustRoot")
    if unverified.lstrip().startswith(b"-----BEGIN"):
        return TrustRoot.of(PublicKey.from_pem(unverified))
    document = _load(unverified)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"neither a public key in PEM nor a trust root of format {FORMAT}", code="TrustRoot")
    _check_fields(document, ("format", "version", "keys"), ("revoked",), "the trust root")
    version = document["version"]
    if type(version) is not int or not 0 < version < MAX_VERSION:
        raise InputError("the version of the trust root is not a positive whole number", code="TrustRoot")
    root = TrustRoot(
        version=version,
        keys=tuple(_read_key(one) for one in _items(document["keys"], "keys", MAX_KEYS)),
        revoked=tuple(_read_revocation(one) for one in _items(document.get("revoked", []), "revoked", MAX_REVOKED)),
    )
    if not root.keys and not root.revoked:
        raise InputError("the trust root names no key", code="TrustRoot", hint="add one: intact baseline trust add FILE K.pub")
    ids = [one.key.id for one in root.keys]
    if len(set(ids)) != len(ids) or len(root.revoked_ids) != len(root.revoked):
        raise InputError("the trust root names a key twice", code="TrustRoot")
    return root


def encode_trust(root: TrustRoot) -> bytes:
    """The document as JSON, which is also YAML."""
    return json.dumps(describe_trust(root), indent=2, ensure_ascii=True).encode() + b"\n"


def describe_trust(root: TrustRoot) -> dict[str, Any]:
    """The document, before it is written in one notation or another."""
    keys = []
    for one in root.keys:
        described: dict[str, Any] = {"id": one.key.id}
        if one.name:
            described["name"] = one.name
        if one.valid_from is not None:
            described["validFrom"] = format_time(one.valid_from)
        if one.valid_until is not None:
            described["validUntil"] = format_time(one.valid_until)
        keys.append({**described, "publicKey": one.key.pem.decode()})
    document: dict[str, Any] = {"format": FORMAT, "version": root.version, "keys": keys}
    if root.revoked:
        document["revoked"] = [{"id": one.id, "at": format_time(one.at), "reason": one.reason} for one in root.revoked]
    return document


def parse_time(value: object) -> float:
    """Unix seconds, from an RFC 3339 time or a date (its first moment, UTC). Raises InputError."""
    try:
        parsed = datetime.fromisoformat(_text(value))
        moment = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
        format_time(moment)
    except (ValueError, OverflowError):
        raise InputError(f"{str(value)[:60]!r} is not a time", code="TrustRoot", hint="2027-01-31 or 2027-01-31T12:00:00Z") from None
    return float(int(moment))


def check_id(text: object) -> str:
    """A key id. Raises InputError."""
    if not isinstance(text, str) or not text.startswith("sha256:") or len(text) != 71 or set(text[7:]) - set("0123456789abcdef"):
        raise InputError(f"{str(text)[:100]!r} is not a key id", code="TrustRoot", hint="sha256: and 64 hex digits, as keygen prints it")
    return text


def _load(unverified: bytes) -> object:
    try:
        if unverified.lstrip().startswith(b"{"):
            return json.loads(unverified)
        if len(unverified) > MAX_YAML_BYTES:
            raise InputError(f"the trust root is longer than {MAX_YAML_BYTES} bytes of YAML", code="TrustRoot", hint="write it as JSON")
        import yaml  # only people write YAML: no agent ever loads the parser

        return yaml.load(unverified, Loader=_plain_loader(yaml))
    except InputError:
        raise
    except (ValueError, RecursionError, ImportError) as error:
        raise InputError(f"the trust root is neither JSON nor YAML: {str(error)[:200]}", code="TrustRoot") from None
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise InputError(f"the trust root is not YAML: {str(error)[:200]}", code="TrustRoot") from None
        raise


def _plain_loader(yaml: Any) -> Any:
    """YAML of texts, whole numbers, lists and mappings. No aliases: a few lines of them make gigabytes. No tags, and no other plain values:
    a number in base 60 takes minutes, a time or a float may have a value that nothing holds."""

    class Plain(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent) or getattr(self.peek_event(), "tag", None) is not None:
                raise InputError("the trust root uses YAML aliases or tags", code="TrustRoot", hint="write it out")
            return super().compose_node(parent, index)

    Plain.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"(?:0|[1-9][0-9]{0,15})$"), list("0123456789"))
    return Plain


def _read_key(item: object) -> TrustedKey:
    fields = _check_fields(item, ("publicKey",), ("id", "name", "validFrom", "validUntil"), "a key of the trust root")
    pem = _text(fields["publicKey"], MAX_KEY_BYTES).encode()
    key = PublicKey.from_pem(pem)
    if fields.get("id", key.id) != key.id:
        raise InputError(f"a key of the trust root is called {str(fields['id'])[:100]}, it is {key.id}", code="TrustRoot")
    valid_from, valid_until = (parse_time(fields[name]) if name in fields else None for name in ("validFrom", "validUntil"))
    if valid_from is not None and valid_until is not None and valid_until <= valid_from:
        raise InputError(f"key {key.id} ends before it begins", code="TrustRoot")
    return TrustedKey(key=key, name=_text(fields.get("name", "")), valid_from=valid_from, valid_until=valid_until)


def _read_revocation(item: object) -> Revocation:
    fields = _check_fields(item, ("id", "at", "reason"), (), "a revocation of the trust root")
    return Revocation(id=check_id(fields["id"]), at=parse_time(fields["at"]), reason=_text(fields["reason"]))


def _check_fields(item: object, needed: tuple[str, ...], optional: tuple[str, ...], what: str) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise InputError(f"{what} is not an object", code="TrustRoot")
    missing, unknown = set(needed) - item.keys(), item.keys() - {*needed, *optional}
    if missing or unknown:
        names = ", ".join(sorted(str(name)[:60] for name in (missing or unknown)))
        raise InputError(f"{what} {'lacks' if missing else 'has the unknown field'} {names}", code="TrustRoot")
    return item


def _items(value: object, name: str, most: int) -> list[object]:
    if not isinstance(value, list) or len(value) > most:
        raise InputError(f"{name} of the trust root is no list, or has more than {most} elements", code="TrustRoot")
    return value


def _text(value: object, limit: int = MAX_TEXT) -> str:
    if not isinstance(value, str) or len(value) > limit or (not value.isprintable() and limit == MAX_TEXT):
        raise InputError("a text of the trust root is missing, too long or not printable", code="TrustRoot")
    return value
