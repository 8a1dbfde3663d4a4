"""The node's end of the seam over HTTPS: one pinned CA, one token, one server name, and errors sorted by what to do about them.

Reads the CA and the token again from their files whenever they change (both rotate). Follows no redirect, uses no proxy and no other CA,
accepts nothing unbounded.
"""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
import msgspec

from intact.adapters.codec import decode, decode_all, encode
from intact.adapters.seam.ports import UNAUTHENTICATED, UNTRUSTED_SERVER, deliverable
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError, TrustError
from intact.model.seam import Command, Plan, Report

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

T = TypeVar("T")
MAX_ANSWER_BYTES = 16 << 20
MAX_BASELINE_BYTES = 512 << 20
MAX_WAIT_S = 60.0
_TIMEOUT = httpx2.Timeout(connect=5.0, read=30.0, write=30.0, pool=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the controller is and how it proves itself. `url` may name an address; the certificate must name `server_name`."""

    url: str
    server_name: str
    ca_file: Path
    token_file: Path


class Problem(msgspec.Struct, frozen=True):
    """The part of a problem document (RFC 9457) that is acted upon."""

    detail: str = ""
    code: str = ""


class HttpsCluster:
    """Implements `Cluster` for `node` against the controller's API. Thread-safe. `clock` gives Unix seconds."""

    def __init__(self, endpoint: Endpoint, node: str, clock: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._node = node
        self._clock = clock
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None
        self._pinned = b""

    def submit(self, report: Report) -> None:
        body = zstd.compress(encode(report), level=3)
        headers = {"Content-Type": "application/json", "Content-Encoding": "zstd"}
        with self._ask("POST", "/v1/reports", headers=headers, content=body):
            pass

    def fetch_plan(self, etag: str) -> Plan | None:
        with self._ask("GET", "/v1/plan", headers={"If-None-Match": f'"{etag}"'} if etag else {}) as answer:
            return None if answer.status_code == 304 else _understand(answer, lambda body: decode(Plan, body))

    def fetch_baseline(self, key: Digest) -> bytes | None:
        try:
            with self._ask("GET", f"/v1/baselines/{key}") as answer:
                return _read(answer, MAX_BASELINE_BYTES)
        except PermanentError as error:
            if error.code == "NoSuchBaseline":
                return None
            raise

    def fetch_commands(self, wait_s: float) -> tuple[Command, ...]:
        wait_s = min(wait_s, MAX_WAIT_S)
        timeout = httpx2.Timeout(connect=5.0, read=wait_s + 15.0, write=10.0, pool=10.0)
        with self._ask("GET", f"/v1/commands?wait={wait_s:g}", timeout=timeout) as answer:
            commands = _understand(answer, lambda body: decode_all(Command, body))
            return deliverable(commands, self._node, self._clock())

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    @contextmanager
    def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        timeout: httpx2.Timeout = _TIMEOUT,
    ) -> Iterator[httpx2.Response]:
        """One request; yields an answer of 2xx or 304, raises the sorted error for anything else. Only an answer that was read to its end
        leaves its connection to the next request."""
        client = self._connect()
        try:
            with client.stream(
                method,
                path,
                content=content,
                headers={**(headers or {}), "Authorization": f"Bearer {self._read_token()}"},
                extensions={"sni_hostname": self._endpoint.server_name},
                timeout=timeout,
            ) as answer:
                if answer.status_code != 304 and not answer.is_success:
                    raise _sort_answer(answer)
                yield answer
                if answer.status_code in (204, 304):
                    answer.read()
        except httpx2.HTTPError as error:
            raise _sort_failure(error, self._endpoint) from error

    def _connect(self) -> httpx2.Client:
        """The client for the CA that is pinned now; a new one when the pin has changed. Requests under way end on the old one."""
        pinned = _read_file(self._endpoint.ca_file, "the controller's CA")
        with self._lock:
            if self._client is None or pinned != self._pinned:
                client = httpx2.Client(
                    base_url=self._endpoint.url,
                    verify=_trust_only(pinned, self._endpoint.ca_file),
                    headers={"Host": self._endpoint.server_name, "Accept-Encoding": "identity"},
                    follow_redirects=False,
                    trust_env=False,
                    limits=httpx2.Limits(max_connections=8, keepalive_expiry=20.0),
                )
                self._client, self._pinned = client, pinned
            return self._client

    def _read_token(self) -> str:
        token = _read_file(self._endpoint.token_file, "the agent's token").decode("ascii", "replace").strip()
        if not token.isprintable() or not token:
            raise TrustError(f"{self._endpoint.token_file} holds no token", code=UNAUTHENTICATED)
        return token


def _trust_only(ca_pem: bytes, source: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise TrustError(f"{source} is not a CA certificate in PEM: {error}", code=UNTRUSTED_SERVER) from error
    return context


def _read_file(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(256 << 10)
    except OSError as error:
        raise TemporaryError(f"cannot read {what} from {path}: {error.strerror}", code="NotMounted") from error


def _read(answer: httpx2.Response, max_bytes: int) -> bytes:
    """The whole body, at most `max_bytes`; it must come as it is, since we asked for no encoding."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise PermanentError("the controller's answer is encoded although we asked for none", code="BadAnswer")
    parts: list[bytes] = []
    size = 0
    for part in answer.iter_raw():
        size += len(part)
        if size > max_bytes:
            raise PermanentError(f"the controller's answer is larger than {max_bytes} bytes", code="BadAnswer")
        parts.append(part)
    return b"".join(parts)


def _understand(answer: httpx2.Response, read: Callable[[bytes], T]) -> T:
    try:
        return read(_read(answer, MAX_ANSWER_BYTES))
    except InputError as error:
        raise PermanentError(
            f"the controller's answer cannot be understood: {error}", code="BadAnswer", hint="are both of one version?"
        ) from error


def _sort_answer(answer: httpx2.Response) -> IntactError:
    """The error that an answer outside 2xx stands for (RFC 9110, section 15; RFC 9457)."""
    try:
        problem = msgspec.json.decode(_read(answer, 64 << 10), type=Problem)
    except (msgspec.MsgspecError, PermanentError):
        problem = Problem()
    status = answer.status_code
    detail = problem.detail or f"the controller answered {status}"
    match status:
        case 401:
            return TrustError(detail, code=UNAUTHENTICATED)
        case 403:
            return TrustError(detail, code=problem.code or "Forbidden")
        case 400 | 413 | 415 | 422:
            return InputError(detail, code=problem.code or "BadRequest")
        case 408 | 425 | 429:
            return TemporaryError(detail, code=problem.code or "Busy")
        case _ if status >= 500:
            return TemporaryError(detail, code=problem.code or "ServerError")
        case _:
            return PermanentError(detail, code=problem.code or "BadAnswer")


def _sort_failure(error: httpx2.HTTPError, endpoint: Endpoint) -> IntactError:
    """The error that a request without an answer stands for: a server that cannot prove itself is never merely unreachable."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TrustError(
                f"{endpoint.url} does not prove to be {endpoint.server_name}: {cause.verify_message}",
                code=UNTRUSTED_SERVER,
                hint=f"expected a certificate by the CA in {endpoint.ca_file}",
            )
        cause = cause.__cause__ or cause.__context__
    return TemporaryError(f"the controller at {endpoint.url} cannot be reached: {error or type(error).__name__}", code="Unreachable")
