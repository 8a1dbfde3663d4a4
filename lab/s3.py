"""An S3 server of its own: `with ObjectServer() as server: settings = server.make_bucket()`.

In: go.mod and go.sum in gateway/, from which the server (versitygw, on a directory) is built once into the cache. Out: a server on a port
of its own, with a key pair, and TLS if wanted. Never keeps anything: objects, process and directory are gone at the end; what a killed
owner left is removed by the next server that starts.
"""

import contextlib
import hashlib
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.binaries import finished_directory, lock
from lab.golang import describe_go, ensure_go, go_environment
from lab.processes import is_alive, kill_all, kill_by_argument, run, started_at, terminate_as_interrupt, uninterrupted
from lab.progress import step
from lab.settings import REPOSITORY, LabError, cache_dir

SOURCES = REPOSITORY / "lab/gateway"
PREFIX = "intact-s3-"
START_TIMEOUT_S = 60.0
_numbers = itertools.count()


def ensure_gateway() -> Path:
    """The server's program: two minutes to build on two cores, once."""
    go = ensure_go()
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((SOURCES / name).read_bytes())
    digest.update(describe_go(go).encode())
    directory = cache_dir() / f"gateway-{digest.hexdigest()[:16]}"
    program = directory / "versitygw"
    if not program.exists():
        with lock("gateway"):
            if not program.exists():
                _build(go, directory)
    return program


def _build(go: Path, directory: Path) -> None:
    environment = {**go_environment(go), "CGO_ENABLED": "0"}
    with step("S3 server: modules"):
        run(go, "mod", "download", env=environment, cwd=SOURCES)
    with finished_directory(directory) as partial, step("S3 server: build"):
        flags = ["-p", os.environ.get("JOBS", "2"), "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w"]
        run(go, "build", *flags, "-o", f"{partial}/", "tool", env=environment, cwd=SOURCES)


class ObjectServer:
    """`host` is the address that it listens on. `certificate` and `key`: PEM files; with them it speaks TLS only."""

    def __init__(self, *, host: str = "127.0.0.1", certificate: Path | None = None, key: Path | None = None) -> None:
        self.access_key, self.secret_key = "intact", secrets.token_urlsafe(18)
        self.host, self.port = host, _free_port(host)
        self.endpoint = f"{'https' if certificate else 'http'}://{host}:{self.port}"
        self.directory = Path(tempfile.gettempdir(), f"{PREFIX}{os.getpid()}-{next(_numbers)}")
        self.objects = self.directory / "objects"
        self._certificate, self._key = certificate, key
        self._buckets = itertools.count()
        self._server: subprocess.Popen[bytes] | None = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        remove_abandoned()
        self._program = ensure_gateway()
        with self._cleanup as cleanup:
            cleanup.enter_context(terminate_as_interrupt())
            cleanup.callback(self._remove)
            self.objects.mkdir(parents=True)
            (self.directory / "metadata").mkdir()
            (self.directory / "owner").write_text(f"{os.getpid()} {started_at(os.getpid())}")
            self.start()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._cleanup.close()

    @property
    def environment(self) -> dict[str, str]:
        """The credentials, as every S3 client reads them."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def make_bucket(self) -> str:
        """A new empty bucket; its name. Its objects are the files below `objects/NAME`."""
        name = f"bucket{next(self._buckets)}"
        (self.objects / name).mkdir()
        return name

    def start(self) -> None:
        words = [str(self._program), "--quiet", "--port", f"{self.host}:{self.port}"]
        if self._certificate is not None and self._key is not None:
            words += ["--cert", str(self._certificate), "--key", str(self._key)]
        words += ["posix", "--sidecar", str(self.directory / "metadata"), str(self.objects)]
        environment = {**os.environ, "ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.directory, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_listening():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"the S3 server does not start:\n{(self.directory / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """It is gone, its objects stay; `start` brings it back."""
        if self._server is not None:
            kill_all([self._server.pid])
            self._server.wait()
            self._server = None

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def _remove(self) -> None:
        with uninterrupted():
            self.stop()
            shutil.rmtree(self.directory, ignore_errors=not self.directory.exists())


def remove_abandoned() -> None:
    """Ends and removes what servers left whose owner was killed."""
    for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/owner"):
        pid, _, started = owner.read_text().partition(" ")
        if pid.isdigit() and is_alive(int(pid)) and started_at(int(pid)) == started:
            continue
        kill_by_argument(str(owner.parent / "objects"))
        shutil.rmtree(owner.parent, ignore_errors=True)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
