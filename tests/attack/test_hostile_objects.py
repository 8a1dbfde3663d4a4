"""An object store that lies, fails or stalls: told as what it is, never believed, and never in the way of anything else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from intact.adapters.registry.access import RegistryAccess
from intact.adapters.store import objects
from intact.adapters.store.cached import TableCache
from intact.adapters.store.database import Database
from intact.adapters.store.object_settings import ObjectSettings
from intact.adapters.store.objects import Bucket
from intact.adapters.store.shared_baselines import SharedBaselines
from intact.baseline.store import BaselineStore
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError, TrustError
from intact.run.cluster.baselines import ClusterBaselines
from lab.pki import issue_server_certificate
from lab.s3 import ObjectServer
from tests.unit.baseline.test_store import OWN, make_baseline

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serve(answer: Answer) -> Iterator[str]:
    """A server of the attacker's: every request gets `answer`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            with suppress(OSError):  # the client has had enough
                answer(self)
            self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _any

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def bucket(object_server: ObjectServer) -> Bucket:
    return Bucket(ObjectSettings(url=f"s3://{object_server.make_bucket()}", endpoint=object_server.endpoint, plain_http=True))


@pytest.fixture
def kept(tmp_path: Path, bucket: Bucket) -> Iterator[Database]:
    """An index of one baseline whose tables were stored honestly."""
    with closing(Database.in_directory(tmp_path)) as database:
        BaselineStore(SharedBaselines(database, bucket, TableCache(tmp_path / "honest")), signer=OWN).put(make_baseline())
        yield database


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "READ_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(objects, "REQUEST_TIMEOUT", timedelta(seconds=3))
    monkeypatch.setattr(objects, "RETRIES", 1)


def status(code: int) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        body = b"<Error><Code>Whatever</Code><Message>\x1b[31mred</Message></Error>"
        request.send_response(code)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    return answer


def stall(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000000")
    request.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
    request.send_header("ETag", '"x"')
    request.end_headers()
    request.wfile.write(b"INTACTLT")
    request.rfile.read(1)  # until the client goes away


def flood(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(1 << 40))
    request.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
    request.send_header("ETag", '"x"')
    request.end_headers()
    while True:
        request.wfile.write(bytes(1 << 16))


def open_files(database: Database, tmp_path: Path, endpoint: str) -> SharedBaselines:
    bucket = Bucket(ObjectSettings(url="s3://baselines", endpoint=endpoint, plain_http=True))
    return SharedBaselines(database, bucket, TableCache(tmp_path / "copies"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(403), PermanentError),
        (status(401), PermanentError),
        (status(400), PermanentError),
        (status(404), InputError),
        (status(500), TemporaryError),
        (status(503), TemporaryError),
        (status(429), TemporaryError),
        (stall, TemporaryError),
        (flood, TrustError),
    ],
    ids=["403", "401", "400", "404", "500", "503", "429", "stall", "flood"],
)
def test_whatever_the_server_does_ends_as_an_error_that_says_what_to_do(
    kept: Database, tmp_path: Path, answer: Answer, expected: type[IntactError]
) -> None:
    baseline = make_baseline()
    with serve(answer) as endpoint:
        files = open_files(kept, tmp_path, endpoint)
        store = BaselineStore(files, signer=OWN)
        with pytest.raises(expected) as raised:
            store.get(str(baseline.key))
        assert "\x1b" not in str(raised.value)
        library = ClusterBaselines(store, OWN, access=RegistryAccess())
        assert library.known(baseline.key) is None
    copies = [path.stat().st_size for path in (tmp_path / "copies").iterdir()]
    assert sum(copies) == 0, "nothing of what it sent is kept"


@pytest.mark.parametrize("answer", [status(403), status(503)], ids=["403", "503"])
def test_what_cannot_be_stored_is_not_in_the_index(tmp_path: Path, object_server: ObjectServer, answer: Answer) -> None:
    with ExitStack() as stack:
        database = stack.enter_context(closing(Database.in_directory(tmp_path)))
        endpoint = stack.enter_context(serve(answer))
        files = open_files(database, tmp_path, endpoint)
        with pytest.raises((PermanentError, TemporaryError)):
            BaselineStore(files, signer=OWN).put(make_baseline())
        assert files.keys() == ()
        assert list(files.find_by_layer(make_baseline().layers[0].diff_id)) == []


def test_a_name_or_endpoint_that_would_send_credentials_in_the_clear_is_refused() -> None:
    with pytest.raises(InputError, match="no TLS"):
        Bucket(ObjectSettings(url="s3://baselines", endpoint="http://s3.example"))
    for url in ("http://baselines", "s3://", "s3://user@bucket", "s3://bucket?x=1", "file://host/x", "baselines"):
        with pytest.raises(InputError):
            Bucket(ObjectSettings(url=url))


def test_only_an_authority_that_is_named_vouches_for_a_server(tmp_path: Path) -> None:
    certificate, key, authority = issue_server_certificate(tmp_path, "127.0.0.1")
    with ObjectServer(certificate=certificate, key=key) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        url = f"s3://{server.make_bucket()}"
        Bucket(ObjectSettings(url=url, endpoint=server.endpoint, ca_file=authority)).check()
        with pytest.raises(TemporaryError):
            Bucket(ObjectSettings(url=url, endpoint=server.endpoint)).check()


def test_a_copy_that_was_damaged_on_disk_is_fetched_again(kept: Database, tmp_path: Path, bucket: Bucket) -> None:
    baseline = make_baseline()
    for damage in (b"", b"x", b"y" * 100_000):
        files = SharedBaselines(kept, bucket, TableCache(tmp_path / "copies"))
        for path in (tmp_path / "copies").iterdir():
            path.write_bytes(damage)
        found = BaselineStore(files, signer=OWN).get(str(baseline.key))
        assert found is not None
        assert list(found.scan()) == list(baseline.scan())
