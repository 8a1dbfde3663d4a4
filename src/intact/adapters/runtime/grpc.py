"""gRPC over a unix socket: calls with one answer, and calls with a stream of answers.

In: a socket's path, a method's path, protobuf messages. Out: protobuf messages. Never listens, never speaks TLS, never compresses, never
sends anything but one request message a call. Every wait ends: by an answer, by its timeout, or by an error of `model.errors`.

The wire format is gRPC over HTTP/2 (grpc, PROTOCOL-HTTP2.md): a call is one HTTP/2 stream; every message stands behind a compression flag
and a length of four bytes; the trailers carry `grpc-status` and `grpc-message`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from intact.model.errors import InputError, PermanentError, TemporaryError

from .http2 import Connection, Lost

MAX_MESSAGE_BYTES: Final = 16 << 20
"""The largest answer that is read: what containerd itself allows."""
MAX_REQUEST_BYTES: Final = 32 << 10
"""A request fits into the window that every server opens (RFC 9113 §6.9.2: 65,535 bytes), so sending never waits."""
TIMEOUT_S: Final = 10.0

Metadata = tuple[tuple[str, str], ...]
_Answer = TypeVar("_Answer", bound=Message)
_Parsed_co = TypeVar("_Parsed_co", bound=Message, covariant=True)


class NotFound(InputError):
    """The service does not have the thing that was asked for (gRPC status 5)."""


class AnswerType(Protocol[_Parsed_co]):
    """A generated message class."""

    def FromString(self, s: bytes, /) -> _Parsed_co: ...


class Channel:
    """Calls to one service. Safe to share between threads: calls with one answer take turns on one connection, each stream has its own.

    A connection is made on first use and again after it was lost. `max_message_bytes` bounds every single answer.
    """

    def __init__(self, path: str, *, timeout_s: float = TIMEOUT_S, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._max_message_bytes = max_message_bytes
        self._lock = threading.Lock()
        self._idle: Connection | None = None

    def call(self, method: str, request: Message, answer: AnswerType[_Answer], metadata: Metadata = ()) -> _Answer:
        """Calls `/package.Service/Method` and returns its one answer.

        Raises NotFound, InputError (the service refuses the request), TemporaryError (no service, or no answer in time) and
        PermanentError (the service cannot do this). Where an idle connection turns out to be lost the call is made once more: only for
        methods that change nothing.
        """
        body = _encode(method, request)
        deadline = time.monotonic() + self._timeout_s
        if not self._lock.acquire(timeout=self._timeout_s):
            raise TemporaryError(f"{self.path}: {method} had no turn within {self._timeout_s:g} s", code="RuntimeTimeout")
        try:
            try:
                return self._call_once(method, body, answer, metadata, deadline, reuse=True)
            except Lost as error:
                if error.answered or not error.reused:
                    raise
                return self._call_once(method, body, answer, metadata, deadline, reuse=False)
        except TimeoutError:
            raise TemporaryError(f"{self.path} did not answer {method} within {self._timeout_s:g} s", code="RuntimeTimeout") from None
        finally:
            self._lock.release()

    def _call_once(
        self, method: str, body: bytes, answer: AnswerType[_Answer], metadata: Metadata, deadline: float, *, reuse: bool
    ) -> _Answer:
        connection = (self._idle if reuse else None) or Connection(self.path, deadline, self._max_message_bytes)
        self._idle = None
        try:
            connection.start(method, body, metadata, deadline)
            message = connection.receive(deadline)
            if message is not None and connection.receive(deadline) is not None:  # before the status, which may not have come yet
                raise PermanentError(f"{self.path} answered {method} with several messages")
            _check_status(connection, method)
            if message is None:
                raise PermanentError(f"{self.path} answered {method} with no message")
            return _parse(message, answer, method, self.path)
        finally:
            if connection.reusable:
                self._idle = connection
            else:
                connection.close()

    @contextlib.contextmanager
    def stream(self, method: str, request: Message, answer: AnswerType[_Answer], metadata: Metadata = ()) -> Iterator[Stream[_Answer]]:
        """Calls a method that answers with a stream, on a connection of its own that ends with the block.

        Nothing is read ahead: a slow reader slows the service down. Errors as `call`, where the stream is read.
        """
        deadline = time.monotonic() + self._timeout_s
        try:
            connection = Connection(self.path, deadline, self._max_message_bytes)
        except TimeoutError:
            raise TemporaryError(f"{self.path} took no connection within {self._timeout_s:g} s", code="RuntimeTimeout") from None
        try:
            connection.start(method, _encode(method, request), metadata, None)
            yield Stream(connection, answer, method)
        finally:
            connection.close()

    def close(self) -> None:
        with self._lock:
            if self._idle is not None:
                self._idle.close()
                self._idle = None


class Stream(Generic[_Answer]):
    """The answers of one call."""

    def __init__(self, connection: Connection, answer: AnswerType[_Answer], method: str) -> None:
        self._connection = connection
        self._answer = answer
        self._method = method

    def read(self, timeout_s: float) -> _Answer | None:
        """The next answer, or None after the last. Raises TimeoutError where none came in time; reading may go on afterwards."""
        message = self._connection.receive(time.monotonic() + timeout_s)
        if message is None:
            _check_status(self._connection, self._method)
            return None
        return _parse(message, self._answer, self._method, self._connection.path)


def _encode(method: str, request: Message) -> bytes:
    body = request.SerializeToString()
    if len(body) > MAX_REQUEST_BYTES:
        raise InputError(f"{method}: a request of {len(body)} bytes; at most {MAX_REQUEST_BYTES}")
    return body


def _parse(message: bytes, answer: AnswerType[_Answer], method: str, path: str) -> _Answer:
    try:
        return answer.FromString(message)
    except DecodeError as error:
        raise PermanentError(f"{path} answered {method} with something else than the published message: {error}") from error


def _check_status(connection: Connection, method: str) -> None:
    """Raises what the call's status says (grpc, statuscodes.md)."""
    status, said = connection.status, connection.message
    text = f"{method.rpartition('/')[2]}: {said}"
    match status:
        case "0":
            return
        case "5":
            raise NotFound(text, code="NotFound")
        case "3" | "6" | "9" | "11":
            raise InputError(text, code="RuntimeRefused")
        case "7" | "8" | "12" | "16":  # 8: the answer is larger than the service sends
            raise PermanentError(f"{connection.path}: {text}", code="RuntimeRefused", hint="status " + status)
        case "":
            raise TemporaryError(f"{connection.path} ended {method} without a status", code="RuntimeUnavailable")
        case _:
            raise TemporaryError(f"{connection.path}: {text}", code="RuntimeUnavailable", hint="gRPC status " + status[:10])
