"""Somebody has a key, or has the place where keys are pinned: what that is worth to them, and how it ends (docs/keys.md)."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.adapters.keys.tls import DirectoryStore
from intact.adapters.store.baselines import BaselineDirectory
from intact.audit.export import export_log
from intact.audit.note import NoteKey
from intact.audit.verify import verify_export
from intact.baseline.document import encode_document, load_document, replace_envelope, split_document
from intact.baseline.receipt import seal_receipt
from intact.baseline.ring import ROTATE_AFTER_S
from intact.baseline.signing import KeySigner, Signer, seal_envelope
from intact.baseline.statement import encode_statement
from intact.baseline.store import BaselineStore
from intact.baseline.trust import TrustedKey, TrustRoot
from intact.baseline.trust_document import encode_trust
from intact.model.errors import IntactError, TrustError
from intact.model.layer import Baseline, Grade
from intact.run.storage.memory import open_state
from intact.run.storage.own_keys import OwnKeys
from intact.run.trust import PinnedTrust
from tests.unit.baseline.test_store import make_baseline

CI = KeySigner(ec.derive_private_key(7, ec.SECP256R1()))
NEXT_CI = KeySigner(ec.derive_private_key(8, ec.SECP256R1()))
OWN = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
ROOT = TrustRoot(version=1, keys=(TrustedKey(key=CI.public, name="ci"),))
HONEST, EVIL = make_baseline(b"app"), make_baseline(b"app with a backdoor")
NOW = 1_800_000_000.0


@dataclass
class Place:
    """A store on disk, with the trust root and the clock a test wants."""

    directory: Path
    root: TrustRoot = ROOT
    now: float = NOW
    signer: Signer = OWN
    renews: bool = False

    def open(self) -> BaselineStore:
        return BaselineStore(
            BaselineDirectory(self.directory), signer=self.signer, trust=lambda: self.root, renews=self.renews, clock=lambda: self.now
        )

    def take_in(self, baseline: Baseline, signer: KeySigner) -> None:
        self.open().put(baseline, envelope=seal_envelope(encode_statement(baseline), [signer]))

    def grade(self, baseline: Baseline) -> Grade:
        found = self.open().get(str(baseline.key))
        assert found is not None
        return found.grade


# -- the key of CI ---------------------------------------------------------------------------------------------------


def test_a_stolen_ci_key_that_is_revoked_takes_its_baselines_along_and_they_are_computed_anew(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.take_in(EVIL, CI)
    assert place.grade(EVIL) is Grade.SIGNED
    place.root = ROOT.revoke(CI.public.id, NOW, "stolen from CI")
    with pytest.raises(TrustError, match="stolen from CI"):
        place.open().get(str(EVIL.key))
    assert place.open().find_layer(EVIL.layers[0].diff_id) is None, "nor is any of its tables built upon"
    with pytest.raises(TrustError, match="stolen from CI"):
        place.take_in(EVIL, CI)
    place.open().put(make_baseline(b"app with a backdoor"))  # what was computed from the image's own bytes takes its place
    assert place.grade(EVIL) is Grade.VERIFIED


@pytest.mark.parametrize("signed_at", [0.0, NOW - 86400.0])
def test_no_date_saves_what_a_revoked_key_signed(tmp_path: Path, signed_at: float) -> None:
    place = Place(tmp_path, now=signed_at)
    place.take_in(EVIL, CI)
    place.now, place.root = NOW, ROOT.revoke(CI.public.id, NOW, "stolen")
    with pytest.raises(TrustError):
        place.open().get(str(EVIL.key))


def test_who_writes_into_the_store_cannot_make_an_acceptance_of_their_own(tmp_path: Path) -> None:
    """With a stolen, long expired key they sign, and date the receipt back to when it was valid: but it is not the store's receipt."""
    place = Place(tmp_path, root=ROOT.expire(CI.public.id, NOW - 1000.0))
    envelope = seal_envelope(encode_statement(EVIL), [CI])
    for forged in (seal_receipt(envelope, NOW - 2000.0, [], CI), envelope):
        with pytest.raises(TrustError):
            place.open().put(EVIL, envelope=forged)


