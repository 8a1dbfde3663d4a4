"""Real registries on this machine, for tests and benchmarks: Debian's docker-registry (distribution 2.8, without a referrers API), open or
behind basic authentication, tokens or TLS; and a small one with the referrers API, built from go-containerregistry.

In: a directory to keep things in. Out: a registry that answers at `host`, and is gone when its block ends.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.binaries import finished_directory, lock
from lab.golang import describe_go, ensure_go, go_environment
from lab.processes import run
from lab.progress import step
from lab.settings import REPOSITORY, LabError, cache_dir

SOURCES = REPOSITORY / "lab/referrers"
START_S = 60


def free_address() -> str:
    """`127.0.0.1:PORT` where nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class _Process:
    """A registry in a process of its own."""

    def __init__(self, directory: Path, command: list[str], host: str, ca: Path | None = None) -> None:
        self.directory, self.host, self.ca = directory, host, ca
        self.log = directory / "log"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                raise LabError(f"{self._command[0]} does not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _answers(self) -> bool:
        if self.ca is None:
            connection = http.client.HTTPConnection(self.host, timeout=2)
        else:
            connection = http.client.HTTPSConnection(self.host, timeout=2, context=ssl.create_default_context(cafile=str(self.ca)))
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in (200, 401)
        except OSError:
            return False
        finally:
            connection.close()


class Registry(_Process):
    """Debian's docker-registry. `users`: name → password, for basic authentication. `realm`: where tokens are to be had, of `service`,
    signed by `issuer`, whose certificate is in `token_certificate`. `certificate`: (chain, key, authority) for TLS."""

    def __init__(
        self,
        directory: Path,
        *,
        users: dict[str, str] | None = None,
        realm: str = "",
        service: str = "lab-registry",
        issuer: str = "lab-issuer",
        token_certificate: Path | None = None,
        certificate: tuple[Path, Path, Path] | None = None,
        proxy_of: str = "",
    ) -> None:
        if shutil.which("docker-registry") is None:
            raise LabError("no docker-registry: `make tools` installs it")
        directory.mkdir(parents=True, exist_ok=True)
        host = free_address()
        configuration: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
            "http": {"addr": host, "secret": "lab"},
        }
        if certificate is not None:
            configuration["http"] = {"addr": host, "secret": "lab", "tls": {"certificate": str(certificate[0]), "key": str(certificate[1])}}
        if users is not None:
            passwords = directory / "htpasswd"
            passwords.write_text("".join(_hash_password(name, password) for name, password in users.items()))
            configuration["auth"] = {"htpasswd": {"realm": "lab", "path": str(passwords)}}
        if realm:
            configuration["auth"] = {
                "token": {"realm": realm, "service": service, "issuer": issuer, "rootcertbundle": str(token_certificate)}
            }
        if proxy_of:
            configuration["proxy"] = {"remoteurl": proxy_of}
        file = directory / "config.yml"
        file.write_text(json.dumps(configuration))
        super().__init__(directory, ["docker-registry", "serve", str(file)], host, certificate[2] if certificate else None)

    def blob(self, digest: str) -> Path:
        """Where the registry keeps a blob, to be tampered with."""
        value = digest.removeprefix("sha256:")
        return self.directory / "data/docker/registry/v2/blobs/sha256" / value[:2] / value / "data"


class ReferrersRegistry(_Process):
    """The registry with the referrers API; it keeps everything in memory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        host = free_address()
        super().__init__(directory, [str(ensure_referrers_registry()), host], host)


def ensure_referrers_registry() -> Path:
    """Its program, built at the first time (a minute at most)."""
    go = ensure_go()
    key = hashlib.sha256(describe_go(go).encode())
    for name in ("go.mod", "go.sum", "main.go"):
        key.update((SOURCES / name).read_bytes())
    target = cache_dir() / f"referrers-{key.hexdigest()[:16]}"
    if not target.exists():
        with lock("referrers"):
            if not target.exists():
                with finished_directory(target) as partial, step("registry with the referrers API: build"):
                    command = (
                        go,
                        "build",
                        "-mod=readonly",
                        "-buildvcs=false",
                        "-trimpath",
                        "-ldflags=-s -w",
                        "-o",
                        partial / "registry",
                        ".",
                    )
                    run(*command, env={**go_environment(go), "CGO_ENABLED": "0"}, cwd=SOURCES)
    return target / "registry"


def _hash_password(name: str, password: str) -> str:
    """A line of an htpasswd file: bcrypt, as docker-registry demands, by crypt(3) through perl, which every Debian has."""
    script = "print crypt($ARGV[0], $ARGV[1])"
    return f"{name}:{run('perl', '-e', script, password, '$2b$05$' + 'a' * 22).stdout}\n"
