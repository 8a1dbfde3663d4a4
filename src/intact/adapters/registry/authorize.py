"""Showing a registry who is asking: anonymous, basic (RFC 7617) and token authentication (distribution, spec/auth/token.md and oauth.md).

In: the challenge of a registry, and the credentials found for it. Out: the Authorization header for that registry's origin and for
nobody else's.

1. The first request goes without; the registry says what it wants.
2. `Basic`: the name and password are sent to the registry.
3. `Bearer`: the realm that the registry names is asked for a token, with the name and password, with the identity token, or anonymously.
4. What is refused although it is fresh is not tried again: the next credential is. A token that served before and is refused has expired:
   it is fetched anew.

Shared by all connections to one repository. Never logs, never raises with a secret in the message.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from intact.model.errors import InputError, PermanentError

from .access import Endpoint, RegistryAccess
from .challenge import Challenge
from .credentials import Credential, find_credentials

CLIENT_ID = "intact"
PLAIN_HINT = "name the host with --plain-http or registries.insecure if that is meant"
ANONYMOUS = Credential(origin="")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What to ask a realm for: `form` is posted if there is one, else the `parameters` are in the address. `basic`: its header."""

    realm: str
    parameters: Mapping[str, str]
    form: Mapping[str, str] | None
    basic: str


FetchToken = Callable[[TokenRequest], bytes]
"""Asks a realm; raises PermanentError with the code Unauthorized if it refuses."""


class Authorizer:
    """The state of one repository's authentication."""

    def __init__(self, access: RegistryAccess, endpoint: Endpoint) -> None:
        self._access, self._endpoint = access, endpoint
        self._lock = threading.Lock()
        self._credentials: tuple[Credential, ...] | None = None
        self._position = 0
        self._headers: dict[str, str] = {}

    def header(self, scope: str) -> str:
        """What to send with a request for `scope`; empty before the registry asked."""
        with self._lock:
            return self._headers.get(scope, "")

    def renew(self, scope: str, refused: str, *, is_fresh: bool, challenges: tuple[Challenge, ...], fetch: FetchToken) -> None:
        """Answers a refusal of the header `refused`. `is_fresh`: it was made for this very request. Raises PermanentError where nothing is
        left to try."""
        with self._lock:
            if self._headers.get(scope, "") != refused:
                return  # another connection has renewed it already
            if is_fresh:
                self._advance()  # 4
            while True:
                try:
                    self._headers[scope] = self._make_header(scope, challenges, fetch)
                    return
                except PermanentError as error:
                    if error.code != "Unauthorized":
                        raise
                    self._advance()

    def denied(self) -> PermanentError:
        """Why there is no access, and what to do about it."""
        tried = [credential.origin for credential in self._candidates() if credential.origin]
        if tried:
            hint = f"refused: the credentials of {', '.join(tried)}; log in again"
        else:
            hint = "no credentials for it were found: log in (docker login, podman login), name --auth-file or registries.pullSecrets"
        return PermanentError(
            f"registry {self._endpoint.host} denies access to {self._endpoint.repository}", code="Unauthorized", hint=hint
        )

    def _candidates(self) -> tuple[Credential, ...]:
        if self._credentials is None:
            self._credentials = find_credentials(self._access, self._endpoint.host, self._endpoint.repository) or (ANONYMOUS,)
        return self._credentials

    def _advance(self) -> None:
        self._position += 1
        if self._position >= len(self._candidates()):
            self._position = 0
            self._headers.clear()
            raise self.denied()

    def _make_header(self, scope: str, challenges: tuple[Challenge, ...], fetch: FetchToken) -> str:
        credential = self._candidates()[self._position]
        if credential.access_token:
            return f"Bearer {credential.access_token}"
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):  # 3
                return f"Bearer {read_token(fetch(self._ask(challenge, scope, credential)), self._endpoint.host)}"
        if any(challenge.scheme == "basic" for challenge in challenges) and credential.basic:  # 2
            return credential.basic
        raise self.denied()

    def _ask(self, challenge: Challenge, scope: str, credential: Credential) -> TokenRequest:
        realm = challenge.parameters["realm"]
        parts = urlsplit(realm)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise PermanentError(f"registry {self._endpoint.host} names no address to get a token from", code="Realm")
        if parts.scheme == "http" and parts.netloc not in self._access.plain_http:
            raise InputError(
                f"registry {self._endpoint.host} sends for a token to {parts.netloc} without TLS", code="PlainHttp", hint=PLAIN_HINT
            )
        demanded = challenge.parameters.get("scope") or scope
        if demanded.rpartition(":")[0] == scope.rpartition(":")[0]:
            demanded = scope  # for all that is meant to be done there, not for this request alone
        parameters = {"scope": demanded}
        if service := challenge.parameters.get("service"):
            parameters["service"] = service
        if credential.identity_token:
            form = {**parameters, "grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": credential.identity_token}
            return TokenRequest(realm=realm, parameters={}, form=form, basic="")
        if credential.username:
            parameters["account"] = credential.username
        return TokenRequest(realm=realm, parameters=parameters, form=None, basic=credential.basic)


def read_token(unverified: bytes, host: str) -> str:
    """The token of a realm's answer. Raises PermanentError if there is none that a header can carry."""
    try:
        document: Any = json.loads(unverified)
    except (ValueError, RecursionError):
        document = None
    found = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
    if not isinstance(found, str) or not found.isascii() or not found.isprintable() or " " in found:
        raise PermanentError(f"registry {host}: its token server gives no token", code="Realm")
    return found
