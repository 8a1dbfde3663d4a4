"""For Prometheus: what the API counts about itself, which names nobody, and what is known of each node, for whoever may read that."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intact.model.seam import NodeStatus, Report


class Metrics:
    """The API's metrics in a registry of their own; others may add theirs to `registry`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("intact_api_requests", "Requests answered", ["route", "status"], registry=registry)
        self.seconds = Histogram("intact_api_request_seconds", "Time to answer; without waits for commands", ["route"], registry=registry)
        self.reports = Counter("intact_reports_received", "Reports stored, repeated ones included", registry=registry)
        self.report_bytes = Counter("intact_report_bytes", "Bytes of stored reports, inflated", registry=registry)
        self.findings = Counter("intact_findings_received", "Findings in stored reports, repeated ones included", registry=registry)
        self.events_lost = Counter("intact_events_lost", "Events that nodes say they have lost", registry=registry)
        self.forged = Counter("intact_forged_reports", "Reports refused: a node spoke of what is not its own", registry=registry)
        self.reviews = Counter("intact_token_reviews", "Agents' tokens reviewed", registry=registry)
        self.waiting = Gauge("intact_command_waiters", "Agents that wait for commands now", registry=registry)

    def take(self, report: Report, size_bytes: int) -> None:
        """Counts a stored report."""
        self.reports.inc()
        self.report_bytes.inc(size_bytes)
        self.findings.inc(sum(len(v.findings) for v in report.verdicts))
        self.events_lost.inc(sum(max(0, g.events_lost) for g in report.gaps))


def show_nodes(nodes: Iterable[NodeStatus]) -> bytes:
    """What is known of each node, in Prometheus' text format: a handful of series for each, however many containers it has. Layers are
    shared, so that bytes are those of the container that has most of them left, and not a sum."""
    registry = CollectorRegistry()

    def make(name: str, says: str) -> Gauge:
        return Gauge(f"intact_node_{name}", says, ["node"], registry=registry)

    heard = make("heard_timestamp_seconds", "When the node last reported")
    containers = make("containers", "Containers that the node speaks of")
    unverified = make("layers_unverified_bytes", "Read-only layers not verified yet, of the container with most of that")
    behind = make("layers_unverified_containers", "Containers with read-only layers not verified yet")
    unknown = make("layers_unknown_containers", "Containers of whose read-only layers nobody knows how much is verified")
    verified = make("layers_verified_timestamp_seconds", "When all read-only layers of a container were last verified: the longest ago")
    for node in nodes:
        left = [one.layers_unverified_bytes for one in node.coverage if one.layers_unverified_bytes is not None]
        at = [one.layers_verified_at for one in node.coverage if one.layers_verified_at > 0]
        heard.labels(node.node).set(node.heard_at)
        containers.labels(node.node).set(len(node.coverage))
        unverified.labels(node.node).set(max(left, default=0))
        behind.labels(node.node).set(sum(size_bytes > 0 for size_bytes in left))
        unknown.labels(node.node).set(len(node.coverage) - len(left))
        if at:
            verified.labels(node.node).set(min(at))
    return generate_latest(registry)


class CountRequests:
    """ASGI middleware: counts every answer by the route's template (never by what the client wrote) and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = "cut"

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, status).inc()
            if route != "/v1/commands":
                self._metrics.seconds.labels(route).observe(time.monotonic() - began)
