"""The API served for tests: real TLS by the controller's own CA, real sockets on loopback, a real client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intact.adapters.keys.tls import CA_CERTIFICATES, CHAIN, KEY, DirectoryStore, ensure_serving
from intact.adapters.seam.https import Endpoint, HttpsCluster
from intact.adapters.seam.ports import UNAUTHENTICATED, Cluster
from intact.model.errors import TrustError
from intact.model.seam import AgentIdentity
from intact.run.web.app import make_app
from intact.run.web.people import Access
from intact.run.web.server import ApiServer
from tests.unit.seam_contract import FileCluster

SERVER_NAME = "intact-controller.intact.svc"
PEOPLE = {"reader": "", "shop-reader": "shop"}
"""Tokens of people, and the namespace they may read (empty: all)."""


class Tokens:
    """Reviews tokens `agent:NODE`; a node whose token was revoked is unknown."""

    def __init__(self) -> None:
        self.reviewed: list[str] = []
        self.revoked: set[str] = set()

    def identify(self, token: str) -> AgentIdentity:
        self.reviewed.append(token)
        kind, _, node = token.partition(":")
        if kind != "agent" or not node or node in self.revoked:
            raise TrustError("the token is not an agent's")
        return AgentIdentity(node=node, pod_uid=f"agent-on-{node}", service_account="system:serviceaccount:intact:intact-agent")


def authorize(token: str, access: Access) -> str:
    if token not in PEOPLE:
        raise TrustError("the token is unknown", code=UNAUTHENTICATED)
    if PEOPLE[token] and PEOPLE[token] != access.namespace:
        raise TrustError(f"{token} may not {access.verb} {access.resource} here", code="Forbidden")
    return token


class Served:
    """A controller's API on loopback, with its certificates and its store in `directory`."""

    def __init__(self, directory: Path, *, port: int = 0) -> None:
        self.directory = directory
        self.certificates = DirectoryStore(directory / "tls")
        self.cluster = FileCluster(directory / "reports")
        self.tokens = Tokens()
        self.port = port
        self._server: ApiServer | None = None
        ensure_serving(self.certificates, (SERVER_NAME,), time.time())
        self.start()

    @property
    def server(self) -> ApiServer:
        assert self._server is not None
        return self._server

    def start(self) -> None:
        app = make_app(self.cluster, self.cluster, identify=self.tokens.identify, authorize=authorize)
        files = self.certificates.current
        self._server = ApiServer(app, host="127.0.0.1", port=self.port, certificate=files / CHAIN, key=files / KEY)
        self._server.start()
        self.port = self._server.port

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def restarted(self) -> None:
        self.stop()
        self.cluster = FileCluster(self.directory / "reports")
        self.start()

    @contextmanager
    def gone(self) -> Iterator[None]:
        self.stop()
        yield
        self.start()

    def endpoint(self, node: str, *, server_name: str = SERVER_NAME) -> Endpoint:
        token_file = self.directory / f"token-{node}"
        token_file.write_text(f"agent:{node}\n")
        return Endpoint(
            url=f"https://127.0.0.1:{self.port}",
            server_name=server_name,
            ca_file=self.certificates.current / CA_CERTIFICATES,
            token_file=token_file,
        )

    def seam(self, node: str) -> Cluster:
        return HttpsCluster(self.endpoint(node), node, time.time)
