"""Alerts as lines on a stream: for people at a terminal, or JSON Lines for a pipe."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from typing import TextIO

from intact.model.alert import Alert, AlertPath
from intact.model.entry import display_path
from intact.model.errors import PermanentError

from .document import describe_alert

SHOWN_PATHS = 3


class StdoutSink:
    """A `notify.ports.Sink` that writes to `stream`; `as_json` one JSON object a line, else one or more lines for people."""

    def __init__(self, stream: TextIO, *, as_json: bool = False) -> None:
        self._stream = stream
        self._as_json = as_json
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return "stdout"

    def send(self, alert: Alert) -> None:
        """Raises PermanentError if nobody reads the stream any more."""
        line = json.dumps(describe_alert(alert), ensure_ascii=False) if self._as_json else format_line(alert)
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError) as error:
                raise PermanentError(f"cannot write an alert: {error}", code="Stdout") from None


def format_line(alert: Alert) -> str:
    """`12:00:00 High      Deployment shop/web differs from its image: …`, with one line below for each of the gravest paths."""
    when = datetime.fromtimestamp(alert.at).astimezone().strftime("%H:%M:%S")
    graded = f" (baseline: {alert.grade})" if alert.grade else ""
    lines = [f"{when} {alert.level.title:<8} {alert.summary}{graded}"]
    if alert.paths and alert.kind.value.startswith("Incident"):
        lines += [f"{'':18}{_format_path(path)}" for path in alert.paths[:SHOWN_PATHS]]
        hidden = alert.paths_total - min(len(alert.paths), SHOWN_PATHS)
        if hidden > 0:
            lines.append(f"{'':18}and {hidden} more")
    return "\n".join(lines)


def _format_path(path: AlertPath) -> str:
    process = f" by {path.process}" if path.process else ""
    return f"{path.change:<8} {display_path(path.path, 256)}  {path.expected} -> {path.actual}{process}"
