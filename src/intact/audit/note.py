"""Signed notes and checkpoints as other transparency tools read them (C2SP signed-note and tlog-checkpoint), with Ed25519.

In: a checkpoint and a key, or a note and the keys that are trusted. Out: a note, or its checkpoint once a trusted signature covers it.
Never reads a file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from intact.model.errors import InputError, TrustError
from intact.model.merkle import HASH_BYTES

from .ports import Signer

ED25519 = b"\x01"
"""The signature type of a note's Ed25519 signature (signed-note, "Signature types")."""
MAX_NOTE_BYTES = 1 << 16
MAX_SIGNATURES = 16

_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteKey:
    """A public key and the name it signs under. An empty name trusts the key under any name (a key that came as PEM has none)."""

    name: str
    public: bytes

    def key_id(self, name: str = "") -> bytes:
        """SHA-256(name || 0x0A || 0x01 || key)[:4] (signed-note, "Signatures")."""
        return hashlib.sha256((self.name or name).encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        """The note verifier key (vkey): `name+keyid+base64(0x01 || key)`."""
        return f"{self.name}+{self.key_id().hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A vkey line, or an Ed25519 public key in PEM (RFC 8410). Raises InputError."""
        if text.lstrip().startswith("-----BEGIN"):
            return cls(name="", public=_read_pem(text))
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        key = cls(name=check_name(name), public=_decode_base64(encoded)[1:])
        if len(key.public) != 32 or str(key) != text.strip() or key.key_id().hex() != key_id:
            raise InputError("not a note verifier key", hint="expected a PEM public key or a line NAME+KEYID+BASE64")
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log of `size` leaves with `root`; `origin` is the log's name (C2SP tlog-checkpoint)."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A checkpoint's text; lines after the third are extensions and not looked at. Raises InputError."""
        lines = text.split("\n")
        if len(lines) < 4 or not _SIZE.fullmatch(lines[1]):
            raise InputError("not a checkpoint: expected the lines origin, size and root")
        root = _decode_base64(lines[2])
        if len(root) != HASH_BYTES:
            raise InputError(f"not a checkpoint: a root of {len(root)} bytes")
        return cls(origin=lines[0], size=int(lines[1]), root=root)


def check_name(name: str) -> str:
    """Returns `name` if it can name a key or a log (no spaces, no plus); raises InputError."""
    if not _NAME.fullmatch(name):
        raise InputError(f"not the name of a key or log: {name[:80]!r}", hint="one word without spaces and plus signs")
    return name


def sign_checkpoint(checkpoint: Checkpoint, key: NoteKey, signer: Signer) -> bytes:
    """The checkpoint as a note signed by `signer`, the private half of `key`."""
    text = checkpoint.text.encode()
    signature = base64.b64encode(key.key_id() + signer.sign(text)).decode()
    return text + f"\n— {key.name} {signature}\n".encode()


def open_checkpoint(unverified_note: bytes, keys: Sequence[NoteKey]) -> tuple[Checkpoint, NoteKey]:
    """The checkpoint in a note, and the trusted key that signed it. Raises TrustError.

    1. Split the text from the signature lines.
    2. Take the lines whose name and key id are a trusted key's; others are passed over (signed-note, "Verification").
    3. At least one of them verifies, none fails.
    4. The text is a checkpoint, and its origin is the name of the key.
    """
    # 1
    try:
        note = unverified_note.decode()
    except UnicodeDecodeError:
        raise TrustError("not a signed note: not UTF-8", code="NoteFormat") from None
    text, separator, block = note.rpartition("\n\n")
    lines = block.split("\n")
    if len(unverified_note) > MAX_NOTE_BYTES or not separator or lines.pop() != "" or not 1 <= len(lines) <= MAX_SIGNATURES:
        raise TrustError("not a signed note: no text followed by an empty line and signatures", code="NoteFormat")
    signed = text.encode() + b"\n"
    # 2, 3
    signer = None
    names = []
    for line in lines:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "—" or not _NAME.fullmatch(name):
            raise TrustError("not a signed note: a line after the text is no signature", code="NoteFormat")
        names.append(name)
        try:
            blob = _decode_base64(encoded)
        except InputError as error:
            raise TrustError(f"not a signed note: {error}", code="NoteFormat") from None
        for key in keys:
            if key.name in ("", name) and blob[:4] == key.key_id(name):
                _verify(key, blob[4:], signed)
                signer = NoteKey(name=name, public=key.public)
    if signer is None:
        raise TrustError(f"the checkpoint is signed by {', '.join(names)[:200]}, and by no key that is trusted", code="NoteKey")
    # 4
    try:
        checkpoint = Checkpoint.parse(signed.decode())
    except InputError as error:
        raise TrustError(str(error), code="NoteFormat") from None
    if checkpoint.origin != signer.name:
        raise TrustError(f"the checkpoint of {checkpoint.origin[:80]!r} is signed by {signer.name!r}", code="NoteKey")
    return checkpoint, signer


def _verify(key: NoteKey, signature: bytes, signed: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, signed)
    except InvalidSignature:
        raise TrustError(
            "the checkpoint's signature does not verify: it was altered, or the key is another's", code="NoteSignature"
        ) from None


def _read_pem(text: str) -> bytes:
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"not a public key in PEM: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError("not an Ed25519 public key")
    return key.public_bytes_raw()


def _decode_base64(text: str) -> bytes:
    """Strict RFC 4648 §4: one spelling only, also of the unused bits."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"not base64: {text[:60]!r}") from None
    if base64.b64encode(data).decode() != text:
        raise InputError(f"not base64 in its one spelling: {text[:60]!r}")
    return data
