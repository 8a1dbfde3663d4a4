"""How a process opens its store of baselines, and the key it signs them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from intact.adapters.keys.signing import generate_key, load_private_key
from intact.adapters.store.baselines import BaselineDirectory
from intact.baseline.signing import KeySigner, PublicKey, Signer
from intact.baseline.store import BaselineStore
from intact.baseline.trust import NOBODY, TrustRoot


def open_own_key(stem: Path) -> KeySigner:
    """The process's own signing key at `STEM.pem`, made at the first start."""
    if not stem.with_suffix(".pem").exists():
        stem.parent.mkdir(parents=True, exist_ok=True)
        generate_key(stem)
    return KeySigner(load_private_key(stem.with_suffix(".pem")))


def open_store(
    directory: Path,
    signer: Signer,
    trust: Callable[[], TrustRoot] = lambda: NOBODY,
    *,
    retired: Callable[[], Sequence[PublicKey]] = tuple,
    renews: bool = False,
) -> BaselineStore:
    """The baselines kept in `directory`, signed by the process itself, now or with one of its `retired` keys, or by whom `trust` names.
    `renews`: what was taken in before some key was revoked is fetched again."""
    return BaselineStore(BaselineDirectory(directory), signer=signer, retired=retired, trust=trust, renews=renews)
