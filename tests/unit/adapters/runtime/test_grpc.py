"""gRPC calls against servers that answer rightly, wrongly, and not at all. The servers speak real HTTP/2 on a real socket."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from intact.adapters.runtime import containerd_pb2 as pb
from intact.adapters.runtime.grpc import Channel, NotFound
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError

METHOD = "/intact.Test/Call"
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]

Answer = Callable[["Peer", int], None]


class Peer:
    """One connection's server side."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))

    def serve(self, answer: Answer) -> None:
        self.h2.initiate_connection()
        self.flush()
        while data := self.socket.recv(65536):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    answer(self, event.stream_id)
            self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def respond(self, stream: int, *messages: bytes, trailers: list[tuple[str, str]] | None = OK) -> None:
        self.h2.send_headers(stream, RESPONSE)
        for message in messages:
            self.send(stream, struct.pack(">BI", 0, len(message)) + message)
        if trailers is not None:
            self.h2.send_headers(stream, trailers, end_stream=True)

    def send(self, stream: int, data: bytes) -> None:
        """Sends as much as the client's window takes, and waits for it to open again."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if not room:
                self.flush()
                self.h2.receive_data(self.socket.recv(65536))
                continue
            self.h2.send_data(stream, data[:room])
            data = data[room:]
        self.flush()


class Server:
    """Listens at `path`; each call is answered by the next of `answers`, the last one again and again."""

    def __init__(self, path: str, *answers: Answer) -> None:
        self.path = path
        self.connections = 0
        self._answers = list(answers)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            Peer(connection).serve(self._answer)

    def _answer(self, peer: Peer, stream: int) -> None:
        (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])(peer, stream)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        Path(self.path).unlink()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*answers: Answer) -> Server:
        servers.append(Server(str(tmp_path / f"{len(servers)}.sock"), *answers))
        return servers[-1]

    yield start
    for server in servers:
        with contextlib.suppress(OSError):
            server.close()


def version(text: str) -> bytes:
    return pb.VersionResponse(version=text).SerializeToString()


def call(channel: Channel) -> str:
    return channel.call(METHOD, pb.Empty(), pb.VersionResponse).version


def respond(*messages: bytes, trailers: list[tuple[str, str]] | None = OK) -> Answer:
    return lambda peer, stream: peer.respond(stream, *messages, trailers=trailers)


def test_calls_share_one_connection_between_threads(serve: Callable[..., Server]) -> None:
    server = serve(respond(version("1")))
    channel = Channel(server.path)
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.extend(call(channel) for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["1"] * 80
    assert server.connections == 1
    channel.close()


def test_an_answer_larger_than_every_window_arrives(serve: Callable[..., Server]) -> None:
    text = "x" * (12 << 20)
    channel = Channel(serve(respond(version(text))).path)
    assert call(channel) == text
    assert call(channel) == text, "and the window is open again"
    channel.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("1", TemporaryError),
        ("2", TemporaryError),
        ("3", InputError),
        ("4", TemporaryError),
        ("5", NotFound),
        ("7", PermanentError),
        ("8", PermanentError),
        ("9", InputError),
        ("12", PermanentError),
        ("13", TemporaryError),
        ("14", TemporaryError),
        ("16", PermanentError),
        ("99", TemporaryError),
        ("zero", TemporaryError),
    ],
)
def test_a_status_says_what_the_caller_can_do(serve: Callable[..., Server], status: str, kind: type[IntactError]) -> None:
    channel = Channel(serve(respond(trailers=[("grpc-status", status), ("grpc-message", "caf%C3%A9 %1B[2J")])).path)
    with pytest.raises(IntactError, match="café") as caught:
        call(channel)
    assert type(caught.value) is kind
    assert "\x1b" not in str(caught.value)
    channel.close()


def test_an_error_without_a_body_is_an_error(serve: Callable[..., Server]) -> None:
    """Trailers-Only (PROTOCOL-HTTP2.md): the status stands in the first and only headers."""
    only: Answer = lambda peer, stream: peer.h2.send_headers(stream, [*RESPONSE, ("grpc-status", "5")], end_stream=True)  # noqa: E731
    channel = Channel(serve(only).path)
    with pytest.raises(NotFound):
        call(channel)
    channel.close()


def raw(data: bytes) -> Answer:
    def answer(peer: Peer, stream: int) -> None:
        peer.h2.send_headers(stream, RESPONSE)
        peer.send(stream, data)
        peer.h2.send_headers(stream, OK, end_stream=True)

    return answer


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (respond(), PermanentError, "no message"),
        (respond(version("1"), version("2")), PermanentError, "several messages"),
        (respond(b"\xff\xff\xff"), PermanentError, "something else than the published message"),
        (respond(b"\x0a\x02\xff\xfe"), PermanentError, "something else than the published message"),
        (raw(struct.pack(">BI", 0, 1 << 30)), PermanentError, "1073741824 bytes"),
        (raw(struct.pack(">BI", 1, 3) + b"abc"), PermanentError, "compressed"),
        (raw(struct.pack(">BI", 0, 10) + b"cut"), TemporaryError, "cut off"),
        (lambda peer, stream: peer.h2.send_headers(stream, [(":status", "404")], end_stream=True), PermanentError, "HTTP status 404"),
        (lambda peer, stream: peer.h2.send_headers(stream, RESPONSE, end_stream=True), TemporaryError, "without a status"),
        (lambda peer, stream: peer.h2.reset_stream(stream, 2), TemporaryError, "broke the call off"),
        (lambda peer, stream: peer.socket.shutdown(socket.SHUT_RDWR), TemporaryError, "is the runtime running"),
        (lambda peer, stream: peer.socket.sendall(b"\0\0\1\4\0\0\0\0\0x"), TemporaryError, "HTTP/2"),
    ],
)
def test_a_wrong_answer_is_an_error_and_the_next_call_works(
    serve: Callable[..., Server], answer: Answer, kind: type[IntactError], says: str
) -> None:
    channel = Channel(serve(answer, respond(version("1"))).path)
    with pytest.raises(kind, match=says):
        call(channel)
    assert call(channel) == "1"
    channel.close()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_silence_and_other_protocols_end_by_the_timeout(serve: Callable[..., Server], said: bytes) -> None:
    channel = Channel(serve(lambda peer, stream: peer.socket.sendall(said), respond(version("1"))).path, timeout_s=0.3)
    started = time.monotonic()
    with pytest.raises(TemporaryError, match=r"within 0\.3 s"):
        call(channel)
    assert time.monotonic() - started < 2
    assert call(channel) == "1", "the unanswered call does not disturb the next one"
    channel.close()


def test_a_trickle_ends_by_the_timeout(serve: Callable[..., Server]) -> None:
    def trickle(peer: Peer, stream: int) -> None:
        peer.h2.send_headers(stream, RESPONSE)
        peer.send(stream, struct.pack(">BI", 0, 1000))
        with contextlib.suppress(OSError):
            while True:
                peer.send(stream, b"x")
                time.sleep(0.05)

    channel = Channel(serve(trickle).path, timeout_s=0.4)
    started = time.monotonic()
    with pytest.raises(TemporaryError):
        call(channel)
    assert time.monotonic() - started < 2
    channel.close()


def test_a_peer_that_hangs_up_between_calls_is_called_again(serve: Callable[..., Server]) -> None:
    def respond_and_leave(peer: Peer, stream: int) -> None:
        peer.respond(stream, version("1"))
        peer.h2.close_connection()
        peer.flush()
        peer.socket.shutdown(socket.SHUT_RDWR)

    server = serve(respond_and_leave)
    channel = Channel(server.path)
    assert [call(channel) for _ in range(3)] == ["1"] * 3
    assert server.connections == 3
    channel.close()


def test_a_service_that_starts_again_is_found_again(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    channel = Channel(path)
    with pytest.raises(TemporaryError, match=r"no runtime answers at .*s\.sock"):
        call(channel)
    server = Server(path, respond(version("1")))
    assert call(channel) == "1"
    server.close()
    server = Server(path, respond(version("2")))
    assert call(channel) in ("1", "2"), "the old connection may live on"
    channel.close()
    assert call(channel) == "2"
    server.close()


def test_a_request_is_bounded(serve: Callable[..., Server]) -> None:
    channel = Channel(serve(respond(version("1"))).path)
    with pytest.raises(InputError, match="at most"):
        channel.call(METHOD, pb.GetImageRequest(name="x" * 100_000), pb.VersionResponse)


def test_a_stream_is_read_one_by_one_and_may_be_waited_for(serve: Callable[..., Server]) -> None:
    go = threading.Event()

    def answer(peer: Peer, stream: int) -> None:
        peer.respond(stream, version("1"), trailers=None)
        go.wait(5)
        peer.send(stream, struct.pack(">BI", 0, len(version("2"))) + version("2"))
        peer.h2.send_headers(stream, OK, end_stream=True)

    channel = Channel(serve(answer).path)
    with channel.stream(METHOD, pb.Empty(), pb.VersionResponse) as stream:
        first = stream.read(5)
        assert first is not None and first.version == "1"
        with pytest.raises(TimeoutError):
            stream.read(0.05)
        go.set()
        second = stream.read(5)
        assert second is not None and second.version == "2"
        assert stream.read(5) is None
        assert stream.read(5) is None


def test_a_stream_that_fails_in_the_middle_says_so(serve: Callable[..., Server]) -> None:
    channel = Channel(serve(respond(version("1"), trailers=[("grpc-status", "14"), ("grpc-message", "going")])).path)
    with channel.stream(METHOD, pb.Empty(), pb.VersionResponse) as stream:
        assert stream.read(5) is not None
        with pytest.raises(TemporaryError, match="going"):
            stream.read(5)
