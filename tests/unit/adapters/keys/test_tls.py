"""The controller's CA and certificate: accepted by TLS, renewed in time, and never with a moment in which agents cannot connect."""

from __future__ import annotations

import ipaddress
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from intact.adapters.keys.tls import CA_CERTIFICATES, CA_KEYS, CA_OVERLAP, KEY, DirectoryStore, Serving, ensure_serving
from intact.model.errors import InputError, PermanentError, TemporaryError

NAMES = ("intact-controller.intact.svc", "intact-controller", "10.96.0.7")
START = 1_800_000_000.0
DAY = 86_400.0


def verify(serving: Serving, pinned: bytes, now: float) -> None:
    """As an agent does: by another implementation of path validation (RFC 5280) than the one that issued."""
    from datetime import UTC, datetime

    store = Store(x509.load_pem_x509_certificates(pinned))
    leaf = x509.load_pem_x509_certificate(serving.chain)
    for subject in (x509.DNSName(NAMES[0]), x509.IPAddress(ipaddress.ip_address(NAMES[2]))):
        PolicyBuilder().store(store).time(datetime.fromtimestamp(now, UTC)).build_server_verifier(subject).verify(leaf, [])


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "tls")


def test_the_certificate_is_accepted_for_each_name_and_for_no_other(store: DirectoryStore) -> None:
    serving = ensure_serving(store, NAMES, START)
    verify(serving, serving.ca_bundle, START)
    other = ensure_serving(DirectoryStore(store.current.parent.parent / "other"), NAMES, START)
    with pytest.raises(VerificationError):
        verify(serving, other.ca_bundle, START)
    from datetime import UTC, datetime

    builder = PolicyBuilder().store(Store(x509.load_pem_x509_certificates(serving.ca_bundle))).time(datetime.fromtimestamp(START, UTC))
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("elsewhere.svc")).verify(x509.load_pem_x509_certificate(serving.chain), [])


def test_nothing_changes_while_nothing_is_due(store: DirectoryStore) -> None:
    first = ensure_serving(store, NAMES, START)
    assert ensure_serving(store, NAMES, START + 59 * DAY) == first
    assert first.renew_at > START + 59 * DAY


def test_the_certificate_is_renewed_a_month_before_it_expires_by_the_same_ca(store: DirectoryStore) -> None:
    first = ensure_serving(store, NAMES, START)
    second = ensure_serving(store, NAMES, first.renew_at + 1)
    assert second.chain != first.chain
    assert second.ca_bundle == first.ca_bundle
    verify(second, first.ca_bundle, first.renew_at + 1)


def test_other_names_make_another_certificate(store: DirectoryStore) -> None:
    first = ensure_serving(store, NAMES, START)
    assert ensure_serving(store, (*NAMES, "extra"), START).chain != first.chain


def test_twelve_years_of_renewals_never_present_what_an_agent_does_not_trust(store: DirectoryStore) -> None:
    pinned = ensure_serving(store, NAMES, START).ca_bundle
    now, bundles = START, {pinned}
    while now < START + 12 * 365 * DAY:
        serving = ensure_serving(store, NAMES, now)
        verify(serving, pinned, now)
        assert serving.renew_at > now
        pinned = serving.ca_bundle
        bundles.add(pinned)
        now = serving.renew_at + 1
    assert len(bundles) >= 3


def test_a_new_ca_signs_only_after_agents_had_time_to_read_it(store: DirectoryStore) -> None:
    first = ensure_serving(store, NAMES, START)
    late = START + (3650 - 300) * DAY
    published = ensure_serving(store, NAMES, late)
    assert published.ca_bundle.startswith(first.ca_bundle)
    assert published.ca_bundle != first.ca_bundle
    verify(published, first.ca_bundle, late)
    after = late + CA_OVERLAP.total_seconds() + 1
    signed = ensure_serving(store, NAMES, after)
    verify(signed, published.ca_bundle, after)
    with pytest.raises(VerificationError):
        verify(signed, first.ca_bundle, after)


def test_two_replicas_do_not_overwrite_each_other(store: DirectoryStore) -> None:
    before = dict(store.read())
    ensure_serving(store, NAMES, START)
    with pytest.raises(TemporaryError):
        store.replace({"ca.crt": b"mine"}, read_before=before)


def test_keys_are_readable_by_their_owner_only_and_old_versions_go(store: DirectoryStore) -> None:
    ensure_serving(store, NAMES, START)
    ensure_serving(store, ("other",), START)
    for name in (CA_KEYS, KEY):
        assert stat.S_IMODE((store.current / name).stat().st_mode) == 0o600
    assert len(list(store.current.parent.glob("version-*"))) == 1


@pytest.mark.parametrize("name", [CA_CERTIFICATES, CA_KEYS])
def test_a_broken_ca_is_said_and_never_replaced_by_itself(store: DirectoryStore, name: str) -> None:
    ensure_serving(store, NAMES, START)
    files = dict(store.read())
    store.replace({**files, name: b"-----BEGIN NOTHING-----\n"}, read_before=files)
    with pytest.raises(PermanentError, match="CA"):
        ensure_serving(store, NAMES, START)


def test_a_certificate_without_a_name_is_refused(store: DirectoryStore) -> None:
    with pytest.raises(InputError):
        ensure_serving(store, (), START)
