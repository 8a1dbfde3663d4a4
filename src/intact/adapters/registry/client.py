"""One repository at one endpoint: what of the OCI distribution specification (1.1) reading images and their referrers needs.

In: paths and digests. Out: answers that are bounded, and blobs as they come, carried on where a connection broke. Never writes: `upload`
does. May be used by several threads at once, each on a connection of its own.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from intact.model.digest import Digest
from intact.model.errors import InputError, PermanentError, TemporaryError

from .access import Endpoint, Patience, RegistryAccess
from .authorize import Authorizer
from .connection import Body, Connection, read_bounded

MAX_RESUMES = 100
"""Of one blob, however much each of them brought."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer. `headers` by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    url: str

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip()


class RepositoryClient:
    """Reads one repository. `close` it at the end."""

    def __init__(self, access: RegistryAccess, endpoint: Endpoint, *, actions: str = "pull") -> None:
        """`actions`: what tokens are asked for: `pull`, or `pull,push`."""
        self.access, self.endpoint = access, endpoint
        self.scope = f"repository:{endpoint.repository}:{actions}"
        self._authorizer = Authorizer(access, endpoint)
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._until = time.monotonic() + access.patience.whole_s

    def __str__(self) -> str:
        return str(self.endpoint)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def path(self, rest: str) -> str:
        return f"/v2/{self.endpoint.repository}/{rest}"

    def read(self, url: str, *, accept: str = "*/*", limit_bytes: int) -> Answer:
        """The answer to a GET, whatever its status (what is no 200 comes without content). Raises InputError (longer than `limit_bytes`,
        refused), TemporaryError, PermanentError, TrustError."""
        for attempt in range(1, self.access.patience.attempts + 1):
            try:
                return self.ask("GET", url, headers={"accept": accept}, limit_bytes=limit_bytes)
            except TemporaryError as error:
                if error.code != "Broken" or attempt == self.access.patience.attempts:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Body | None = None, limit_bytes: int = 0
    ) -> Answer:
        """One request and its whole answer. TemporaryError with the code `Broken`: the answer broke off."""
        with self._borrowed() as connection:
            response = connection.send(method, url, scope=self.scope, headers=headers, body=body)
            try:
                data = b""
                if response.status_code == 200 and limit_bytes:
                    with connection.explained(f"registry {self.endpoint.host}"):
                        try:
                            chunks = self._in_time(response)
                            data = read_bounded(chunks, limit_bytes, f"registry {self.endpoint.host}")
                        except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
                            raise TemporaryError(f"registry {self.endpoint.host}: its answer broke off: {error}", code="Broken") from None
                plain = {name.lower(): value for name, value in response.headers.items()}
                return Answer(status=response.status_code, headers=plain, data=data, url=str(response.url))
            finally:
                response.close()

    def stream_blob(self, digest: Digest, size_bytes: int | None, *, at: int = 0) -> Iterator[bytes]:
        """A blob's bytes from `at` to wherever the registry ends, in chunks of any size; whoever reads bounds and verifies them.

        1. A connection that breaks is resumed with Range (RFC 9110 §14.2) from the first byte that is missing.
        2. A registry that ignores it and sends all again is read past what is there already.
        3. Attempts without a byte are bounded, so are all of them, and so is the time that a slow one may take.

        Raises InputError with the code BlobUnknown, TemporaryError, PermanentError, TrustError.
        """
        patience = self.access.patience
        fruitless = 0
        for _ in range(MAX_RESUMES):
            before = at
            try:
                with self._borrowed() as connection, connection.explained(f"registry {self.endpoint.host}"):
                    response = self._open_at(connection, digest, at)
                    try:
                        skip = at if response.status_code == 200 else 0  # 2
                        for chunk in self._in_time(response):
                            if skip:
                                chunk, skip = chunk[skip:], max(0, skip - len(chunk))
                                if not chunk:
                                    continue
                            at += len(chunk)
                            yield chunk
                    finally:
                        response.close()
                if size_bytes is None or at >= size_bytes:
                    return
                problem = f"registry {self.endpoint.host}: blob {digest} ends after {at} of {size_bytes} bytes"
            except TemporaryError as error:
                if size_bytes is not None and at == size_bytes:
                    return
                if error.code == "TooSlow":
                    raise
                problem = str(error)
            fruitless = fruitless + 1 if at == before else 0  # 3
            if fruitless >= patience.attempts:
                raise TemporaryError(problem, code="Broken", hint="try again later")
            time.sleep(min(patience.first_pause_s * 2**fruitless, patience.longest_pause_s))
        raise TemporaryError(f"registry {self.endpoint.host}: blob {digest} breaks off again and again", code="Broken")

    def _open_at(self, connection: Connection, digest: Digest, at: int) -> httpx2.Response:
        headers = {"range": f"bytes={at}-"} if at else {}  # 1
        response = connection.send("GET", self.path(f"blobs/{digest}"), scope=self.scope, headers=headers)
        status = response.status_code
        try:
            if status == 206:
                found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
                if found is None or int(found[1]) != at or not at:
                    raise PermanentError(f"registry {self.endpoint.host} sends another part of {digest} than asked for", code="Range")
            elif status == 404 and at:
                raise TemporaryError(f"registry {self.endpoint.host}: blob {digest} is gone after {at} bytes", code="Broken")
            elif status != 200:
                raise self.refusal(status, f"blob {digest}")
        except BaseException:
            response.close()
            raise
        return response

    def refusal(self, status: int, what: str) -> InputError | PermanentError:
        """What a status means for the caller."""
        problem = f"registry {self.endpoint.host}: {what} of {self.endpoint.repository}: HTTP {status}"
        if status == 404:
            return InputError(f"{problem}: not found", code="BlobUnknown", hint="check host, repository and tag or digest")
        if status in (401, 403):
            return self._authorizer.denied()
        return PermanentError(problem, code="Registry")

    def _in_time(self, response: httpx2.Response) -> Iterator[bytes]:
        for chunk in iterate_paced(response, self.access.patience, self.endpoint.host):
            self._check_time()
            yield chunk

    def _check_time(self) -> None:
        if time.monotonic() >= self._until:
            problem = f"registry {self.endpoint.host}: {self.endpoint.repository} takes longer than {self.access.patience.whole_s:.0f} s"
            raise TemporaryError(problem, code="TooSlow", hint="others are read meanwhile, and it is tried again")

    @contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        self._check_time()
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or Connection(self.access, self.endpoint, self._authorizer)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)


def iterate_paced(response: httpx2.Response, patience: Patience, host: str) -> Iterator[bytes]:
    """A body's chunks. Too slow for too long is a TemporaryError, however steadily its bytes drip; only waiting counts, not the reader."""
    waited_s, received = 0.0, 0
    chunks = response.iter_raw()
    while True:
        started = time.monotonic()
        chunk = next(chunks, None)
        waited_s += time.monotonic() - started
        if chunk is None:
            return
        received += len(chunk)
        if waited_s > patience.grace_s and received < waited_s * patience.least_bytes_s:
            raise TemporaryError(
                f"registry {host} sends {received / waited_s:.0f} bytes a second: too slow", code="TooSlow", hint="try again later"
            )
        yield chunk
