"""The API as its clients see it, served over TLS: answers, problems, rights, and metrics that are true."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from intact.adapters.codec import decode, decode_all, encode
from intact.adapters.keys.tls import CA_CERTIFICATES, CHAIN, ensure_serving
from intact.adapters.seam.https import _trust_only
from intact.model.errors import TemporaryError
from intact.model.finding import Level
from intact.model.incident import Incident, IncidentState, Workload
from intact.model.policy import Cause
from intact.model.seam import NodeStatus
from intact.run.web import gate
from tests.unit.seam_contract import KEY, NODE, make_report
from tests.unit.served import SERVER_NAME, Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("api"))
    yield served
    served.stop()


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    ca = served.certificates.current / CA_CERTIFICATES
    with httpx2.Client(base_url=f"https://127.0.0.1:{served.port}", verify=_trust_only(ca.read_bytes(), ca), trust_env=False) as client:
        yield client


NAMED = {"sni_hostname": SERVER_NAME}


def ask(client: httpx2.Client, method: str, path: str, token: str = f"agent:{NODE}", **more: object) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}".strip(), **more.pop("headers", {})}  # type: ignore[dict-item]
    return client.request(method, path, headers=headers, extensions=NAMED, **more)  # type: ignore[arg-type]


def incident(incident_id: str, namespace: str) -> Incident:
    workload = Workload(kind="Deployment", namespace=namespace, name="web")
    return Incident(
        id=incident_id,
        workload=workload,
        state=IncidentState.OPEN,
        cause=Cause.CONTAINER,
        level=Level.HIGH,
        first_seen=1.0,
        last_seen=2.0,
        count=1,
    )


def test_a_stored_report_is_answered_with_204_and_nothing(client: httpx2.Client, served: Served) -> None:
    answer = ask(client, "POST", "/v1/reports", content=encode(make_report("api-1")))
    assert (answer.status_code, answer.content) == (204, b"")
    assert "api-1" in served.cluster.reports


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"garbage", {}, 400, None),
        (b"", {}, 400, None),
        (b"[" * 100_000, {}, 400, None),
        (b'{"id": 1}', {}, 400, None),
        (b"x", {"Content-Encoding": "br"}, 415, "UnknownEncoding"),
        (b"x", {"Content-Encoding": "zstd"}, 400, "BadEncoding"),
        (bytes(5 << 20), {}, 413, "Oversize"),
    ],
)
def test_a_bad_report_is_a_problem_that_says_what_is_wrong(
    client: httpx2.Client, body: bytes, headers: dict[str, str], status: int, code: str | None
) -> None:
    answer = ask(client, "POST", "/v1/reports", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["detail"]
    assert code is None or document["code"] == code
    assert "Traceback" not in answer.text


def test_the_plan_has_an_etag_and_is_sent_once(client: httpx2.Client) -> None:
    first = ask(client, "GET", "/v1/plan")
    again = ask(client, "GET", "/v1/plan", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


@pytest.mark.parametrize("token", ["", "unknown", "agent", "x" * 9000])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/reports"), ("GET", "/v1/plan"), ("GET", f"/v1/baselines/{KEY}"), ("GET", "/v1/commands")]
)
def test_nothing_is_told_to_or_taken_from_somebody_unproven(client: httpx2.Client, method: str, path: str, token: str) -> None:
    answer = ask(client, method, path, token)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_baseline_that_is_not_there_and_one_that_cannot_be(client: httpx2.Client) -> None:
    assert ask(client, "GET", f"/v1/baselines/sha256:{'0' * 64}").status_code == 404
    assert ask(client, "GET", "/v1/baselines/..%2f..%2fetc%2fpasswd").status_code in (400, 404)
    assert ask(client, "GET", "/v1/baselines/latest").status_code == 400


def test_people_read_what_they_may_and_no_more(client: httpx2.Client, served: Served) -> None:
    served.cluster.found = {"i1": incident("i1", "shop"), "i2": incident("i2", "bank")}
    everything = ask(client, "GET", "/v1/incidents", "reader")
    assert {i.id for i in decode_all(Incident, everything.content)} == {"i1", "i2"}
    own = ask(client, "GET", "/v1/incidents?namespace=shop", "shop-reader")
    assert {i.id for i in decode_all(Incident, own.content)} == {"i1"}
    assert ask(client, "GET", "/v1/incidents", "shop-reader").status_code == 403
    assert decode(Incident, ask(client, "GET", "/v1/incidents/i1?namespace=shop", "shop-reader").content).id == "i1"
    assert ask(client, "GET", "/v1/incidents/i2?namespace=shop", "shop-reader").status_code == 404
    assert ask(client, "GET", "/v1/incidents/i2", "shop-reader").status_code == 403
    assert ask(client, "GET", "/v1/status", "shop-reader").status_code == 403
    assert ask(client, "GET", "/v1/audit/export", "shop-reader").status_code == 403
    assert ask(client, "GET", "/v1/audit/export", "reader").content == b"leaf 1\nleaf 2\n"
    assert decode_all(NodeStatus, ask(client, "GET", "/v1/status", "reader").content)[0].node == NODE


def test_an_agents_token_reads_nothing_of_people_and_a_persons_sends_no_report(client: httpx2.Client) -> None:
    assert ask(client, "GET", "/v1/incidents").status_code == 401
    assert ask(client, "POST", "/v1/reports", "reader", content=encode(make_report("x"))).status_code == 401


def test_a_token_is_reviewed_once_in_a_while_and_not_longer(served: Served, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        assert ask(client, "GET", "/v1/plan", "agent:node-r").status_code == 200
    assert served.tokens.reviewed.count("agent:node-r") == 1
    served.tokens.revoked.add("node-r")
    monkeypatch.setattr("intact.run.web.gate.monotonic", lambda: time.monotonic() + gate.REMEMBER_S + 1)
    assert ask(client, "GET", "/v1/plan", "agent:node-r").status_code == 401


def test_metrics_say_what_happened(client: httpx2.Client) -> None:
    def value(name: str) -> float:
        text = client.get("/metrics", extensions=NAMED).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    before = {
        name: value(name) for name in ("intact_reports_received_total", "intact_findings_received_total", "intact_forged_reports_total")
    }
    ask(client, "POST", "/v1/reports", content=encode(make_report("m1", findings=4)))
    ask(client, "POST", "/v1/reports", content=encode(make_report("m2", "node-b")))
    assert value("intact_reports_received_total") == before["intact_reports_received_total"] + 1
    assert value("intact_findings_received_total") == before["intact_findings_received_total"] + 4
    assert value("intact_forged_reports_total") == before["intact_forged_reports_total"] + 1
    refused = 'intact_api_requests_total{route="/v1/reports",status="403"}'
    assert value(refused) >= 1


def test_what_is_not_verified_of_a_node_is_a_figure_for_whoever_may_read_its_status(client: httpx2.Client) -> None:
    read = ask(client, "GET", "/v1/metrics", "reader")
    assert read.status_code == 200 and f'intact_node_heard_timestamp_seconds{{node="{NODE}"}}' in read.text
    assert ask(client, "GET", "/v1/metrics", "shop-reader").status_code == 403
    assert ask(client, "GET", "/v1/metrics", "").status_code == ask(client, "GET", "/v1/metrics", f"agent:{NODE}").status_code == 401
    assert NODE not in client.get("/metrics", extensions=NAMED).text, "whoever has no token reads no names"


def test_health_needs_no_token_and_unknown_paths_are_problems(client: httpx2.Client) -> None:
    assert client.get("/healthz", extensions=NAMED).text == "ok\n"
    assert client.get("/readyz", extensions=NAMED).text == "ok\n"
    unknown = client.get("/v1/nothing", extensions=NAMED)
    assert unknown.status_code == 404
    assert unknown.headers["content-type"] == "application/problem+json"


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    import socket
    import ssl

    served = Served(tmp_path)
    try:

        def presented() -> str:
            with socket.create_connection(("127.0.0.1", served.port)) as plain:
                ca = served.certificates.current / CA_CERTIFICATES
                with _trust_only(ca.read_bytes(), ca).wrap_socket(plain, server_hostname=SERVER_NAME) as secure:
                    der = secure.getpeercert(binary_form=True)
                    assert der is not None
                    return ssl.DER_cert_to_PEM_cert(der)

        first = presented()
        ensure_serving(served.certificates, (SERVER_NAME, "another"), time.time())
        served.server.reload_certificate()
        assert presented() != first
        assert presented().encode() == (served.certificates.current / CHAIN).read_bytes()
    finally:
        served.stop()


def test_a_failure_inside_is_a_problem_without_its_inside(client: httpx2.Client, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(node: str) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(served.cluster, "plan_for", fail)
    answer = ask(client, "GET", "/v1/plan")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    with pytest.raises(TemporaryError):
        served.seam(NODE).fetch_plan("")
