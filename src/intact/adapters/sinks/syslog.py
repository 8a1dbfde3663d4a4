"""Alerts as RFC 5424 syslog over TCP with octet counting (RFC 6587 §3.4.1).

In: alerts. Out: one message each, on one connection that is opened again when it breaks. What a container calls its files can end neither a
message nor a parameter: the length is counted, parameters are escaped (RFC 5424 §6.3.3), control characters never appear.

Plain syslog has no acknowledgement: what the peer's kernel took counts as sent. A connection that the peer has closed is noticed first.
"""

from __future__ import annotations

import os
import re
import select
import socket
import threading

from intact.model.alert import Alert
from intact.model.entry import display_path
from intact.model.errors import InputError, TemporaryError
from intact.model.finding import Level

from .document import format_utc

FACILITY = 13
"""Log audit (RFC 5424 §6.2.1)."""
SEVERITIES = {Level.CRITICAL: 2, Level.HIGH: 3, Level.MEDIUM: 4, Level.LOW: 5, Level.INFO: 6}
SD_ID = "intact@32473"
"""32473 is the enterprise number for those that have none of their own (RFC 5612)."""
SD_PATHS = 5
MAX_VALUE = 512
MAX_MESSAGE_BYTES = 8000
"""Collectors cut longer messages at 8 KiB (rsyslog's default); parameters that do not fit are left out, and `cut="true"` says so."""
TIMEOUT_S = 10.0

_CUT = b' cut="true"'
_NOT_HEADER = re.compile(r"[^\x21-\x7e]")
_ADDRESS = re.compile(r"(?:tcp://)?(\[[0-9A-Fa-f:.]+\]|[^\[\]:/]+):([0-9]{1,5})")


class SyslogSink:
    """A `notify.ports.Sink` for one collector."""

    def __init__(self, host: str, port: int, *, hostname: str, app_name: str = "intact", timeout_s: float = TIMEOUT_S) -> None:
        self._address = (host, port)
        self._hostname = hostname
        self._app_name = app_name
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return f"syslog:{self._address[0]}:{self._address[1]}"

    def send(self, alert: Alert) -> None:
        """Raises TemporaryError if the collector cannot be reached or closes the connection."""
        message = format_alert(alert, hostname=self._hostname, app_name=self._app_name, process_id=os.getpid())
        with self._lock:
            try:
                self._connected().sendall(frame(message))
            except OSError as error:
                self._drop()
                where = f"{self._address[0]}:{self._address[1]}"
                raise TemporaryError(f"the syslog collector at {where} did not take an alert: {error}", code="Syslog") from None

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _connected(self) -> socket.socket:
        if self._socket is not None and _is_closed(self._socket):
            self._drop()
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=self._timeout_s)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def parse_address(text: str) -> tuple[str, int]:
    """`tcp://host:port`, `host:port` or `[::1]:port`; raises InputError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise InputError(f"not the address of a syslog collector: {text[:200]!r}", hint="expected tcp://HOST:PORT")
    return match[1].strip("[]"), int(match[2])


def frame(message: bytes) -> bytes:
    """MSG-LEN SP SYSLOG-MSG (RFC 6587 §3.4.1)."""
    return b"%d %s" % (len(message), message)


def format_alert(alert: Alert, *, hostname: str, app_name: str, process_id: int) -> bytes:
    """The alert as a SYSLOG-MSG (RFC 5424 §6): header, one structured data element, and the summary with its BOM (§6.4)."""
    priority = FACILITY * 8 + SEVERITIES[alert.level]
    header = [
        f"<{priority}>1",
        format_utc(alert.at),
        _header_field(hostname, 255),
        _header_field(app_name, 48),
        str(process_id),
        _header_field(alert.kind.value, 32),
    ]
    text = b"\xef\xbb\xbf" + _one_line(alert.summary, 1024).encode()
    element = f"{' '.join(header)} [{SD_ID}".encode()
    room = MAX_MESSAGE_BYTES - len(element) - len(text) - len(_CUT) - 2
    for name, value in _parameters(alert):
        parameter = f' {name}="{_escape(value)}"'.encode() if value else b""
        if len(parameter) > room:
            element += _CUT
            break
        element += parameter
        room -= len(parameter)
    return element + b"] " + text


def _parameters(alert: Alert) -> list[tuple[str, str]]:
    workload = alert.workload
    pairs = [
        ("alert", alert.id),
        ("incident", alert.incident_id),
        ("level", alert.level.title),
        ("cause", alert.cause),
        ("workloadKind", workload.kind if workload else ""),
        ("namespace", workload.namespace if workload else ""),
        ("workload", workload.name if workload else ""),
        ("pods", ",".join(alert.pods)),
        ("nodes", ",".join(alert.nodes)),
        ("count", str(alert.count) if alert.count else ""),
        ("firstSeen", format_utc(alert.first_seen) if alert.first_seen else ""),
        ("policy", alert.policy),
        ("grade", alert.grade),
        ("baselines", ",".join(alert.baselines)),
        ("action", alert.action),
        ("phase", alert.phase),
        ("reason", alert.reason),
        ("suppressed", str(alert.suppressed) if alert.suppressed else ""),
    ]
    for number, path in enumerate(alert.paths[:SD_PATHS], 1):
        pairs += [
            (f"path{number}", display_path(path.path, MAX_VALUE)),
            (f"change{number}", path.change),
            (f"expected{number}", path.expected),
            (f"actual{number}", path.actual),
            (f"pod{number}", path.pod),
            (f"container{number}", path.container),
            (f"process{number}", path.process),
        ]
    return pairs


def _escape(value: str) -> str:
    r"""PARAM-VALUE: `"`, `\` and `]` get a backslash (RFC 5424 §6.3.3)."""
    return re.sub(r'(["\\\]])', r"\\\1", _one_line(value, MAX_VALUE))


def _one_line(text: str, limit: int) -> str:
    return display_path(text.encode("utf-8", "backslashreplace"), limit)


def _header_field(text: str, limit: int) -> str:
    """PRINTUSASCII of bounded length, or the NILVALUE (RFC 5424 §6)."""
    return _NOT_HEADER.sub("_", text)[:limit] or "-"


def _is_closed(connection: socket.socket) -> bool:
    """Whether the peer has closed: a collector never sends, so anything readable is the end (or to be ignored)."""
    poll = select.poll()  # select(2) knows no descriptor beyond 1023
    poll.register(connection, select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        return connection.recv(4096, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
