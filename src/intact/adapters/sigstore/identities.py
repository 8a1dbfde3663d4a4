"""Sigstore bundles whose certificate names an identity (sigstore bundle v0.3; Fulcio's certificate profile, docs/oid-info.md).

In: a bundle that nobody believes yet, identities that are accepted, and a trusted root: a file of somebody's own Sigstore, or else the one
of the public Sigstore that the library ships. Out: who signed, and the payload that was signed. Never fetches anything, renews nothing, and
loads the library only when a bundle is looked at.

A bundle counts if all of this holds, in this order:

1. It is not larger than a bundle is.
2. Its certificate names one identity, which is accepted, and so is who vouched for it (the issuer).
3. Every time that it claims lies within the validity of an authority, a certificate log and a transparency log of the trusted root: what
   ended before counts for nothing, and neither does what began later. The library does not compare these.
4. The library says so: the certificate is the authority's and was valid then, a certificate log promised to show it, the transparency log
   includes this signature, and the signature is over this payload.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from intact.baseline.ports import CANNOT_VERIFY, MAX_BUNDLE_BYTES, Opened
from intact.model.errors import InputError, PermanentError, TrustError
from intact.model.policy import Signatory

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.models import Bundle, TrustedRoot

PUBLIC_INSTANCE = "https://tuf-repo-cdn.sigstore.dev"
INSTALL = "install Intact with the extra keyless: pip install 'intact[keyless]', or an image built with it, docs/keys.md"
MAX_ROOT_BYTES = 1 << 20
MAX_TOLD = 300
PARTS = ("certificateAuthorities", "ctlogs", "tlogs", "timestampAuthorities")
NEEDED = {"certificateAuthorities": "certificate authority", "ctlogs": "certificate log", "tlogs": "transparency log"}


class SigstoreIdentities:
    """An `IdentityVerifier`. `trusted_root`: None for the public Sigstore; the file is read at each use, so that it may change."""

    def __init__(self, trusted_root: Path | None = None) -> None:
        self._file = trusted_root
        self._proven = b""
        """The root that was last found whole."""

    def check(self) -> None:
        self._read_root()

    def open_bundle(self, unverified: bytes, accepted: Sequence[Signatory]) -> Opened:
        if len(unverified) > MAX_BUNDLE_BYTES:  # 1
            raise InputError("a signature is larger than any is", code="ImageSignature")
        root = self._read_root()
        from sigstore.models import Bundle

        try:
            bundle = Bundle.from_json(unverified)
            signer = _pick_signer(bundle.signing_certificate, accepted)  # 2
            reduced = _reduce(root, _claimed_times(bundle))  # 3
            kind, payload = _verify(bundle, signer, reduced)  # 4
        except (InputError, TrustError):
            raise
        except Exception as error:  # the library raises whatever its own libraries do on hostile input; nothing of it counts
            reason = " ".join(str(error).split())[:MAX_TOLD] or type(error).__name__
            raise TrustError(f"it is no sigstore bundle that counts: {reason}", code="Sigstore") from None
        return Opened(signer=f"{signer.identity} of {signer.issuer}", payload_type=kind, payload=payload)

    def _read_root(self) -> dict[str, Any]:
        """Raises PermanentError: without the library or a trusted root nothing can be called unsigned either."""
        if importlib.util.find_spec("sigstore") is None:
            raise PermanentError("identities cannot be verified: the library sigstore is missing", code=CANNOT_VERIFY, hint=INSTALL)
        place = str(self._file) if self._file is not None else "the library's own"
        try:
            if self._file is not None:
                with self._file.open("rb") as stream:
                    data = stream.read(MAX_ROOT_BYTES + 1)
            else:
                data = resources.files("sigstore._store").joinpath(quote(PUBLIC_INSTANCE, safe=""), "trusted_root.json").read_bytes()
            root = json.loads(data) if len(data) <= MAX_ROOT_BYTES else None
        except (OSError, ValueError, RecursionError, ImportError) as error:
            raise _no_root(place, str(error)) from None
        if not isinstance(root, dict) or not all(isinstance(root.get(part, []), list) for part in PARTS):
            raise _no_root(place, "it is not a trusted_root.json")
        if data != self._proven:
            try:
                _prove_root(root)
            except Exception as error:  # of whatever libraries; a root that is damaged anywhere must not make images look unsigned
                raise _no_root(place, " ".join(str(error).split()) or type(error).__name__) from None
            self._proven = data
        return root


def _no_root(place: str, reason: str) -> PermanentError:
    return PermanentError(
        f"identities cannot be verified: no trusted root of Sigstore ({place}): {reason[:MAX_TOLD]}",
        code=CANNOT_VERIFY,
        hint="see baselines.sigstoreTrustedRoot, docs/keys.md",
    )


def _prove_root(root: dict[str, Any]) -> None:
    """Raises anything unless all of it can be used."""
    from sigstore._internal.trust import KeyringPurpose

    for part in PARTS:
        for one in root.get(part, []):
            _covers(one, [datetime.datetime.now(tz=datetime.UTC)])
    trusted = _load_root(root)
    trusted.rekor_keyring(KeyringPurpose.VERIFY)
    trusted.ct_keyring(KeyringPurpose.VERIFY)
    trusted.get_fulcio_certs()
    trusted.get_timestamp_authorities()


def _load_root(root: dict[str, Any]) -> TrustedRoot:
    from sigstore.models import TrustedRoot
    from sigstore_models.trustroot.v1 import TrustedRoot as Document

    return TrustedRoot(Document.from_json(json.dumps(root)))


def _pick_signer(certificate: Certificate, accepted: Sequence[Signatory]) -> Signatory:
    """Who of `accepted` the certificate claims to be, with the identity spelled out."""
    from cryptography.x509 import RFC822Name, SubjectAlternativeName, UniformResourceIdentifier
    from sigstore.errors import VerificationError
    from sigstore.verify.policy import Identity

    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    texts = [*names.get_values_for_type(UniformResourceIdentifier), *names.get_values_for_type(RFC822Name)]
    if len(texts) != 1 or len(list(names)) != 1:
        raise TrustError("its certificate does not name exactly one e-mail address or URI", code="OtherIdentity")
    fitting = [one for one in accepted if one.accepts(texts[0])]
    if not fitting:
        raise TrustError(f"it is by {texts[0][:MAX_TOLD]!r}, which is not accepted", code="OtherIdentity")
    for one in fitting:
        try:
            Identity(identity=texts[0], issuer=one.issuer).verify(certificate)
        except VerificationError:
            continue
        return Signatory(identity=texts[0], issuer=one.issuer, name=one.name)
    raise TrustError(f"for {texts[0][:MAX_TOLD]!r} vouches an issuer that is not accepted", code="OtherIssuer")


def _claimed_times(bundle: Bundle) -> list[datetime.datetime]:
    """What the library will verify at least one of; not believed before that."""
    entry, stamps = bundle.log_entry._inner, bundle.verification_material.timestamp_verification_data
    times = [one.tst_info.gen_time for one in stamps.rfc3161_timestamps] if stamps else []
    if entry.integrated_time:
        times.append(datetime.datetime.fromtimestamp(entry.integrated_time, tz=datetime.UTC))
    if not times:
        raise TrustError("nothing says when it was made: no entry of a transparency log, no timestamp", code="Sigstore")
    return times


def _reduce(root: dict[str, Any], times: Sequence[datetime.datetime]) -> dict[str, Any]:
    """What of a trusted root was valid at all of `times`."""
    kept = {part: [one for one in root.get(part, []) if _covers(one, times)] for part in PARTS}
    for part, name in NEEDED.items():
        if not kept[part]:
            raise TrustError(f"no {name} of the trusted root was valid when it was made", code="Sigstore")
    return root | kept


def _covers(part: dict[str, Any], times: Sequence[datetime.datetime]) -> bool:
    """By `validFor` of an authority, or of a log's key. What has no beginning is nothing to rely on."""
    valid = part.get("validFor") or part.get("publicKey", {}).get("validFor") or {}
    if not valid.get("start"):
        return False
    start = datetime.datetime.fromisoformat(valid["start"])
    end = datetime.datetime.fromisoformat(valid["end"]) if valid.get("end") else None
    return all(start <= time and (end is None or time <= end) for time in times)


def _verify(bundle: Bundle, signer: Signatory, root: dict[str, Any]) -> tuple[str, bytes]:
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    return Verifier(trusted_root=_load_root(root)).verify_dsse(bundle, Identity(identity=signer.identity, issuer=signer.issuer))
