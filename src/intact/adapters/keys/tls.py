"""The controller's own certificate authority and its serving certificate: made, kept, rotated before they expire.

In: a store of a few files, the names to serve under, the time. Out: the CA bundle that agents pin, and the chain and key that the API
serves with. P-256 throughout: every client and browser takes it. The CA's key never leaves the store.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from intact.model.errors import InputError, PermanentError, TemporaryError

CA_CERTIFICATES = "ca.crt"
CA_KEYS = "ca.key"
CHAIN = "tls.crt"
KEY = "tls.key"

CA_LIFETIME = timedelta(days=3650)
CA_RENEWED_BEFORE = timedelta(days=365)
CA_OVERLAP = timedelta(days=2)
"""A new CA is published this long before it signs: every agent has read the new bundle by then."""
SERVING_LIFETIME = timedelta(days=90)
SERVING_RENEWED_BEFORE = timedelta(days=30)
_CLOCK_SKEW = timedelta(hours=1)


class CertificateStore(Protocol):
    """A few small files that are replaced together or not at all: a directory, or a Kubernetes Secret."""

    def read(self) -> Mapping[str, bytes]:
        """The files by name; empty if there are none yet."""

    def replace(self, files: Mapping[str, bytes], *, read_before: Mapping[str, bytes]) -> None:
        """Writes `files` in place of all. Raises TemporaryError if they are no longer `read_before`: another replica was quicker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the API serves with, in PEM; `renew_at` (Unix seconds) is when `ensure_serving` would change something."""

    ca_bundle: bytes
    chain: bytes
    key: bytes
    renew_at: float


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure_serving(store: CertificateStore, names: tuple[str, ...], now: float) -> Serving:
    """A serving certificate for `names` (DNS names and addresses, the first is its subject), renewed if need be. Safe to call often.

    1. What the store has is read. 2. Expired CAs are dropped; without one that lasts another year a new one is added. 3. The newest CA that
    has been published for `CA_OVERLAP` signs, or the oldest if none has. 4. The serving certificate is kept if that CA signed it, it names
    exactly `names` and lasts another month; else it is made anew. 5. What changed is written at once. Raises InputError (no names),
    PermanentError (the store holds something else), TemporaryError (another replica wrote at the same time: call again).
    """
    if not names:
        raise InputError("a serving certificate needs at least one name")
    moment = datetime.fromtimestamp(now, UTC)
    # 1
    before = dict(store.read())
    authorities = _read_authorities(before)
    # 2
    authorities = [a for a in authorities if a.certificate.not_valid_after_utc > moment]
    if not any(a.certificate.not_valid_after_utc - CA_RENEWED_BEFORE > moment for a in authorities):
        authorities.append(_make_authority(moment))
    # 3
    published = [a for a in authorities if _published_at(a) + CA_OVERLAP <= moment]
    issuer = published[-1] if published else authorities[0]
    # 4
    serving = _read_serving(before)
    if serving is None or not _is_good(serving, issuer, names, moment):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _issue(issuer, key, names, moment)
        chain, key_pem = _pem(certificate), _key_pem(key)
    else:
        certificate, chain, key_pem = serving, before[CHAIN], before[KEY]
    # 5
    files = {
        **before,
        CA_CERTIFICATES: b"".join(_pem(a.certificate) for a in authorities),
        CA_KEYS: b"".join(_key_pem(a.key) for a in authorities),
        CHAIN: chain,
        KEY: key_pem,
    }
    if files != before:
        store.replace(files, read_before=before)
    renewals = [certificate.not_valid_after_utc - SERVING_RENEWED_BEFORE]
    renewals += [_published_at(a) + CA_OVERLAP for a in authorities if a not in published and a is not issuer]
    renewals.append(max(a.certificate.not_valid_after_utc for a in authorities) - CA_RENEWED_BEFORE)
    return Serving(ca_bundle=files[CA_CERTIFICATES], chain=chain, key=key_pem, renew_at=min(renewals).timestamp())


def _read_authorities(files: Mapping[str, bytes]) -> list[_Authority]:
    if not files.get(CA_CERTIFICATES):
        return []
    try:
        certificates = x509.load_pem_x509_certificates(files[CA_CERTIFICATES])
        keys = [serialization.load_pem_private_key(pem, None) for pem in _split_keys(files[CA_KEYS])]
        pairs = list(zip(certificates, keys, strict=True))
    except (ValueError, KeyError) as error:
        raise PermanentError(
            "the stored CA cannot be read", code="BadCertificateStore", hint="restore it, or delete it to make a new one and pin it again"
        ) from error
    authorities = []
    for certificate, key in pairs:
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise PermanentError("a stored CA certificate and its key do not belong together", code="BadCertificateStore")
        authorities.append(_Authority(certificate, key))
    return sorted(authorities, key=lambda a: a.certificate.not_valid_before_utc)


def _split_keys(pem: bytes) -> list[bytes]:
    end = b"-----END PRIVATE KEY-----\n"
    return [part + end for part in pem.split(end) if part.strip()]


def _read_serving(files: Mapping[str, bytes]) -> x509.Certificate | None:
    """The stored serving certificate, or None if there is none that can be used."""
    try:
        certificate = x509.load_pem_x509_certificate(files[CHAIN])
        key = serialization.load_pem_private_key(files[KEY], None)
    except (KeyError, ValueError):
        return None
    return certificate if key.public_key() == certificate.public_key() else None


def _is_good(serving: x509.Certificate, issuer: _Authority, names: tuple[str, ...], moment: datetime) -> bool:
    if serving.not_valid_after_utc - SERVING_RENEWED_BEFORE <= moment:
        return False
    try:
        serving.verify_directly_issued_by(issuer.certificate)
        named = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return set(named) == set(_alternative_names(names))


def _make_authority(moment: datetime) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"intact controller CA {moment:%Y-%m-%d}")])
    usage = _key_usage(signs_certificates=True)
    certificate = (
        _begin(name, name, key, moment, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Authority(certificate, key)


def _issue(issuer: _Authority, key: ec.EllipticCurvePrivateKey, names: tuple[str, ...], moment: datetime) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    lifetime = min(SERVING_LIFETIME, issuer.certificate.not_valid_after_utc - moment)
    public = issuer.key.public_key()
    return (
        _begin(subject, issuer.certificate.subject, key, moment, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternative_names(names)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, moment: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _CLOCK_SKEW)
        .not_valid_after(moment + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(names: tuple[str, ...]) -> list[x509.GeneralName]:
    shown: list[x509.GeneralName] = []
    for name in names:
        try:
            shown.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            shown.append(x509.DNSName(name))
    return shown


def _published_at(authority: _Authority) -> datetime:
    return authority.certificate.not_valid_before_utc + _CLOCK_SKEW


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class DirectoryStore:
    """A `CertificateStore` in `directory`: each version a directory of its own, `current` the link that chooses one (as kubelet does)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def current(self) -> Path:
        """Where the files of the version in use are."""
        return self._directory / "current"

    def read(self) -> Mapping[str, bytes]:
        if not self.current.exists():
            return {}
        return {path.name: path.read_bytes() for path in sorted(self.current.resolve().iterdir())}

    def replace(self, files: Mapping[str, bytes], *, read_before: Mapping[str, bytes]) -> None:
        """1. A new version is written and synced. 2. The link is swapped to it. 3. Older versions are removed."""
        if self.read() != dict(read_before):
            raise TemporaryError("the certificates were changed by somebody else", code="Conflict", hint="read them again")
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # 1
            version = Path(tempfile.mkdtemp(prefix="version-", dir=self._directory))
            for name, data in files.items():
                fd = os.open(version / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(fd)
            # 2
            link = self._directory / "next"
            link.unlink(missing_ok=True)
            link.symlink_to(version.name)
            link.rename(self.current)
        except OSError as error:
            raise TemporaryError(f"cannot write certificates to {self._directory}: {error.strerror}", code="DiskError") from error
        # 3
        for old in self._directory.glob("version-*"):
            if old != version:
                shutil.rmtree(old, ignore_errors=True)
