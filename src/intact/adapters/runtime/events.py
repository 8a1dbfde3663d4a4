"""Tells when the set of running containers may have changed.

In: containerd's event stream. Out: one claim, "list again". Events are hints: none is believed, none is counted, and a stream that was
lost or newly opened is itself a reason to list again. Also which containers ended, since the shortest-lived ones are in no list. Never
lists, never runs a thread.

1. A subscription is opened; the runtime does not say when it is in force. So the first answer after it is "list again", and so is the next
   one a second later: what started in between is in the second list.
2. Then every start, end and removal of a container's first process is a change; commands executed inside one (probes) are not.
3. A burst is one change: after the first event the stream is read until it is quiet for 20 ms, at most for 200 ms.
4. A stream that ended or broke is a change; the next one is opened after a pause that grows from 0.1 s to 5 s.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Final

from google.protobuf.message import DecodeError

from intact.model.errors import IntactError, TemporaryError

from . import containerd_pb2 as pb
from .grpc import Channel, Stream

SETTLE_S: Final = 1.0
QUIET_S: Final = 0.02
BURST_S: Final = 0.2
MIN_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 5.0
METHOD: Final = "/containerd.services.events.v1.Events/Subscribe"
MAX_ENDED: Final = 4096
TOPICS: Final = ("/tasks/start", "/tasks/exit", "/tasks/delete")


class Changes:
    """The changes of one runtime, for one thread. `problem` says why there is no stream now; it is empty while there is one. `ended` are
    the last `MAX_ENDED` containers whose first process ended, as (namespace, id): for another thread to take from its left."""

    def __init__(self, socket: str) -> None:
        self.problem = "not subscribed yet"
        self.ended: deque[tuple[str, str]] = deque(maxlen=MAX_ENDED)
        self._channel = Channel(socket)
        self._opened = contextlib.ExitStack()
        self._stream: Stream[pb.Envelope] | None = None
        self._settles_at: float | None = None
        self._retry_at = 0.0
        self._pause_s = MIN_PAUSE_S

    def wait(self, timeout_s: float) -> bool:
        """Waits at most `timeout_s` and says whether to list the containers again. A dead runtime is not an error here: listing says it."""
        deadline = time.monotonic() + timeout_s
        try:
            if self._stream is None:
                self._stream = self._subscribe(deadline)
                return self._stream is not None  # 1
            while (now := time.monotonic()) < deadline:
                until = deadline if self._settles_at is None else min(deadline, self._settles_at)
                if self._reads_change(self._stream, until - now):
                    self._read_burst(self._stream)
                    return True
                if self._settles_at is not None and time.monotonic() >= self._settles_at:
                    self._settles_at = None
                    self._pause_s = MIN_PAUSE_S
                    return True  # 1
        except IntactError as error:
            self._lose(str(error))
            return True  # 4
        return False

    def close(self) -> None:
        self._lose("closed")

    def _subscribe(self, deadline: float) -> Stream[pb.Envelope] | None:
        """A new stream, or None where the runtime does not answer before `deadline` or the pause is not over by then."""
        wait_s = self._retry_at - time.monotonic()
        if wait_s > 0:
            time.sleep(max(0.0, min(wait_s, deadline - time.monotonic())))
            if time.monotonic() < self._retry_at:
                return None
        request = pb.SubscribeRequest(filters=[f'topic=="{topic}"' for topic in TOPICS])
        try:
            stream = self._opened.enter_context(self._channel.stream(METHOD, request, pb.Envelope))
        except IntactError as error:
            self._lose(str(error))
            time.sleep(max(0.0, min(self._retry_at, deadline) - time.monotonic()))
            return None
        self.problem = ""
        self._settles_at = time.monotonic() + SETTLE_S
        return stream

    def _lose(self, problem: str) -> None:
        self.problem = problem
        self._stream = None
        self._opened.close()
        self._retry_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)

    def _reads_change(self, stream: Stream[pb.Envelope], timeout_s: float) -> bool:
        """Reads one event, if one comes in time, and says whether it is of a container's first process."""
        try:
            envelope = stream.read(timeout_s)
        except TimeoutError:
            return False
        if envelope is None:
            raise TemporaryError("the runtime ended its event stream", code="RuntimeUnavailable")
        self._note_end(envelope)
        return concerns_container(envelope)

    def _read_burst(self, stream: Stream[pb.Envelope]) -> None:
        end = time.monotonic() + BURST_S  # 3
        while (now := time.monotonic()) < end:
            try:
                envelope = stream.read(min(QUIET_S, end - now))
            except TimeoutError:
                return
            if envelope is None:
                raise TemporaryError("the runtime ended its event stream", code="RuntimeUnavailable")
            self._note_end(envelope)

    def _note_end(self, envelope: pb.Envelope) -> None:
        if envelope.topic == "/tasks/exit" and concerns_container(envelope):
            with contextlib.suppress(DecodeError):
                self.ended.append((envelope.namespace, pb.TaskExit.FromString(envelope.event.value).container_id))


def concerns_container(envelope: pb.Envelope) -> bool:
    """False for the end of a command that was executed inside a container: kubelet's probes make one every few seconds."""
    try:
        if envelope.topic == "/tasks/exit":
            exit = pb.TaskExit.FromString(envelope.event.value)
            return exit.id in ("", exit.container_id)
        if envelope.topic == "/tasks/delete":
            delete = pb.TaskDelete.FromString(envelope.event.value)
            return delete.id in ("", delete.container_id)
    except DecodeError:
        return True
    return True
