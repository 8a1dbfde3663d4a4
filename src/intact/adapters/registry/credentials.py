"""Credentials for registries out of the files that Docker, Podman and Kubernetes keep them in (containers-auth.json(5), Docker's
config.json, `kubernetes.io/dockerconfigjson`).

In: files, a host and a repository. Out: the credentials whose key names that repository, its prefixes, or the host, the most specific
first. A file's content never reaches a message or a repr.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from intact.model.errors import InputError, PermanentError

from .access import RegistryAccess, canonical_host

MAX_FILE_BYTES = 1 << 20
MAX_CANDIDATES = 5
"""Credentials tried for one repository."""
_HELPER_TIMEOUT_S = 30
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HUB_KEY = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"
"""The user name by which a credential helper says that its secret is an identity token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A name and password, an identity token (to be traded for access tokens), or an access token. `origin` says where it was found."""

    origin: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617), empty where there is no name and password."""
        if not self.username:
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find_auth_files(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Where containers-auth.json(5) says they are: $REGISTRY_AUTH_FILE alone, else the runtime directory's, else Docker's. Those that
    are there."""
    if named := env.get("REGISTRY_AUTH_FILE"):
        return (Path(named),)
    places = []
    if runtime := env.get("XDG_RUNTIME_DIR"):
        places.append(Path(runtime) / "containers/auth.json")
    places.append(Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json")
    places.append(Path(env.get("DOCKER_CONFIG") or home / ".docker") / "config.json")
    return tuple(place for place in places if place.is_file())


def find_credentials(access: RegistryAccess, host: str, repository: str) -> tuple[Credential, ...]:
    """What to try for a repository, the most specific first; empty: anonymous. Raises InputError (a file that is none), PermanentError
    (a credential helper that fails)."""
    files = [*access.auth_files]
    if access.auth_directory is not None and access.auth_directory.is_dir():
        files += sorted(path for path in access.auth_directory.iterdir() if path.suffix == ".json")
    documents = [(path, _read(path)) for path in files]
    ranked = []
    for path, document in documents:
        for key, entry in _entries(document).items():
            rank = _match(key, host, repository)
            if rank is not None:
                ranked.append((rank, parse_entry(entry, f"{path} ({key[:200]})")))
    ranked.sort(key=lambda pair: pair[0], reverse=True)
    found = [credential for _, credential in ranked if credential is not None]
    if not found and access.use_credential_helpers:
        found = [credential for path, document in documents for credential in _ask_helpers(document, path, host)]
    return tuple(found[:MAX_CANDIDATES])


def parse_entry(entry: object, origin: str) -> Credential | None:
    """One value of `auths`; None where it holds nothing (a credential helper has it). Raises InputError."""
    if not isinstance(entry, dict) or not all(isinstance(value, str) for key, value in entry.items() if key in _FIELDS):
        raise InputError(f"{origin}: not a credential", code="AuthFile")
    username, password = entry.get("username", ""), entry.get("password", "")
    if encoded := entry.get("auth", ""):
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, ValueError):
            raise InputError(f"{origin}: `auth` is not base64 of NAME:PASSWORD", code="AuthFile", hint="log in again") from None
        username, _, password = text.rstrip("\0").partition(":")
    credential = Credential(
        origin=origin,
        username=username,
        password=password,
        identity_token=entry.get("identitytoken", ""),
        access_token=entry.get("registrytoken", ""),
    )
    if any(ord(character) < 32 for character in username + password + credential.identity_token + credential.access_token):
        raise InputError(f"{origin}: a credential with control characters", code="AuthFile", hint="log in again")
    return credential if credential.username or credential.identity_token or credential.access_token else None


_FIELDS = ("auth", "username", "password", "identitytoken", "registrytoken")


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", code="AuthFile") from None
    try:
        document = json.loads(data) if len(data) <= MAX_FILE_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InputError(f"{path} is not a file of registry credentials", code="AuthFile", hint="it is JSON with `auths`")
    return document


def _entries(document: Mapping[str, Any]) -> dict[str, Any]:
    auths = document.get("auths", {})
    return auths if isinstance(auths, dict) else {}


def _match(key: str, host: str, repository: str) -> tuple[int, int] | None:
    """How specifically `key` (`HOST[/PATH]`, a URL of old, a glob in the host as Kubernetes has it) names the repository; None: not at
    all."""
    key = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    name, _, path = key.partition("/")
    if path in ("v1", "v2"):
        path = ""
    wanted = canonical_host(host)
    if canonical_host(name) != wanted and not _fits_glob(name, wanted):
        return None
    parts, have = [part for part in path.split("/") if part], repository.split("/")
    return (len(parts), "*" not in name and "?" not in name) if have[: len(parts)] == parts else None


def _fits_glob(pattern: str, host: str) -> bool:
    """`*` stands for one label or a part of one, never for a dot (Kubernetes, images.md, config.json)."""
    have, want = pattern.split("."), host.split(".")
    return len(have) == len(want) and all(fnmatchcase(b, a.replace("[", "[[]")) for a, b in zip(have, want, strict=True))


def _ask_helpers(document: Mapping[str, Any], path: Path, host: str) -> Iterator[Credential]:
    """The program that Docker's and Podman's files name for a host (docker-credential-helpers, README.md)."""
    helpers = document.get("credHelpers")
    name = helpers.get(canonical_host(host)) if isinstance(helpers, dict) else None
    name = name or document.get("credsStore")
    if not isinstance(name, str) or not _HELPER_NAME.fullmatch(name):
        return
    program = f"docker-credential-{name}"
    server = _HUB_KEY if canonical_host(host) == "docker.io" else host
    try:
        answer = subprocess.run([program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_TIMEOUT_S)
        if answer.returncode:
            return  # it has none for this host: anonymous
        found = json.loads(answer.stdout[:MAX_FILE_BYTES])
        user, secret = found["Username"], found["Secret"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        raise PermanentError(f"{path} names the credential helper {program}, which fails", code="CredentialHelper") from None
    if isinstance(user, str) and isinstance(secret, str) and secret:
        if user == _TOKEN_USER:
            yield Credential(origin=program, identity_token=secret)
        else:
            yield Credential(origin=program, username=user, password=secret)
