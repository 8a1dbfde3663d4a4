"""The places alerts go to, from what people wrote in settings."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from intact.adapters.sinks.syslog import SyslogSink
from intact.adapters.sinks.webhook import WebhookSink
from intact.model.errors import InputError
from intact.notify.ports import Sink


def open_sinks(*, syslog: str, webhook: str, webhook_secret: str = "", hostname: str) -> list[Sink]:
    """`syslog` is `tcp://HOST:PORT`, `webhook` a URL; empty means none. Raises InputError for anything else."""
    sinks: list[Sink] = []
    if syslog:
        parts = urlsplit(syslog)
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme != "tcp" or not parts.hostname or port is None or parts.path not in ("", "/"):
            raise InputError(f"not a syslog server: {syslog!r}", hint="write tcp://HOST:PORT")
        sinks.append(SyslogSink(parts.hostname, port, hostname=hostname))
    if webhook:
        sinks.append(WebhookSink(webhook, source=f"/intact/{hostname}", clock=time.time, secret=webhook_secret))
    return sinks
