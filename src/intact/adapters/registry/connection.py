"""One connection's worth of HTTP to registries, on httpx2: redirects, retries, deadlines, and TLS as it was chosen for each host.

In: a request. Out: the head of its answer, its body still unread. Bounded: redirects, attempts, waiting, the time for headers to come.
A redirect is followed for reading only, never from TLS to plain HTTP unless that host was named for it, and never with the Authorization
of another origin. Addresses in messages are cut to host and path: what follows may be a signature.
"""

from __future__ import annotations

import contextlib
import email.utils
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError, TrustError

from .access import Endpoint, RegistryAccess, canonical_host
from .authorize import PLAIN_HINT, Authorizer, TokenRequest
from .challenge import parse_challenges

MAX_REDIRECTS = 5
MAX_TOKEN_BYTES = 1 << 20
LEAST_SENT_BYTES_S = 64 << 10
"""What a body is sent slower than counts as not sent."""
HUB_HOST = "registry-1.docker.io"
_NO_TLS = "WRONG_VERSION_NUMBER"
_BAD_CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"
"""How OpenSSL calls an answer that is no TLS, and one that it does not believe."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_FINAL = frozenset({"NoTls", "NoSuchHost"})

Body = Callable[[], Iterable[bytes]]


class Connection:
    """To one repository at one endpoint, and wherever that redirects to. For one thread at a time."""

    def __init__(self, access: RegistryAccess, endpoint: Endpoint, authorizer: Authorizer) -> None:
        self._access, self._endpoint, self._authorizer = access, endpoint, authorizer
        self._patience = access.patience
        host = HUB_HOST if canonical_host(endpoint.host) == "docker.io" else endpoint.host
        self.base = f"{access.scheme(endpoint.host)}://{host}"
        self._clients: dict[bool, httpx2.Client] = {}
        self._sockets: list[socket.socket] = []
        self._is_late = threading.Event()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._sockets.clear()

    def send(
        self, method: str, url: str, *, scope: str, headers: Mapping[str, str] | None = None, body: Body | None = None
    ) -> httpx2.Response:
        """The answer to a request, whatever its status, with the body still to be read; the caller closes it. `url`: absolute, or a path
        of the endpoint. Raises TemporaryError (not reachable, overloaded), PermanentError (denied), TrustError (its certificate)."""
        patience = self._patience
        pause_s = patience.first_pause_s
        for attempt in range(1, patience.attempts + 1):
            try:
                response = self._authorized(method, urljoin(self.base, url), scope, headers or {}, body)
            except TemporaryError as error:
                if attempt == patience.attempts or error.code in _FINAL:
                    raise
            else:
                if response.status_code not in _RETRIED:
                    return response
                response.close()
                wanted_s = parse_retry_after(response.headers.get("retry-after", ""), time.time())
                problem = f"registry {self._endpoint.host}: {_path(response)}: HTTP {response.status_code}"
                if wanted_s > patience.longest_pause_s:
                    raise TemporaryError(f"{problem}, and it wants to be left alone for {wanted_s:.0f} s", code="RegistryBusy")
                if attempt == patience.attempts:
                    raise TemporaryError(f"{problem}, {attempt} times", code="Registry", hint="try again later")
                pause_s = max(pause_s, wanted_s)
            time.sleep(min(pause_s, patience.longest_pause_s) * random.uniform(0.8, 1.2))
            pause_s *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _authorized(self, method: str, url: str, scope: str, headers: Mapping[str, str], body: Body | None) -> httpx2.Response:
        """One attempt, with as many credentials as there are."""
        is_fresh = False
        while True:
            authorization = self._authorizer.header(scope)
            response = self._redirected(method, url, authorization, headers, body)
            if response.status_code != 401 or _origin(str(response.url)) != _origin(self.base):
                return response
            response.close()
            challenges = parse_challenges(response.headers.get_list("www-authenticate"))
            self._authorizer.renew(scope, authorization, is_fresh=is_fresh, challenges=challenges, fetch=self._fetch_token)
            is_fresh = True

    def _redirected(self, method: str, url: str, authorization: str, headers: Mapping[str, str], body: Body | None) -> httpx2.Response:
        for _ in range(MAX_REDIRECTS + 1):
            sent = {"accept-encoding": "identity", "user-agent": "intact", **headers}
            if authorization and _origin(url) == _origin(self.base):
                sent["authorization"] = authorization
            response = self._exchange(method, url, sent, None if body is None else body())
            if response.status_code not in _REDIRECTS:
                return response
            response.close()
            if method not in ("GET", "HEAD"):
                raise PermanentError(f"registry {self._endpoint.host} redirects a {method}, which is not followed", code="Redirects")
            url = self._follow(url, response.headers.get("location", ""))
        raise PermanentError(f"registry {self._endpoint.host}: more than {MAX_REDIRECTS} redirects", code="Redirects")

    def _follow(self, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
            parts = urlsplit(target)
            name = parts.netloc.rpartition("@")[2]
        except ValueError:
            raise PermanentError(f"registry {self._endpoint.host} redirects to no address", code="Redirects") from None
        if parts.scheme == "http" and name not in self._access.plain_http:
            raise InputError(f"registry {self._endpoint.host} redirects to {name[:200]} without TLS", code="PlainHttp", hint=PLAIN_HINT)
        if parts.scheme not in ("http", "https") or not name or "@" in parts.netloc:
            raise PermanentError(f"registry {self._endpoint.host} redirects to no address that can be followed", code="Redirects")
        return target

    def _fetch_token(self, request: TokenRequest) -> bytes:
        """A realm's answer; redirects are not followed, since it gets the credentials."""
        headers = {"accept-encoding": "identity", "user-agent": "intact"}
        if request.basic:
            headers["authorization"] = request.basic
        host = urlsplit(request.realm).hostname
        if request.form is None:
            url = str(httpx2.URL(request.realm).copy_merge_params(dict(request.parameters)))
            response = self._exchange("GET", url, headers, None)
        else:
            response = self._exchange("POST", request.realm, headers, None, form=request.form)
        try:
            status = response.status_code
            if status in (400, 401, 403):
                raise PermanentError(f"the token server {host} refuses: HTTP {status}", code="Unauthorized")
            if status in _RETRIED:
                raise TemporaryError(f"the token server {host}: HTTP {status}", code="Registry", hint="try again later")
            if status != 200:
                raise PermanentError(f"the token server {host}: HTTP {status}", code="Realm")
            with self.explained(f"token server {host}"):
                return read_bounded(response.iter_raw(), MAX_TOKEN_BYTES, f"token server {host}")
        finally:
            response.close()

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], content: Iterable[bytes] | None, *, form: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """One request and the head of its answer, in time."""
        with self.explained(f"registry {self._endpoint.host}"):
            client = self._client(urlsplit(url).netloc in self._access.insecure_tls)
            extensions = {"trace": self._remember}
            data = None if form is None else dict(form)
            request = client.build_request(method, url, headers=dict(headers), content=content, data=data, extensions=extensions)
            seconds = self._patience.head_s + int(headers.get("content-length", "0")) / LEAST_SENT_BYTES_S
            with self._limited(seconds):
                return client.send(request, stream=True)

    def _client(self, insecure: bool) -> httpx2.Client:
        if insecure not in self._clients:
            patience = self._patience
            timeout = httpx2.Timeout(connect=patience.connect_s, read=patience.read_s, write=patience.read_s, pool=patience.connect_s)
            verify = make_insecure_context() if insecure else make_context(self._access.ca_files)
            self._clients[insecure] = httpx2.Client(timeout=timeout, follow_redirects=False, verify=verify)
        return self._clients[insecure]

    def _remember(self, event: str, info: Mapping[str, Any]) -> None:
        """Notes the socket of each new connection, so that it can be cut off."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            found = info["return_value"].get_extra_info("socket")
            if isinstance(found, socket.socket):
                self._sockets = [*(known for known in self._sockets if known.fileno() >= 0), found]
                if self._is_late.is_set():
                    self._cut()

    def _cut(self) -> None:
        self._is_late.set()
        for known in self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(known, socket.SHUT_RDWR)  # not the SSL object's own: another thread is using it

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        """Cuts this connection off when an answer's head takes longer in all: each single read may be in time, and still never end."""
        self._is_late.clear()
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (httpx2.HTTPError, OSError):
            if self._is_late.is_set():
                raise httpx2.ReadTimeout(f"no complete answer within {seconds:g} s") from None
            raise
        finally:
            timer.cancel()

    @contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """What goes wrong on the way, as our errors."""
        try:
            yield
        except IntactError:
            raise
        except httpx2.TimeoutException as error:
            raise TemporaryError(f"{what} does not answer in time: {type(error).__name__}", code="RegistryTimeout") from None
        except (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError) as error:
            text = str(error)
            if _BAD_CERTIFICATE in text:
                hint = "name its authority with --ca or registries.ca; --insecure-tls HOST or registries.insecureTLS gives up the proof"
                raise TrustError(f"{what}: its certificate is not to be trusted: {_reason(text)}", code="RegistryTls", hint=hint) from None
            if _NO_TLS in text:
                hint = "it speaks no TLS: name it with --plain-http or registries.insecure"
                raise TemporaryError(f"{what} cannot be reached: it answers without TLS", code="NoTls", hint=hint) from None
            code = "NoSuchHost" if "Name or service not known" in text else "RegistryUnreachable"
            raise TemporaryError(f"{what} cannot be reached: {text[:200]}", code=code, hint="is it up?") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError, ValueError, ssl.SSLError) as error:
            raise PermanentError(f"{what}: {type(error).__name__}", code="Registry") from None


