"""Alerts as CloudEvents 1.0 in structured mode (cloudevents/spec, http-protocol-binding.md §3.2), posted to one address.

With a secret, each request is signed as Standard Webhooks lays down (standard-webhooks.md, "Symmetric signatures"): `webhook-id`,
`webhook-timestamp` and `webhook-signature: v1,<base64 of HMAC-SHA256 over "id.timestamp.body">`. No redirect is followed, no answer is read
beyond its status.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx2

from intact.model.alert import Alert
from intact.model.errors import InputError, PermanentError, TemporaryError

from .document import describe_alert, format_utc

TIMEOUT_S = 10.0
REFUSED = frozenset({400, 405, 413, 414, 415, 422, 431})
"""Statuses that say this very request will never be taken. All others may end once somebody has mended the receiver."""
TYPE_PREFIX = "dev.intact."


class WebhookSink:
    """A `notify.ports.Sink` for one receiver."""

    def __init__(self, url: str, *, source: str, clock: Callable[[], float], secret: str = "", timeout_s: float = TIMEOUT_S) -> None:
        """`source` is the CloudEvents source, a URI reference such as `/intact/CLUSTER`. Raises InputError for a URL that is none."""
        self._url = check_url(url)
        self._source = source
        self._clock = clock
        self._key = _read_secret(secret)
        self._client = httpx2.Client(timeout=timeout_s, follow_redirects=False, trust_env=False)

    @property
    def name(self) -> str:
        """Without the query: it may hold a token."""
        parts = urlsplit(self._url)
        digest = hashlib.sha256(self._url.encode()).hexdigest()[:8]
        return f"webhook:{parts.hostname}:{digest}"

    def send(self, alert: Alert) -> None:
        body = json.dumps(make_event(alert, self._source), ensure_ascii=False).encode()
        headers = {"content-type": "application/cloudevents+json; charset=utf-8", "user-agent": "intact"}
        if self._key:
            headers |= sign(self._key, alert.id, int(self._clock()), body)
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                status = answer.status_code
        except httpx2.HTTPError as error:
            raise TemporaryError(f"{self.name} did not take an alert: {error or type(error).__name__}", code="Webhook") from None
        if 200 <= status < 300:
            return
        if status in REFUSED:
            raise PermanentError(f"{self.name} refused an alert with status {status}", code="Webhook")
        hint = "redirects are not followed: configure the final address" if 300 <= status < 400 else ""
        raise TemporaryError(f"{self.name} answered an alert with status {status}", code="Webhook", hint=hint)

    def close(self) -> None:
        self._client.close()


def make_event(alert: Alert, source: str) -> dict[str, object]:
    """The CloudEvent: `id` is the alert's, so that a receiver can drop one that comes twice; `subject` is the workload."""
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": alert.id,
        "source": source,
        "type": f"{TYPE_PREFIX}{alert.kind.value}",
        "time": format_utc(alert.at),
        "datacontenttype": "application/json",
        "data": describe_alert(alert),
    }
    if alert.workload is not None:
        event["subject"] = "/".join(filter(None, (alert.workload.namespace, alert.workload.kind, alert.workload.name)))
    return event


def sign(key: bytes, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks."""
    mac = hmac.new(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {"webhook-id": event_id, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{base64.b64encode(mac).decode()}"}


def check_url(url: str) -> str:
    """Returns `url` if it is http or https with a host; raises InputError."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise InputError("not the address of a webhook", hint="expected https://HOST/PATH")
    return url


def _read_secret(secret: str) -> bytes:
    """`whsec_<base64>` as Standard Webhooks writes secrets, or any other text as it is; empty for none."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise InputError("the webhook's secret is not base64 after whsec_") from None
