"""Signing keys as PEM files, Ed25519 or ECDSA P-256: `K.pem` (PKCS #8, mode 0600) and `K.pub` (SubjectPublicKeyInfo). Never prints a
private key, never overwrites a key, never reads a private key that others may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from intact.model.errors import InputError, PermanentError, TrustError

PRIVATE_SUFFIX, PUBLIC_SUFFIX = ".pem", ".pub"
MAX_KEY_BYTES = 1 << 20
KEY_TYPES = ("ed25519", "ecdsa-p256")
PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def generate_key(stem: Path, key_type: str = "ed25519") -> tuple[Path, Path]:
    """Makes a key pair `STEM.pem`, `STEM.pub`, both or neither; the paths. Raises InputError if either is there already, PermanentError if
    they cannot be written."""
    private, public = Path(f"{stem}{PRIVATE_SUFFIX}"), Path(f"{stem}{PUBLIC_SUFFIX}")
    for path in (private, public):
        if path.exists():
            raise InputError(f"{path} is there already", code="KeyExists", hint="choose another name: a key is never overwritten")
    key = make_key(key_type)
    _create(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    try:
        _create(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except BaseException:
        private.unlink()
        raise
    return private, public


def make_key(key_type: str) -> PrivateKey:
    """A new private key of one of `KEY_TYPES`."""
    return ec.generate_private_key(ec.SECP256R1()) if key_type == "ecdsa-p256" else Ed25519PrivateKey.generate()


def load_private_key(path: Path) -> PrivateKey:
    """The private key in a PEM file, as `generate_key` or openssl wrote it. Raises InputError if it is none of a known type, TrustError if
    others can read it."""
    data, mode = _read(path)
    if mode & 0o077 and b"PRIVATE KEY" in data:
        raise TrustError(f"{path} can be read by others", code="KeyMode", hint=f"chmod 600 {path}, and consider the key known to them")
    if b"ENCRYPTED" in data:
        raise InputError(f"{path} is encrypted", code="Key", hint="decrypt it first, for example: openssl pkey -in K -out K.pem")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(f"{path} is not a private key in PEM", code="Key", hint="make one with: intact baseline keygen -o K") from None
    if isinstance(key, Ed25519PrivateKey) or (isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)):
        return key
    raise InputError(f"{path} is neither an Ed25519 nor an ECDSA P-256 key", code="Key", hint="make one with: intact baseline keygen -o K")


def load_ed25519_key(path: Path) -> Ed25519PrivateKey:
    """The private key of a checkpoint's signer (C2SP signed notes know Ed25519). Raises as `load_private_key`."""
    key = load_private_key(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is not an Ed25519 key", code="Key")
    return key


def load_public_key(path: Path) -> Ed25519PublicKey | ec.EllipticCurvePublicKey:
    """The public key in a PEM file, as `generate_key`, openssl or cosign wrote it. Raises InputError if it is none of a known type."""
    try:
        key = load_pem_public_key(read_key_file(path))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(f"{path} is not a public key in PEM", code="Key", hint="it is the .pub file of a key pair") from None
    if isinstance(key, Ed25519PublicKey) or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        return key
    raise InputError(f"{path} is neither an Ed25519 nor an ECDSA P-256 key", code="Key")


def read_key_file(path: Path) -> bytes:
    """A public key or a trust root, as it is. Raises InputError if it is not there, too long or no file."""
    return _read(path)[0]


def _read(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_KEY_BYTES:
                raise InputError(f"{path} is not a key file", code="Key")
            return file.read(), stat.S_IMODE(info.st_mode)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", code="Key") from None


def _create(path: Path, data: bytes, mode: int) -> None:
    """A new file, whole or not there."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, mode)
                file.write(data)
                file.flush()
                os.fsync(fd)
        except BaseException:
            os.unlink(path)
            raise
    except OSError as error:
        raise PermanentError(f"cannot write {path}: {error.strerror}", code="Key") from None
