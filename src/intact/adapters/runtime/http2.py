"""One HTTP/2 connection over a unix socket that carries one gRPC call at a time.

In: a method, a request, headers. Out: the answer's messages, one by one and only when asked for, then the call's status.
Never waits without a deadline (`time.monotonic`), never holds more than the flow-control window and one message.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Final
from urllib.parse import unquote_to_bytes

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.settings import SettingCodes as codes

from intact.model.entry import display_path
from intact.model.errors import PermanentError, TemporaryError

_WINDOW_BYTES: Final = 4 << 20
_RECEIVE_BYTES: Final = 128 << 10
_LAST_STREAM_ID: Final = 1 << 30
_PREFIX: Final = struct.Struct(">?I")


class Lost(TemporaryError):
    """The connection ended before the call did. `reused`: it had served a call before; `answered`: a part of the answer had come."""

    def __init__(self, path: str, why: str, *, reused: bool, answered: bool) -> None:
        super().__init__(f"{path}: {why}", code="RuntimeUnavailable", hint="is the runtime running?")
        self.reused = reused
        self.answered = answered


class Connection:
    """Connects at once; raises TemporaryError where nobody listens, PermanentError where this process may not, TimeoutError."""

    def __init__(self, path: str, deadline: float, max_message_bytes: int) -> None:
        self.path = path
        self.status = ""
        """The call's `grpc-status`; empty until it ended."""
        self.message = ""
        """The call's `grpc-message`, printable and bounded."""
        self._max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._stream_id = 0
        self._calls = 0
        self._answered = self._ended = self._broken = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(_remaining(deadline))
            self._socket.connect(path)
        except TimeoutError:
            self._socket.close()
            raise
        except PermissionError as error:
            self._socket.close()
            raise PermanentError(f"{path}: permission denied", code="RuntimeDenied", hint="run as root") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            self._socket.close()
            raise TemporaryError(f"no runtime answers at {path}: {error}", code="RuntimeUnavailable", hint="is it running?") from error
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._h2.update_settings({codes.INITIAL_WINDOW_SIZE: _WINDOW_BYTES, codes.ENABLE_PUSH: 0})
        self._h2.increment_flow_control_window(_WINDOW_BYTES)

    @property
    def reusable(self) -> bool:
        """Whether another call can be made: the last one ended, and the connection is whole."""
        return self._ended and not self._broken and self._stream_id < _LAST_STREAM_ID

    def start(self, method: str, body: bytes, metadata: tuple[tuple[str, str], ...], deadline: float | None) -> None:
        """Sends one request. A `deadline` is told to the service, so that it gives up too."""
        self._calls += 1
        self._buffer.clear()
        self._answered = self._ended = False
        self.status = self.message = ""
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "intact"),
            *metadata,
        ]
        if deadline is not None:
            headers.insert(4, ("grpc-timeout", f"{max(1, int(_remaining(deadline) * 1000))}m"))
        try:
            self._stream_id = self._h2.get_next_available_stream_id()
            self._h2.send_headers(self._stream_id, headers)
            frame_bytes, data = self._h2.max_outbound_frame_size, _PREFIX.pack(False, len(body)) + body
            for start in range(0, len(data), frame_bytes):
                self._h2.send_data(self._stream_id, data[start : start + frame_bytes], end_stream=start + frame_bytes >= len(data))
            self._flush()
        except h2.exceptions.ProtocolError as error:
            raise self._lose(f"cannot send: {error}") from error

    def receive(self, deadline: float) -> bytes | None:
        """The call's next message, or None where it ended: then `status` says how. Raises TimeoutError; may be called again after it."""
        while True:
            message = self._take()
            if message is not None:
                return message
            if self._ended:
                if self._buffer:
                    raise self._lose("the answer was cut off")
                return None
            self._read(deadline)

    def close(self) -> None:
        self._broken = True
        with contextlib.suppress(h2.exceptions.ProtocolError, OSError, Lost):
            self._h2.close_connection()
            self._flush()
        self._socket.close()

    def _take(self) -> bytes | None:
        """Cuts one whole message off the buffer."""
        if len(self._buffer) < _PREFIX.size:
            return None
        compressed, size = _PREFIX.unpack_from(self._buffer)
        if compressed:
            self._broken = True
            raise PermanentError(f"{self.path} sent a compressed message that nobody asked for")
        if size > self._max_message_bytes:
            self._broken = True
            raise PermanentError(
                f"{self.path} sent a message of {size} bytes; at most {self._max_message_bytes} are read", code="RuntimeTooMuch"
            )
        end = _PREFIX.size + size
        if len(self._buffer) < end:
            return None
        message = bytes(memoryview(self._buffer)[_PREFIX.size : end])
        del self._buffer[:end]
        return message

    def _read(self, deadline: float) -> None:
        self._socket.settimeout(_remaining(deadline))
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._lose(str(error)) from error
        if not data:
            raise self._lose("the runtime closed the connection")
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except (h2.exceptions.ProtocolError, UnicodeDecodeError) as error:
            raise self._lose(f"not HTTP/2 as agreed: {error}") from error
        # A peer may answer and be gone before it is thanked: what it sent still counts, and reading on says whether that was all.
        with contextlib.suppress(Lost):
            self._flush()

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self._broken = True
            if (event.last_stream_id or 0) < self._stream_id and not self._ended:
                raise self._lose("the runtime is going away")
        if getattr(event, "stream_id", None) != self._stream_id:
            return
        match event:
            case h2.events.DataReceived():
                self._answered = True
                self._buffer += event.data or b""
                self._h2.acknowledge_received_data(event.flow_controlled_length or 0, self._stream_id)
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self._answered = True
                self._note_headers({str(name): str(value) for name, value in event.headers or ()})
            case h2.events.StreamEnded():
                self._ended = True
            case h2.events.StreamReset():
                raise self._lose(f"the runtime broke the call off (HTTP/2 error {event.error_code})")
            case _:
                return

    def _note_headers(self, headers: dict[str, str]) -> None:
        if headers.get(":status", "200") != "200":
            self._broken = True
            raise PermanentError(f"{self.path} answers HTTP status {headers[':status'][:10]}", hint="is this a container runtime's socket?")
        self.status = headers.get("grpc-status", self.status)
        self.message = display_path(unquote_to_bytes(headers.get("grpc-message", self.message)), 500)

    def _flush(self) -> None:
        """Sends what the protocol wants sent: small frames, so a send that blocks for seconds means a dead peer."""
        data = self._h2.data_to_send()
        if not data:
            return
        self._socket.settimeout(5.0)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lose(str(error)) from error

    def _lose(self, why: str) -> Lost:
        self._broken = True
        return Lost(self.path, why, reused=self._calls > 1, answered=self._answered)


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining
