"""A client for reading from registries (distribution-spec 1.1; token authentication as the distribution project documents it).

In: a repository and a reference or digest. Out: a response's verified head, or a blob's bytes as they come. Bounded: redirects, times,
sizes of answers. Plain HTTP only for hosts that were named for it. A token goes only to the host that asked for it; a redirect to another
host gets none. Never writes to a registry, never keeps credentials.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError

MAX_REDIRECTS = 5
MAX_TOKEN_BYTES = 1 << 20
CHUNK_BYTES = 1 << 20
TIMEOUT = httpx2.Timeout(connect=10.0, read=30.0, write=10.0, pool=10.0)
DOCKER_HUB = "registry-1.docker.io"
_PLAIN = "WRONG_VERSION_NUMBER"
"""How OpenSSL calls an answer that is no TLS."""

_CHALLENGE = re.compile(r'([a-zA-Z_]+)="([^"]*)"')
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RegistryClient:
    """One registry host. Not for use by several threads at once."""

    def __init__(self, host: str, *, plain_http: frozenset[str] = frozenset()) -> None:
        """`host` with its port. `plain_http`: hosts, with their ports, to be asked without TLS."""
        self._host = DOCKER_HUB if host == "docker.io" else host
        self._plain_http = plain_http
        self._base = f"{'http' if host in plain_http else 'https'}://{self._host}"
        self._client = httpx2.Client(timeout=TIMEOUT, follow_redirects=False)
        self._authorization = ""

    @contextmanager
    def get(self, path: str, *, accept: str = "*/*", scope: str) -> Iterator[httpx2.Response]:
        """A streamed answer of status 200 to `GET /v2/…`. Raises InputError (not found, refused), TemporaryError (try again)."""
        with self._request(f"{self._base}/v2/{path}", accept, scope) as response:
            self._check(response)
            yield response

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _request(self, url: str, accept: str, scope: str) -> Iterator[httpx2.Response]:
        """Follows redirects, and asks for a token once."""
        asked = False
        for _ in range(MAX_REDIRECTS + 2):
            headers = {"accept": accept, "accept-encoding": "identity"}
            if self._authorization and _origin(url) == _origin(self._base):
                headers["authorization"] = self._authorization
            with self._errors(), self._client.stream("GET", url, headers=headers) as response:
                if response.status_code == 401 and not asked and _origin(url) == _origin(self._base):
                    asked = True
                    challenge = response.headers.get("www-authenticate", "")
                elif response.status_code in _REDIRECTS:
                    url = self._follow(url, response)
                    continue
                else:
                    yield response
                    return
            self._authorize(challenge, scope)
        raise PermanentError(f"registry {self._host}: more than {MAX_REDIRECTS} redirects", code="Redirects")

    def _follow(self, url: str, response: httpx2.Response) -> str:
        target = urljoin(url, response.headers.get("location", ""))
        parts = urlsplit(target)
        if parts.scheme == "http" and parts.netloc not in self._plain_http:
            raise InputError(f"registry {self._host} redirects to {parts.netloc} without TLS", code="PlainHttp", hint=_PLAIN_HINT)
        if parts.scheme not in ("http", "https"):
            raise PermanentError(f"registry {self._host} redirects to a {parts.scheme[:20]!r} address", code="Redirects")
        return target

    def _authorize(self, challenge: str, scope: str) -> None:
        """An anonymous token from the realm that the registry names (distribution, spec/auth/token.md)."""
        kind, _, rest = challenge.partition(" ")
        fields = {name.lower(): value for name, value in _CHALLENGE.findall(rest)}
        realm = fields.get("realm", "")
        if kind.lower() != "bearer" or not realm:
            raise PermanentError(
                f"registry {self._host} wants credentials", code="Unauthorized", hint="only anonymous access is possible here"
            )
        parts = urlsplit(realm)
        if parts.scheme != "https" and parts.netloc not in self._plain_http:
            raise InputError(f"registry {self._host} sends for a token to {parts.netloc} without TLS", code="PlainHttp", hint=_PLAIN_HINT)
        parameters = {"scope": fields.get("scope") or scope, **({"service": fields["service"]} if "service" in fields else {})}
        with self._errors(), self._client.stream("GET", realm, params=parameters) as response:
            self._check(response)
            answer = read_bounded(response, MAX_TOKEN_BYTES, self._host)
        document = _json(answer)
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str):
            raise PermanentError(f"registry {self._host}: {parts.netloc} gives no token", code="Unauthorized")
        self._authorization = f"Bearer {token}"

    def _check(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        what = f"registry {self._host}: {response.request.url.path}: HTTP {status}"
        if status == 404:
            raise InputError(f"{what}: not found", code="BlobUnknown", hint="check host, repository and tag or digest")
        if status in (401, 403):
            raise PermanentError(f"{what}: access denied", code="Unauthorized", hint="only anonymous access is possible here")
        if status == 429 or status >= 500:
            raise TemporaryError(what, code="Registry")
        raise PermanentError(what, code="Registry")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What goes wrong on the way, as our errors."""
        try:
            yield
        except IntactError:
            raise
        except httpx2.TimeoutException as error:
            raise TemporaryError(f"registry {self._host} does not answer in time: {type(error).__name__}", code="RegistryTimeout") from None
        except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            hint = "it speaks no TLS: name it with --plain-http or registries.insecure" if _PLAIN in str(error) else "is it up?"
            raise TemporaryError(f"registry {self._host} cannot be reached: {error}", code="RegistryUnreachable", hint=hint) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError, ValueError) as error:
            raise PermanentError(f"registry {self._host}: {error}", code="Registry") from None


_PLAIN_HINT = "name the host with --plain-http if that is meant"


def read_bounded(response: httpx2.Response, limit_bytes: int, host: str) -> bytes:
    """The whole answer; raises InputError if it is longer."""
    parts, read = [], 0
    for chunk in response.iter_raw(CHUNK_BYTES):
        read += len(chunk)
        if read > limit_bytes:
            raise InputError(f"registry {host} answers with more than {limit_bytes} bytes", code="TooLarge")
        parts.append(chunk)
    return b"".join(parts)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
