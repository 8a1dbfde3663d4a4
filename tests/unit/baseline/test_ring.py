"""The controller's own keys: rotated with overlap, revoked at once, never without one. Numbers are those of `baseline.ring`."""

from collections.abc import Mapping

import pytest

from intact.baseline.ring import KEPT_KEYS, OVERLAP_S, ROTATE_AFTER_S, TRUST_FILE, Ring, turn_ring
from intact.baseline.trust import Revocation, succeed
from intact.baseline.trust_document import parse_trust
from intact.model.errors import PermanentError, TemporaryError

START = 1_800_000_000.0
DAY_S = 86_400.0


class Files:
    """Private files in memory: the port, as one Secret keeps it."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {"tls.key": b"another's"}
        self.writes = 0

    def read(self) -> Mapping[str, bytes]:
        return dict(self.kept)

    def replace(self, files: Mapping[str, bytes], *, read_before: Mapping[str, bytes]) -> None:
        if self.kept != dict(read_before):
            raise TemporaryError("somebody else wrote")
        self.kept = dict(files)
        self.writes += 1


def private_files(files: Files) -> int:
    return sum(name.startswith("baseline-") and name.endswith(".pem") for name in files.kept)


def test_step_1_what_is_kept_is_used_again_and_nothing_is_written() -> None:
    files = Files()
    first = turn_ring(files, START)
    again = turn_ring(files, START + DAY_S)
    assert (again.signer.public, again.root) == (first.signer.public, first.root)
    assert files.writes == 1
    assert files.kept["tls.key"] == b"another's"
    assert parse_trust(files.kept[TRUST_FILE]) == first.root


def test_step_2_a_revoked_key_is_replaced_at_once_and_its_private_key_destroyed() -> None:
    files = Files()
    stolen = turn_ring(files, START).signer.public
    revocation = Revocation(id=stolen.id, at=START, reason="stolen")
    after = turn_ring(files, START + 60, revoked=[revocation])
    assert after.signer.public.id != stolen.id
    assert private_files(files) == 1
    trust = after.root.for_new(START + 60)
    assert trust.keys == (after.signer.public,)
    assert "stolen" in trust.refused[stolen.id]
    assert turn_ring(files, START + 120, revoked=[]).root.revoked_ids == {stolen.id}, "a revocation is not taken back"


def test_step_2_keys_of_others_that_are_revoked_are_published_too() -> None:
    ring = turn_ring(Files(), START, revoked=[Revocation(id="sha256:" + "0" * 64, at=START, reason="stolen from CI")])
    assert ring.root.revoked_ids == {"sha256:" + "0" * 64}


def test_step_3_a_lost_key_is_replaced_by_one_that_signs_at_once() -> None:
    files = Files()
    first = turn_ring(files, START)
    files.kept = {}
    after = turn_ring(files, START + 60)
    assert after.signer.public in after.root.for_new(START + 60).keys
    assert after.root.version > first.root.version, "agents must not take it for an older one"


def test_step_4_and_5_the_next_key_is_published_a_while_before_it_signs_and_the_last_one_ends_a_while_after() -> None:
    files = Files()
    first = turn_ring(files, START)
    at = START - OVERLAP_S + ROTATE_AFTER_S  # it counts from OVERLAP_S before its first signature
    published = turn_ring(files, at)
    assert published.signer.public == first.signer.public
    assert len(published.root.for_new(at).keys) == 2
    still = turn_ring(files, at + OVERLAP_S - 1)
    assert still.signer.public == first.signer.public
    rotated = turn_ring(files, at + OVERLAP_S)
    assert rotated.signer.public != first.signer.public
    assert private_files(files) == 1, "the private key before is destroyed"
    assert first.signer.public in rotated.root.for_new(at + OVERLAP_S + 1).keys
    ended = turn_ring(files, at + 2 * OVERLAP_S).root
    assert first.signer.public not in ended.for_new(at + 2 * OVERLAP_S).keys
    assert first.signer.public in ended.for_kept(at + OVERLAP_S).keys


def test_step_5_whoever_follows_the_published_roots_believes_every_signature_at_every_moment() -> None:
    files, believed = Files(), None
    now = START
    while now < START + 5 * ROTATE_AFTER_S:
        ring: Ring = turn_ring(files, now)
        seen_later = believed or ring.root  # an agent has the root of the look before
        assert ring.signer.public in seen_later.for_new(now).keys
        believed = succeed(seen_later, ring.root)
        now += DAY_S / 2
    assert len(ring.root.keys) <= KEPT_KEYS


def test_step_6_another_replica_that_wrote_meanwhile_wins() -> None:
    class Racing(Files):
        def read(self) -> Mapping[str, bytes]:
            before = dict(self.kept)
            self.kept["tls.key"] = b"renewed"
            return before

    with pytest.raises(TemporaryError):
        turn_ring(Racing(), START)


def test_keys_that_are_damaged_are_told() -> None:
    for change in ({TRUST_FILE: b"{"}, {"*": b"no key"}):
        files = Files()
        turn_ring(files, START)
        for name in list(files.kept):
            if name.startswith("baseline-") and name.endswith(".pem") and "*" in change:
                files.kept[name] = change["*"]
        files.kept |= {name: data for name, data in change.items() if name != "*"}
        with pytest.raises(PermanentError):
            turn_ring(files, START)
