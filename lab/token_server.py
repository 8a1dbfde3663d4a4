"""A token server for docker-registry's token authentication (distribution, spec/auth/token.md, oauth.md, jwt.md), on this machine.

In: users and identity tokens that it knows. Out: signed access tokens, which last as long as it was told; and what it was asked.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from lab.pki import issue_server_certificate


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request for a token: by `anonymous`, `basic`, `refresh_token`."""

    how: str
    user: str
    scope: str


@dataclass(slots=True, kw_only=True)
class TokenServer:
    """`anonymous`: what may be done without a name: for example `pull`; empty: nothing."""

    directory: Path
    issuer: str = "lab-issuer"
    users: dict[str, str] = field(default_factory=dict)
    identity_tokens: set[str] = field(default_factory=set)
    anonymous: str = ""
    lifetime_s: int = 300
    asked: list[Asked] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._get(self)

            def do_POST(self) -> None:
                outer._post(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.certificate, self.key, _ = issue_server_certificate(self.directory, "127.0.0.1")
        return self

    certificate: Path = Path()
    key: Path = Path()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def host(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def realm(self) -> str:
        return f"http://{self.host}/token"

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(handler.path).query).items()}
        authorization = handler.headers.get("authorization", "")
        if not authorization:
            self.asked.append(Asked(how="anonymous", user="", scope=query.get("scope", "")))
            self._grant(handler, query, self.anonymous, "token")
            return
        name, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        self.asked.append(Asked(how="basic", user=name, scope=query.get("scope", "")))
        if self.users.get(name) != password:
            _answer(handler, 401, {})
            return
        self._grant(handler, query, "pull,push", "token")

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", "0"))).decode()
        form = {key: values[0] for key, values in parse_qs(body).items()}
        self.asked.append(Asked(how=form.get("grant_type", ""), user="", scope=form.get("scope", "")))
        if form.get("grant_type") != "refresh_token" or form.get("refresh_token") not in self.identity_tokens:
            _answer(handler, 401, {})
            return
        self._grant(handler, form, "pull,push", "access_token")

    def _grant(self, handler: BaseHTTPRequestHandler, wish: dict[str, str], allowed: str, field_name: str) -> None:
        access = []
        for scope in wish.get("scope", "").split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            granted = [action for action in actions.split(",") if action in allowed.split(",")]
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": "lab", "aud": wish.get("service", ""), "jti": secrets.token_hex(8),
            "iat": now, "nbf": now - 10, "exp": now + self.lifetime_s, "access": access,
        }  # fmt: skip
        _answer(handler, 200, {field_name: self._sign(claims), "expires_in": self.lifetime_s})

    def _sign(self, claims: dict[str, Any]) -> str:
        key = load_pem_private_key(self.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        chain = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
        signed = f"{_encode({'typ': 'JWT', 'alg': 'ES256', 'x5c': chain})}.{_encode(claims)}"
        r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encode64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _answer(handler: BaseHTTPRequestHandler, status: int, document: object) -> None:
    data = json.dumps(document).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def _encode(document: object) -> str:
    return _encode64(json.dumps(document).encode())


def _encode64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
