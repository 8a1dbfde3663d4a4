"""The seam over HTTPS keeps the contract, over real TLS on loopback; and what only a network can do wrong."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intact.adapters.keys.tls import CA_CERTIFICATES, DirectoryStore, ensure_serving
from intact.adapters.seam.https import HttpsCluster
from intact.adapters.seam.ports import UNAUTHENTICATED, UNTRUSTED_SERVER
from intact.model.errors import PermanentError, TemporaryError, TrustError
from tests.unit.seam_contract import NODE, SeamContract, World, make_report
from tests.unit.served import SERVER_NAME, Served


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.stop()


class TestHttps(SeamContract):
    @pytest.fixture
    def world(self, served: Served) -> World:
        return served


def test_a_server_with_another_certificate_is_never_told_anything(served: Served, tmp_path: Path) -> None:
    ensure_serving(DirectoryStore(tmp_path / "other"), (SERVER_NAME,), time.time())
    endpoint = replace(served.endpoint(NODE), ca_file=tmp_path / "other/current" / CA_CERTIFICATES)
    with pytest.raises(TrustError) as refusal:
        HttpsCluster(endpoint, NODE, time.time).submit(make_report("r1"))
    assert refusal.value.code == UNTRUSTED_SERVER
    assert not served.tokens.reviewed
    assert not served.cluster.reports


def test_the_certificate_must_name_the_controller(served: Served) -> None:
    endpoint = served.endpoint(NODE, server_name="intact-controller.elsewhere.svc")
    with pytest.raises(TrustError) as refusal:
        HttpsCluster(endpoint, NODE, time.time).submit(make_report("r1"))
    assert refusal.value.code == UNTRUSTED_SERVER


def test_a_dead_controller_is_worth_another_try(served: Served) -> None:
    seam = served.seam(NODE)
    served.stop()
    with pytest.raises(TemporaryError):
        seam.submit(make_report("r1"))


def test_a_refused_token_is_read_again_when_the_file_has_a_new_one(served: Served) -> None:
    endpoint = served.endpoint(NODE)
    endpoint.token_file.write_text("stolen")
    seam = HttpsCluster(endpoint, NODE, time.time)
    with pytest.raises(TrustError) as refusal:
        seam.submit(make_report("r1"))
    assert refusal.value.code == UNAUTHENTICATED
    endpoint.token_file.write_text(f"agent:{NODE}")
    seam.submit(make_report("r1"))
    assert list(served.cluster.reports) == ["r1"]


def test_a_rotated_ca_is_followed_without_a_restart(served: Served, tmp_path: Path) -> None:
    pinned = tmp_path / "pinned.crt"
    pinned.write_bytes((served.certificates.current / CA_CERTIFICATES).read_bytes())
    seam = HttpsCluster(replace(served.endpoint(NODE), ca_file=pinned), NODE, time.time)
    seam.submit(make_report("r1"))
    served.stop()
    served.certificates.replace({}, read_before=served.certificates.read())
    made = ensure_serving(served.certificates, (SERVER_NAME,), time.time())
    served.start()
    with pytest.raises(TrustError):
        seam.submit(make_report("r2"))
    pinned.write_bytes(made.ca_bundle)
    seam.submit(make_report("r2"))
    assert list(served.cluster.reports) == ["r1", "r2"]


def test_a_missing_token_or_ca_is_said_by_name(served: Served, tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="absent"):
        HttpsCluster(replace(served.endpoint(NODE), token_file=tmp_path / "absent"), NODE, time.time).fetch_plan("")
    (tmp_path / "empty.crt").write_text("nothing")
    with pytest.raises(TrustError, match=r"empty\.crt"):
        HttpsCluster(replace(served.endpoint(NODE), ca_file=tmp_path / "empty.crt"), NODE, time.time).fetch_plan("")


def test_a_connection_that_is_cut_in_the_middle_is_worth_another_try(served: Served) -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def cut() -> None:
        connection, _ = listening.accept()
        connection.recv(10)
        connection.close()

    threading.Thread(target=cut, daemon=True).start()
    endpoint = replace(served.endpoint(NODE), url=f"https://127.0.0.1:{listening.getsockname()[1]}")
    with pytest.raises(TemporaryError):
        HttpsCluster(endpoint, NODE, time.time).submit(make_report("r1"))
    listening.close()


def test_a_baseline_beyond_the_bound_is_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intact.adapters.seam.https.MAX_BASELINE_BYTES", 1000)
    with pytest.raises(PermanentError, match="1000 bytes"):
        served.seam(NODE).fetch_baseline(next(iter(served.cluster.baselines)))


def test_a_node_that_waits_for_commands_does_not_hold_up_the_end_of_the_controller(served: Served) -> None:
    ended = threading.Event()

    def wait() -> None:
        with contextlib.suppress(TemporaryError):
            served.seam(NODE).fetch_commands(30.0)
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    time.sleep(0.5)
    began = time.monotonic()
    served.stop()
    assert time.monotonic() - began < 5.0
    assert ended.wait(5.0)
