"""Trust as a process is given it: files that are public keys or trust roots → whose signatures count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from intact.adapters.keys.signing import read_key_file
from intact.baseline.trust import Trust, TrustRoot, merge_trust
from intact.baseline.trust_document import parse_trust
from intact.model.errors import InputError


def read_trust_root(file: Path) -> TrustRoot:
    """A trust root, or a public key as one that is nothing but that key. Raises InputError naming the file."""
    try:
        return parse_trust(read_key_file(file))
    except InputError as error:
        raise InputError(f"{file}: {error}", code=error.code) from None


def open_trust(files: Sequence[Path], now: float) -> Trust:
    """Whose signature counts on what is taken in at `now`, by all of `files` together. What one of them revokes counts for none."""
    return merge_trust([read_trust_root(file).for_new(now) for file in files])
