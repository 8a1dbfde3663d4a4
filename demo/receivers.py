"""Where the demo's alerts go: a real rsyslogd and a real HTTP server, on an address that pods reach."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CONFIGURATION = """global(workDirectory="{directory}")
module(load="imtcp")
template(name="raw" type="string" string="%rawmsg%\\n")
ruleset(name="in") {{ action(type="omfile" file="{directory}/received" template="raw") }}
input(type="imtcp" address="{host}" port="{port}" ruleset="in")
"""


class Receivers:
    """Both receivers; what they got so far. Nothing of them is left after the block."""

    def __init__(self, host: str, directory: Path) -> None:
        self._host, self._directory = host, directory
        self._syslog_port = _free_port(host)
        self._events: list[dict[str, Any]] = []
        events = self._events

        class Take(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self._http = http.server.ThreadingHTTPServer((host, 0), Take)

    @property
    def syslog(self) -> str:
        return f"tcp://{self._host}:{self._syslog_port}"

    @property
    def webhook(self) -> str:
        return f"http://{self._host}:{self._http.server_address[1]}/alerts"

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True)
        (self._directory / "rsyslog.conf").write_text(
            CONFIGURATION.format(directory=self._directory, host=self._host, port=self._syslog_port)
        )
        arguments = ["rsyslogd", "-n", "-f", str(self._directory / "rsyslog.conf"), "-i", str(self._directory / "pid")]
        self._rsyslogd = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection((self._host, self._syslog_port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._rsyslogd.terminate()
        self._rsyslogd.wait(timeout=20)

    def lines(self, *words: str) -> list[str]:
        """The syslog lines so far that contain all of `words`."""
        file = self._directory / "received"
        text = file.read_text(errors="replace") if file.exists() else ""
        return [line for line in text.splitlines() if all(word in line for word in words)]

    def events(self, *words: str) -> list[dict[str, Any]]:
        """The webhook's events so far that contain all of `words`."""
        return [event for event in list(self._events) if all(word in json.dumps(event) for word in words)]


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
