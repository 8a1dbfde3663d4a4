"""A trust root that was made to harm whoever reads it: a file that people were given, or what somebody put into the ConfigMap."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from intact.baseline.trust import Revocation, TrustRoot
from intact.baseline.trust_document import MAX_ROOT_BYTES, encode_trust, parse_trust
from intact.model.errors import InputError
from intact.run.trust import PinnedTrust

HEAD = b"format: intact.dev/trust-root/v1\nversion: 1\nkeys: "
MANY = 200_000


@pytest.mark.parametrize(
    "keys",
    [
        b"1" + b":1" * MANY,
        b"1" + b":1" * MANY + b".5",
        b'!!int "1' + b":1" * MANY + b'"',
        b'!!float "1' + b":1" * MANY + b'.5"',
        b"!!timestamp 2001-99-99",
        b"!!python/object/apply:os.system [id]",
        b"[" * MANY,
        b"{? " * MANY,
        b"\n- 1" * MANY,
        b"[&a [], " + b"*a, " * 1000 + b"]",
        b"\n- publicKey: x\n  validUntil: 9999999-01-01",
        b"\n- publicKey: x\n  validUntil: .inf",
        b"1e999",
        b"2001-99-99",
    ],
    ids=["base60", "base60-float", "tagged-base60", "tagged-float", "tagged-time", "python", "lists", "mappings", "items", "aliases",
         "far-future", "infinite", "overflow", "no-time"],
)  # fmt: skip
def test_a_hostile_trust_root_is_refused_soon(keys: bytes) -> None:
    started = time.process_time()
    with pytest.raises(InputError):
        parse_trust((HEAD + keys + b"\n")[:MAX_ROOT_BYTES])
    assert time.process_time() - started < 20


def test_many_revocations_do_not_make_an_agent_forget_what_it_knew(tmp_path: Path) -> None:
    """Each trust root names some, never the same: they add up, and what an agent remembers of them it must be able to read."""
    file, remembered = tmp_path / "trust.json", tmp_path / "remembered.json"
    count, each = 5, 200
    for version in range(1, count + 1):
        revoked = tuple(Revocation(id=f"sha256:{version:032x}{n:032x}", at=0.0, reason="lost, " * 30) for n in range(each))
        file.write_bytes(encode_trust(TrustRoot(version=version, revoked=revoked)))
        pinned = PinnedTrust(file, remembered=remembered)
        assert len(pinned.read().revoked) == version * each
    file.unlink()
    assert len(PinnedTrust(file, remembered=remembered).revoked()) == count * each
