"""A real HTTP server receives alerts as CloudEvents, and can prove who sent them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from intact.adapters.sinks.webhook import WebhookSink
from intact.model.alert import Alert, AlertKind
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError
from intact.model.finding import Level
from intact.model.incident import Workload

ALERT = Alert(
    id="a1",
    kind=AlertKind.RESOLVED,
    at=1_800_000_000.0,
    level=Level.HIGH,
    summary="é",
    incident_id="i1",
    workload=Workload(kind="Deployment", namespace="shop", name="web"),
)


@dataclass
class Receiver:
    """What came, and what to answer: a status and headers."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            state.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}/hook?token=t"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def send(receiver: Receiver, secret: str = "") -> None:
    sink = WebhookSink(receiver.url, source="/intact/test", clock=lambda: 1_800_000_001.9, secret=secret, timeout_s=5)
    try:
        sink.send(ALERT)
    finally:
        sink.close()


def test_an_alert_arrives_as_a_cloudevent(receiver: Receiver) -> None:
    send(receiver)
    ((path, headers, body),) = receiver.requests
    event = json.loads(body)
    assert path == "/hook?token=t" and headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert {name: event[name] for name in ("specversion", "id", "source", "type", "subject", "time")} == {
        "specversion": "1.0",
        "id": "a1",
        "source": "/intact/test",
        "type": "dev.intact.IncidentResolved",
        "subject": "shop/Deployment/web",
        "time": "2027-01-15T08:00:00.000Z",
    }
    assert event["data"]["incident"] == "i1" and event["data"]["summary"] == "é"
    assert "webhook-signature" not in headers


@pytest.mark.parametrize(
    ("secret", "key"), [("plain text", b"plain text"), ("whsec_" + base64.b64encode(b"raw \xff bytes").decode(), b"raw \xff bytes")]
)
def test_a_receiver_that_shares_the_secret_can_prove_the_sender(receiver: Receiver, secret: str, key: bytes) -> None:
    send(receiver, secret)
    ((_, headers, body),) = receiver.requests
    assert headers["webhook-id"] == "a1" and headers["webhook-timestamp"] == "1800000001"
    expected = base64.b64encode(hmac.new(key, b"a1.1800000001." + body, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 307, {"location": "/elsewhere"}
    with pytest.raises(TemporaryError, match="redirects are not followed"):
        send(receiver)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(400, PermanentError), (413, PermanentError), (401, TemporaryError), (429, TemporaryError), (503, TemporaryError)]
)
def test_an_answer_says_whether_to_try_again(receiver: Receiver, status: int, error: type[IntactError]) -> None:
    receiver.status = status
    with pytest.raises(error, match=str(status)) as raised:
        send(receiver)
    assert "token=t" not in str(raised.value)


def test_a_receiver_that_is_gone_is_temporary() -> None:
    sink = WebhookSink("http://127.0.0.1:9/hook", source="/intact/test", clock=lambda: 1.0, timeout_s=2)
    with pytest.raises(TemporaryError, match="did not take an alert"):
        sink.send(ALERT)
    sink.close()


@pytest.mark.parametrize("url", ["", "ftp://h/", "https://", "http://h:99999999/", "file:///etc/passwd"])
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        WebhookSink(url, source="/intact/test", clock=lambda: 1.0)