def read_bounded(chunks: Iterable[bytes], limit_bytes: int, what: str) -> bytes:
    """All of them together; raises InputError if they are longer."""
    parts, read = [], 0
    for chunk in chunks:
        read += len(chunk)
        if read > limit_bytes:
            raise InputError(f"{what} answers with more than {limit_bytes} bytes", code="TooLarge")
        parts.append(chunk)
    return b"".join(parts)


def parse_retry_after(unverified: str, now: float) -> float:
    """Seconds to wait by `Retry-After` (RFC 9110 §10.2.3: seconds or a date); 0 where it says nothing."""
    text = unverified.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return max(0.0, at - now)


def make_context(ca_files: tuple[Path, ...]) -> ssl.SSLContext:
    """TLS that believes the system's authorities and those in `ca_files`. Raises InputError."""
    try:
        stamps = tuple((str(path), path.stat().st_mtime_ns) for path in ca_files)
    except OSError as error:
        raise InputError(f"the authority {error.filename}: {error.strerror}", code="CaFile") from None
    return _load_context(stamps)


@lru_cache(maxsize=8)
def _load_context(stamps: tuple[tuple[str, int], ...]) -> ssl.SSLContext:
    context = httpx2.create_ssl_context()
    for path, _ in stamps:
        try:
            context.load_verify_locations(cafile=path)
        except (OSError, ssl.SSLError):
            raise InputError(f"{path} holds no certificate in PEM", code="CaFile") from None
    return context


@lru_cache(maxsize=1)
def make_insecure_context() -> ssl.SSLContext:
    """TLS without a proof of who answers: only for hosts that were named for it."""
    return httpx2.create_ssl_context(verify=False)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _path(response: httpx2.Response) -> str:
    return response.request.url.path


def _reason(text: str) -> str:
    """`[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate (_ssl.c:1006)` → the reason."""
    return text.rpartition("failed: ")[2].partition(" (_ssl")[0][:200]
