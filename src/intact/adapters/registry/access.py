"""How registries may be reached: everything people choose about them, in one record.

In: what the command line or the controller's configuration says. Out: where to ask for a repository, in which order, and whether without
TLS or without proof of it. Never opens a connection; never holds a credential, only the files in which they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from intact.model.errors import InputError

DOCKER_HUB = "docker.io"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
MAX_CONCURRENCY = 16
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_PATH = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often a registry is asked before it counts as out of reach. Times in seconds."""

    connect_s: float = 10.0
    read_s: float = 30.0
    """Without a single byte."""
    head_s: float = 90.0
    """From a request until its answer's headers are complete, however slowly they come."""
    attempts: int = 4
    first_pause_s: float = 0.5
    """Doubles with each further attempt."""
    longest_pause_s: float = 30.0
    """Also of what `Retry-After` may ask for; a registry that wants more is left alone."""
    least_bytes_s: int = 2048
    """A body slower than this, once `grace_s` have passed, is given up."""
    grace_s: float = 60.0
    whole_s: float = math.inf
    """For everything together that is read of one repository at one endpoint, whoever waits for whom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one repository is served: `host` with its port, `repository` as it is called there."""

    host: str
    repository: str
    is_mirror: bool = False

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """Everything people choose about reaching registries.

    `plain_http`: hosts asked without TLS. `insecure_tls`: hosts whose certificate is not verified. `ca_files`: authorities trusted beside
    the system's. `mirrors`: host → `HOST[/PREFIX]` asked before it, in order. `auth_files`, and the `*.json` files of `auth_directory`:
    credentials as containers-auth.json(5) has them, read when they are needed. `concurrency`: layers read at once.
    """

    plain_http: frozenset[str] = frozenset()
    insecure_tls: frozenset[str] = frozenset()
    ca_files: tuple[Path, ...] = ()
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    auth_files: tuple[Path, ...] = ()
    auth_directory: Path | None = None
    use_credential_helpers: bool = False
    concurrency: int = 3
    patience: Patience = Patience()

    def endpoints(self, host: str, repository: str) -> tuple[Endpoint, ...]:
        """Where to read `repository` of `host`: its mirrors in order, then the host itself."""
        found = []
        for mirror in self.mirrors.get(canonical_host(host), ()):
            name, _, prefix = mirror.partition("/")
            found.append(Endpoint(host=name, repository=f"{prefix}/{repository}" if prefix else repository, is_mirror=True))
        return (*found, Endpoint(host=host, repository=repository))

    def within(self, seconds: float) -> Self:
        """The same, for an image or artifact that may hold its reader no longer."""
        return replace(self, patience=replace(self.patience, whole_s=min(seconds, self.patience.whole_s)))

    def scheme(self, host: str) -> str:
        return "http" if host in self.plain_http else "https"


def canonical_host(host: str) -> str:
    """Docker Hub has several names; everything else is called what it is called."""
    return DOCKER_HUB if host in _HUB_NAMES else host


def check_host(text: str) -> str:
    """`HOST[:PORT]`; raises InputError on anything else (a scheme, a path)."""
    if not _HOST.fullmatch(text):
        raise InputError(f"{text[:200]!r} is not a registry's HOST[:PORT]", code="RegistryHost", hint="without https:// and without a path")
    return text


def is_repository(text: str) -> bool:
    """Whether it is a repository's name (distribution-spec, spec.md#pulling-manifests): nothing in it changes the path of a request."""
    return len(text) <= 255 and _PATH.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def collect_mirrors(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """(`HOST`, `MIRROR[/PREFIX]`) pairs → mirrors by host, in the order given. Raises InputError."""
    found: dict[str, tuple[str, ...]] = {}
    for host, mirror in pairs:
        name, slash, prefix = mirror.partition("/")
        check_host(name)
        if slash and not is_repository(prefix):
            raise InputError(f"{mirror[:200]!r} is not a mirror's HOST[:PORT][/PREFIX]", code="RegistryHost")
        key = canonical_host(check_host(host))
        found[key] = (*found.get(key, ()), mirror)
    return found
