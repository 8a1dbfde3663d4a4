"""Attacks on the API by somebody who can reach it, with and without a node's token. Each names its line in docs/threat-model.md."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from intact.adapters.keys.tls import CA_CERTIFICATES
from intact.adapters.seam.https import _trust_only
from intact.model.errors import TemporaryError, TrustError
from intact.run.web import app, deadline, server
from tests.unit.seam_contract import KEY, NODE, make_report, wait_until
from tests.unit.served import SERVER_NAME, Served


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.stop()


def connect(served: Served) -> ssl.SSLSocket:
    ca = served.certificates.current / CA_CERTIFICATES
    plain = socket.create_connection(("127.0.0.1", served.port), timeout=30)
    return _trust_only(ca.read_bytes(), ca).wrap_socket(plain, server_hostname=SERVER_NAME)


def hung_up_after(connection: socket.socket) -> float:
    """Seconds until the server ends the connection."""
    began = time.monotonic()
    with contextlib.suppress(OSError):
        while connection.recv(4096):
            pass
    return time.monotonic() - began


@pytest.mark.parametrize("said", [b"", b"GET /v1/plan HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_never_finishes_its_headers_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """N4: slow loris."""
    monkeypatch.setattr(server, "HEADERS_TIMEOUT_S", 1.0)
    with connect(served) as connection:
        connection.sendall(said)
        assert 0.5 < hung_up_after(connection) < 5.0


def test_a_client_that_drips_its_headers_is_cut_off_all_the_same(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """N4: another byte does not buy more time."""
    monkeypatch.setattr(server, "HEADERS_TIMEOUT_S", 1.0)
    with connect(served) as connection:
        began = time.monotonic()
        with pytest.raises(OSError):
            for byte in b"GET /v1/plan HTTP/1.1\r\n" + b"X-Pad: 1\r\n" * 50:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - began < 5.0


def test_a_node_that_drips_its_body_is_refused_and_others_are_served_meanwhile(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """N4, A5: uploads that do not end hold up nobody else."""
    monkeypatch.setattr(app, "BODY_TIMEOUT_S", 2.0)
    held = [connect(served) for _ in range(8)]
    head = "POST /v1/reports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer agent:evil\r\nContent-Length: 1000\r\n\r\n{"
    try:
        for connection in held:
            connection.sendall(head.encode())
        began = time.monotonic()
        served.seam(NODE).submit(make_report("r1"))
        assert time.monotonic() - began < 1.5
        answers = sorted(connection.recv(4096).split(b" ")[1] for connection in held)
        assert answers == [b"408"] * app.UPLOADS_PER_NODE + [b"429"] * (len(held) - app.UPLOADS_PER_NODE)
    finally:
        for connection in held:
            connection.close()


def test_a_node_that_does_not_read_its_answer_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """N4, A5: and the whole answer never waits in the server's memory."""
    monkeypatch.setattr(deadline, "STALL_TIMEOUT_S", 1.0)
    document = bytes(64 << 20)
    served.cluster.baselines[KEY] = document
    with connect(served) as connection:
        connection.sendall(f"GET /v1/baselines/{KEY} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer agent:evil\r\n\r\n".encode())
        time.sleep(2.5)
        received = 0
        with contextlib.suppress(OSError):
            while piece := connection.recv(1 << 20):
                received += len(piece)
    assert received < len(document) // 2
    assert served.seam(NODE).fetch_baseline(KEY) == document


def test_a_node_that_asks_for_a_large_baseline_again_and_again_does_not_fill_the_memory(served: Served) -> None:
    """A5: each answer is in memory until it was read, and this node reads none of them."""
    document = bytes(16 << 20)
    served.cluster.baselines[KEY] = document
    connections = [connect(served) for _ in range(20)]
    try:
        for connection in connections:
            connection.sendall(f"GET /v1/baselines/{KEY} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer agent:evil\r\n\r\n".encode())
        answers = sorted(connection.recv(12)[9:] for connection in connections)
        assert answers == [b"200"] * app.DOWNLOADS_PER_NODE + [b"429"] * (len(connections) - app.DOWNLOADS_PER_NODE)
        assert served.seam(NODE).fetch_baseline(KEY) == document
    finally:
        for connection in connections:
            connection.close()
    wait_until(lambda: _is_served(served, "evil", document))  # what was let go is free again


def _is_served(served: Served, node: str, document: bytes) -> bool:
    with contextlib.suppress(TemporaryError):
        return served.seam(node).fetch_baseline(KEY) == document
    return False


def test_a_stolen_agent_speaks_of_its_own_node_only(served: Served) -> None:
    """A2: the node is the token's, whatever the body says; the attempt is an alarm."""
    with pytest.raises(TrustError):
        served.seam("node-b").submit(make_report("r1", NODE))
    assert not served.cluster.reports
    assert [(node, reason) for node, _, reason in served.cluster.alarms] == [("node-b", "the report names another node")]


def test_a_node_that_floods_is_slowed_down_and_no_other_is(served: Served) -> None:
    """A5."""
    flooder = served.seam("flooder")
    with pytest.raises(TemporaryError, match="too often"):
        for _ in range(1000):
            flooder.fetch_plan("1")
    served.seam(NODE).submit(make_report("r1"))
    assert list(served.cluster.reports) == ["r1"]


def test_guessing_tokens_does_not_flood_the_kubernetes_api(served: Served) -> None:
    """N3: refused tokens from one address are reviewed at a bounded rate."""
    ca = served.certificates.current / CA_CERTIFICATES
    with httpx2.Client(verify=_trust_only(ca.read_bytes(), ca), trust_env=False) as client:
        statuses = set()
        for n in range(300):
            headers = {"Authorization": f"Bearer guess-{n}"}
            url = f"https://127.0.0.1:{served.port}/v1/plan"
            statuses.add(client.get(url, headers=headers, extensions={"sni_hostname": SERVER_NAME}).status_code)
    assert statuses == {401, 429}
    assert len(served.tokens.reviewed) < 100


def test_many_requests_with_one_new_token_are_one_review(served: Served) -> None:
    """N3."""
    seams = [served.seam("node-z") for _ in range(6)]

    def ask(n: int) -> None:
        seams[n].fetch_plan("1")

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served.tokens.reviewed == ["agent:node-z"]


def test_plain_http_and_old_tls_are_not_spoken(served: Served) -> None:
    """N1."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert not plain.recv(4096).startswith(b"HTTP")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode, old.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)


def test_a_log_line_cannot_be_forged_through_a_claim(served: Served) -> None:
    """A2: what a refused report claims is shown without control characters and cut."""
    with pytest.raises(TrustError):
        served.seam(NODE).submit(make_report("r1", "node\nlevel=info all is well \x1b[2J" + "x" * 5000))
    ((_, claim, _),) = served.cluster.alarms
    assert claim.isprintable()
    assert len(claim) < 400