def test_a_signature_cut_out_of_a_receipt_is_judged_as_new(tmp_path: Path) -> None:
    place = Place(tmp_path, now=NOW)
    place.take_in(HONEST, CI)
    place.root, place.now = ROOT.expire(CI.public.id, NOW + 10), NOW + 20
    assert place.grade(HONEST) is Grade.SIGNED, "taken in while the key was valid"
    with pytest.raises(TrustError, match="expired"):
        place.take_in(HONEST, CI)


def test_a_lost_ci_key_is_followed_by_another_and_what_it_signed_stays_good(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.take_in(HONEST, CI)
    place.root = ROOT.add(TrustedKey(key=NEXT_CI.public)).expire(CI.public.id, NOW + 100)
    place.now = NOW + 200
    assert place.grade(HONEST) is Grade.SIGNED
    other = make_baseline(b"the next release")
    place.take_in(other, NEXT_CI)
    assert place.grade(other) is Grade.SIGNED


def test_a_signed_baseline_is_not_laundered_through_the_stores_own_signature(tmp_path: Path) -> None:
    place = Place(tmp_path)
    signed = load_document(encode_document(EVIL, [CI]), trusted=[CI.public])
    with pytest.raises(IntactError):
        place.open().put(signed)


def test_a_good_signature_moved_to_another_baseline_does_not_count() -> None:
    envelope, _ = split_document(memoryview(encode_document(HONEST, [CI])))
    with pytest.raises(IntactError):
        load_document(replace_envelope(encode_document(EVIL), envelope), trusted=[CI.public])


# -- the controller's key --------------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """The controller's keys, what it publishes, and one agent that pins it. `people` is what people gave it."""

    directory: Path
    people: TrustRoot = field(default_factory=lambda: TrustRoot(version=0))
    now: float = NOW

    def __post_init__(self) -> None:
        self.keys = OwnKeys(
            DirectoryStore(self.directory / "secret"), people=lambda: self.people, now=self.now, rotate_after_s=ROTATE_AFTER_S
        )
        self.pinned_file = self.directory / "trust.json"
        self.publish()
        self.pinned = PinnedTrust(self.pinned_file, remembered=self.directory / "remembered")

    def publish(self, content: bytes | None = None) -> None:
        """As a kubelet puts it there: another file in its place."""
        new = self.directory / "new"
        new.write_bytes(self.keys.published() if content is None else content)
        os.replace(new, self.pinned_file)

    def turn(self, after_s: float = 0.0) -> None:
        self.now += after_s
        self.keys.turn(self.now)
        self.publish()

    def agent(self) -> BaselineStore:
        return BaselineStore(
            BaselineDirectory(self.directory / "agent"), signer=OWN, trust=self.pinned.read, renews=True, clock=lambda: self.now
        )

    def send(self, baseline: Baseline, signer: Signer) -> None:
        """A document comes to the agent, which keeps it."""
        trust = self.pinned.read().for_new(self.now)
        document = encode_document(baseline, [signer])
        found = load_document(document, trusted=trust.keys, refused=trust.refused)
        self.agent().put(found, envelope=split_document(memoryview(document))[0])


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def steal(cluster: Cluster) -> KeySigner:
    """The private key that signs now, as somebody with the Secret has it."""
    return cluster.keys._now().signer


def test_a_stolen_controller_key_that_is_revoked_makes_agents_drop_what_it_signed_and_fetch_again(cluster: Cluster) -> None:
    stolen = steal(cluster)
    cluster.send(EVIL, stolen)
    cluster.people = TrustRoot(version=1).revoke(stolen.public.id, NOW, "the Secret leaked")
    cluster.turn(60.0)
    assert cluster.keys.public.id != stolen.public.id
    with pytest.raises(TrustError):
        cluster.agent().get(str(EVIL.key))
    with pytest.raises(TrustError, match="the Secret leaked"):
        cluster.send(EVIL, stolen)
    cluster.send(HONEST, cluster.keys)
    assert cluster.agent().get(str(HONEST.key)) is not None


def test_what_a_stolen_ci_key_brought_to_agents_is_dropped_there_too(cluster: Cluster) -> None:
    """The controller believed the CI key and signed on; agents only know the controller's key, but are told of the revocation."""
    cluster.send(EVIL, cluster.keys)
    assert cluster.agent().get(str(EVIL.key)) is not None
    cluster.people = ROOT.revoke(CI.public.id, NOW, "stolen from CI")
    cluster.turn(60.0)
    with pytest.raises(TrustError, match="before a key was revoked"):
        cluster.agent().get(str(EVIL.key))
    cluster.send(EVIL, cluster.keys)
    assert cluster.agent().get(str(EVIL.key)) is not None, "what comes after the revocation is kept again"


def test_the_controllers_key_rotates_and_agents_believe_both_meanwhile(cluster: Cluster) -> None:
    first = steal(cluster)
    cluster.send(HONEST, cluster.keys)
    while cluster.keys.public.id == first.public.id:
        cluster.turn(86400.0 / 2)
        cluster.send(HONEST, cluster.keys)
    assert len(cluster.pinned.read().keys) == 2
    cluster.now += 10 * 86400.0
    with pytest.raises(TrustError, match="expired"):
        cluster.send(EVIL, first)
    assert cluster.agent().get(str(HONEST.key)) is not None


# -- the place where keys are pinned ---------------------------------------------------------------------------------


def test_a_replayed_old_trust_root_is_refused_by_agents_that_saw_a_newer_one(cluster: Cluster) -> None:
    stolen, old = steal(cluster), cluster.keys.published()
    cluster.pinned.read()
    cluster.people = TrustRoot(version=1).revoke(stolen.public.id, NOW, "leaked")
    cluster.turn(60.0)
    cluster.pinned.read()
    cluster.publish(old)
    restarted = PinnedTrust(cluster.pinned_file, remembered=cluster.directory / "remembered")
    for pinned in (cluster.pinned, restarted):
        assert stolen.public not in pinned.read().for_new(NOW + 120).keys


def test_a_deleted_or_damaged_trust_root_leaves_agents_with_what_they_knew(cluster: Cluster) -> None:
    before = cluster.pinned.read()
    for content in (b"", b"{}"):
        cluster.publish(content)
        assert cluster.pinned.read() == before
    cluster.pinned_file.unlink()
    assert cluster.pinned.read() == before
    with pytest.raises(TrustError):
        cluster.send(EVIL, NEXT_CI)


def test_a_revocation_is_not_taken_back_by_a_rollback_of_what_people_gave(cluster: Cluster) -> None:
    stolen = steal(cluster)
    cluster.people = TrustRoot(version=1).revoke(stolen.public.id, NOW, "leaked")
    cluster.turn(60.0)
    cluster.people = TrustRoot(version=0)
    cluster.turn(60.0)
    assert stolen.public.id in cluster.keys.revoked_ids
    assert stolen.public.id in cluster.pinned.revoked()


def test_another_trust_root_under_a_version_that_was_seen_is_refused(cluster: Cluster) -> None:
    known = cluster.pinned.read()
    cluster.publish(encode_trust(TrustRoot(version=known.version, keys=(TrustedKey(key=NEXT_CI.public),))))
    assert cluster.pinned.read() == known


def test_a_controller_that_lost_everything_is_believed_again_without_touching_the_agents(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.pinned.read()
    (tmp_path / "again").mkdir()
    fresh = Cluster(tmp_path / "again", now=NOW + 3600)
    cluster.publish(fresh.keys.published())
    assert cluster.pinned.read().version > before.version
    assert fresh.keys.public in cluster.pinned.read().for_new(NOW + 3600).keys


# -- the audit key ---------------------------------------------------------------------------------------------------


def test_a_lost_or_stolen_audit_key_is_followed_by_another_in_the_same_log(tmp_path: Path) -> None:
    open_state(tmp_path / "before").audit.append([])
    first = read_public(tmp_path / "before/audit.pub")
    lost, retired = (Path(shutil.copytree(tmp_path / "before", tmp_path / name)) for name in ("lost", "retired"))
    for state in (lost, retired):  # of a process that has ended
        (state / "audit.pem").unlink()
    (lost / "audit.pub").unlink()
    with pytest.raises(TrustError):
        open_state(lost)  # a key that nobody said anything about does not go on with the log of another
    (retired / "audit.retired").mkdir()
    (retired / "audit.pub").rename(retired / "audit.retired" / "2026.pub")
    lines = list(export_log(open_state(retired).leaves)[1])
    second = read_public(retired / "audit.pub")
    assert second != first
    assert verify_export(lines, [first, second]).checkpoint.size == 2
    with pytest.raises(TrustError):
        verify_export(lines, [first])


def read_public(file: Path) -> NoteKey:
    return NoteKey.parse(file.read_text())
