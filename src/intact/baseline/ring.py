"""The signing keys of a process that rotates them: one signs, the next is published before it does, the last ones are remembered.

In: private files by name, the time, and whom people revoked. Out: who signs now, and the trust root that is pinned by whoever believes this
process.

1. What is kept is read. 2. A key that people revoked is revoked; revoked keys and their private files are never used again. 3. Without a
key that can sign there is a new one, which signs at once: whoever pins the old trust root believes nothing until it has the new one.
4. When the newest key is as old as a key may get, another is made and published. 5. The newest key that has been published for `OVERLAP_S`
signs; those before it end when everybody had the time to take in what they signed, and their private keys are destroyed. 6. What changed
is kept at once. The version of the trust root is the time of its making, so that it goes up even where everything else was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from intact.model.errors import InputError, PermanentError

from .ports import KeyFiles
from .signing import KeySigner, PublicKey
from .trust import Revocation, TrustedKey, TrustRoot
from .trust_document import encode_trust, parse_trust

TRUST_FILE = "baseline-trust.json"
OVERLAP_S = 86_400.0
"""Between a key's publication and its first signature, and between the last signature of a key and its end."""
ROTATE_AFTER_S = 365 * 86_400.0
KEPT_KEYS = 16
"""Retired keys whose signatures on what was taken in in time still count; older ones are forgotten, and what they signed is made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """`signer` signs now; `root` is what to publish."""

    signer: KeySigner
    root: TrustRoot


def turn_ring(store: KeyFiles, now: float, *, revoked: Sequence[Revocation] = (), rotate_after_s: float = ROTATE_AFTER_S) -> Ring:
    """The ring at `now`, changed if it is time. Safe to call often.

    Raises PermanentError (the store holds something else), TemporaryError (another replica wrote at the same time: call again).
    """
    before = dict(store.read())  # 1
    kept = _read_root(before)
    root = kept or TrustRoot(version=0)
    new = [one for one in revoked if one.id not in root.revoked_ids]  # 2
    root = replace(root, revoked=(*root.revoked, *new))
    usable = {one.key.id: _read_private(before[_file(one.key)]) for one in root.keys if _is_usable(one, root, before, now)}
    if not usable:  # 3
        root, signer = _add_key(root, now, signs_at=now)
        usable[signer.public.id] = signer
    newest = [one for one in root.keys if one.key.id in usable][-1]
    if now - _begins(newest) >= rotate_after_s:  # 4
        root, signer = _add_key(root, now, signs_at=now + OVERLAP_S)
        usable[signer.public.id] = signer
    able = [one for one in root.keys if one.key.id in usable]
    signing = next((one for one in reversed(able) if _begins(one) + OVERLAP_S <= now), able[0])  # 5
    older = {one.key.id for one in able[: able.index(signing)]}
    ended = tuple(replace(one, valid_until=now + OVERLAP_S) if one.key.id in older else one for one in root.keys)
    root = replace(root, keys=ended[-KEPT_KEYS:])
    if kept is None or (root.keys, root.revoked) != (kept.keys, kept.revoked):
        root = replace(root, version=max(root.version + 1, int(now)))
    names = {_file(one.key) for one in root.keys if one.key.id in usable and one.key.id not in older}
    files = {name: data for name, data in before.items() if not _is_own(name)}
    files |= {_file(signer.public): _to_pem(signer) for signer in usable.values() if _file(signer.public) in names}
    files[TRUST_FILE] = encode_trust(root)
    if files != before:
        store.replace(files, read_before=before)  # 6
    return Ring(signer=usable[signing.key.id], root=root)


def _add_key(root: TrustRoot, now: float, *, signs_at: float) -> tuple[TrustRoot, KeySigner]:
    """A key is valid as soon as it is published; `_begins` tells by its time when it may sign."""
    signer = KeySigner(Ed25519PrivateKey.generate())
    begins = float(int(signs_at - OVERLAP_S))
    return replace(root, keys=(*root.keys, TrustedKey(key=signer.public, name="controller", valid_from=begins))), signer


def _begins(key: TrustedKey) -> float:
    return key.valid_from or 0.0


def _is_usable(key: TrustedKey, root: TrustRoot, files: Mapping[str, bytes], now: float) -> bool:
    return key.key.id not in root.revoked_ids and key.valid_until is None and _file(key.key) in files


def _file(key: PublicKey) -> str:
    return f"baseline-{key.id.removeprefix('sha256:')[:16]}.pem"


def _is_own(name: str) -> bool:
    return name == TRUST_FILE or (name.startswith("baseline-") and name.endswith(".pem"))


def _read_root(files: Mapping[str, bytes]) -> TrustRoot | None:
    try:
        return parse_trust(files[TRUST_FILE]) if TRUST_FILE in files else None
    except InputError as error:
        raise PermanentError(
            f"the controller's keys hold no trust root: {error}", code="KeyRing", hint=f"remove {TRUST_FILE} from them"
        ) from None


def _read_private(pem: bytes) -> KeySigner:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise PermanentError("a signing key of the controller is damaged", code="KeyRing", hint="remove it: another is made")
    return KeySigner(key)


def _to_pem(signer: KeySigner) -> bytes:
    return signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
