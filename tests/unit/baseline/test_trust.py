"""Trust roots: which keys count, when, and what is never believed again. Numbers are those of `baseline.trust`."""

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.baseline.signing import PublicKey
from intact.baseline.trust import TrustedKey, TrustRoot, merge_trust, succeed
from intact.baseline.trust_document import encode_trust, parse_time, parse_trust
from intact.model.errors import InputError, TrustError

OLD = PublicKey(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32).public_key())
NEW = PublicKey(ec.derive_private_key(7, ec.SECP256R1()).public_key())
ROOT = TrustRoot(
    version=4,
    keys=(TrustedKey(key=OLD, name="ci 2026", valid_until=2000.0), TrustedKey(key=NEW, name="ci 2027", valid_from=1000.0)),
)


def test_step_1_a_revoked_key_counts_for_nothing_whenever_it_signed() -> None:
    root = ROOT.revoke(OLD.id, 1500.0, "stolen")
    for at in (0.0, 1400.0, 1600.0):
        trust = root.for_kept(at)
        assert OLD not in trust.keys
        assert trust.refused[OLD.id] == "was revoked at 1970-01-01T00:25:00Z: stolen"


@pytest.mark.parametrize(("now", "counting"), [(999.0, [OLD]), (1000.0, [OLD, NEW]), (1999.0, [OLD, NEW]), (2000.0, [NEW])])
def test_step_2_what_is_new_counts_by_a_key_within_its_time_and_rotation_overlaps(now: float, counting: list[PublicKey]) -> None:
    assert list(ROOT.for_new(now).keys) == counting


def test_step_3_what_was_taken_in_in_time_outlives_its_key() -> None:
    assert OLD in ROOT.for_kept(1999.0).keys
    assert OLD not in ROOT.for_kept(2000.0).keys


def test_a_revocation_in_one_of_several_files_counts_for_all() -> None:
    trust = merge_trust([ROOT.for_new(1500.0), TrustRoot(version=1).revoke(OLD.id, 0.0, "stolen").for_new(1500.0)])
    assert trust.keys == (NEW,)


def test_an_older_trust_root_or_another_of_the_same_version_is_refused() -> None:
    newer = ROOT.expire(NEW.id, 3000.0)
    assert succeed(ROOT, newer) == newer
    assert succeed(newer, newer) == newer
    with pytest.raises(TrustError, match="older"):
        succeed(newer, ROOT)
    with pytest.raises(TrustError, match="two different"):
        succeed(newer, replace(ROOT, version=newer.version))


def test_a_revocation_once_seen_is_not_taken_back_by_a_later_version() -> None:
    revoked = ROOT.revoke(OLD.id, 1500.0, "stolen")
    believed = succeed(revoked, replace(ROOT, version=revoked.version + 1))
    assert OLD.id in believed.revoked_ids
    assert succeed(believed, replace(ROOT, version=revoked.version + 1)) == believed


def test_a_revoked_key_is_never_added_again() -> None:
    revoked = TrustRoot(version=1).revoke(OLD.id, 0.0, "stolen")
    with pytest.raises(InputError, match="never trusted again"):
        revoked.add(TrustedKey(key=OLD))


def test_every_change_is_a_new_version() -> None:
    assert ROOT.revoke(OLD.id, 0.0, "x").version == ROOT.expire(OLD.id, 0.0).version == 5
    with pytest.raises(InputError):
        ROOT.add(TrustedKey(key=NEW))
    with pytest.raises(InputError):
        ROOT.expire("sha256:" + "0" * 64, 0.0)


def test_a_document_says_what_was_written() -> None:
    root = ROOT.revoke(OLD.id, 1500.0, "stolen")
    assert parse_trust(encode_trust(root)) == root


def test_yaml_as_people_write_it_and_a_bare_key_are_read() -> None:
    text = f"format: intact.dev/trust-root/v1\nversion: 2\nkeys:\n- validUntil: 2027-01-31\n  publicKey: |\n{indent(OLD.pem)}\n"
    (key,) = parse_trust(text.encode()).keys
    assert (key.key, key.valid_until) == (OLD, parse_time("2027-01-31T00:00:00Z"))
    assert parse_trust(NEW.pem).for_new(0.0).keys == (NEW,)


def indent(pem: bytes) -> str:
    return "\n".join(f"    {line}" for line in pem.decode().splitlines())


def change(**changes: object) -> bytes:
    document = json.loads(encode_trust(ROOT.revoke(OLD.id, 1500.0, "stolen")))
    for path, value in changes.items():
        *where, last = path.split("__")
        target = document
        for step in where:
            target = target[int(step)] if step.isdigit() else target[step]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"{}",
        b"\xff",
        b"- 1",
        b"[" * 100_000,
        b"a: &a [x]\nb: [*a, *a]",
        b"-----BEGIN PUBLIC KEY-----\n",
        b" " * ((1 << 20) + 1),
        change(version=0),
        change(version="4"),
        change(version=True),
        change(version=1 << 60),
        change(version=None),
        change(extra=1),
        change(keys=[], revoked=[]),
        change(keys={}),
        change(keys__0__id="sha256:" + "0" * 64),
        change(keys__0__publicKey="no key"),
        change(keys__0__validUntil="soon"),
        change(keys__1__validUntil="1970-01-01"),
        change(keys__0__typo=1),
        change(keys__0__name="a\u202eb"),
        change(revoked__0__reason=None),
        change(revoked__0__id="sha256:0"),
        change(keys=json.loads(encode_trust(ROOT))["keys"] * 2),
    ],
)
def test_a_document_that_is_not_right_is_refused_whole(document: bytes) -> None:
    with pytest.raises(InputError):
        parse_trust(document)
