"""A PostgreSQL of its own: `with Postgres() as server: url = server.make_database()`.

In: the programs of Debian's `postgresql`. Out: a server that listens on a socket of its own directory and on one address, with a password
and, if wanted, TLS. Never touches the machine's own clusters, and leaves nothing behind: no process, socket or file; what a killed owner
left is removed by the next server that starts.

It keeps nothing through a power failure (fsync is off) unless asked to. As root it runs as the user `postgres`, or `nobody` without one.
"""

import contextlib
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from lab.processes import is_alive, kill_all, run, started_at, terminate_as_interrupt, uninterrupted
from lab.settings import LabError

PREFIX = "intact-postgres-"
USER = "intact"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
_numbers = itertools.count()


class Postgres:
    """`host` is the address that it listens on besides its socket; `certificate` and `key` (PEM) make it speak TLS there. `is_durable`: it
    writes to the disk as one in use does, for measurements."""

    def __init__(self, *, host: str = "127.0.0.1", certificate: bytes = b"", key: bytes = b"", is_durable: bool = False) -> None:
        self.host, self._certificate, self._key = host, certificate, key
        self._fsync = "on" if is_durable else "off"
        self.port = _free_port(host)
        self.password = secrets.token_urlsafe(18)
        self.directory = Path(tempfile.gettempdir(), f"{PREFIX}{os.getpid()}-{next(_numbers)}")
        self._databases = itertools.count()
        self._server: subprocess.Popen[bytes] | None = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        remove_abandoned()
        with self._cleanup as cleanup:
            cleanup.enter_context(terminate_as_interrupt())
            cleanup.callback(self._remove)
            self._make()
            self.start()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._cleanup.close()

    def make_database(self) -> str:
        """A new empty database; its URL, through the socket and without a password."""
        name = f"test{next(self._databases)}"
        self.query(f"create database {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}@/{database}?host={quote(str(self.directory), safe='/')}&port={self.port}"

    def network_url(self, database: str, *, user: str = USER, password: str | None = None) -> str:
        """Through the network, with the password."""
        return f"postgresql+psycopg://{user}:{self.password if password is None else password}@{self.host}:{self.port}/{database}"

    def query(self, sql: str, database: str = "postgres") -> list[str]:
        """What psql prints, a line a row."""
        words = ("-qAtX", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql)
        return run(_program("psql"), *self._connection(), *words).stdout.splitlines()

    def dump_schema(self, database: str) -> str:
        return run(_program("pg_dump"), *self._connection(), "--schema-only", "--no-owner", database).stdout

    def _connection(self) -> tuple[str, ...]:
        return ("-h", str(self.directory), "-p", str(self.port), "-U", USER)

    def start(self) -> None:
        settings = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": self.directory,
            "fsync": self._fsync,
            "full_page_writes": self._fsync,
            "shared_buffers": "32MB",
            "max_connections": 100,
            "ssl": "on" if self._certificate else "off",
            "timezone": "UTC",
        }
        words = [f"--{name}={value}" for name, value in settings.items()]
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [_program("postgres"), "-D", self.directory / "data", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=_account(),
                cwd="/",
            )
        (self.directory / "server").write_text(f"{self._server.pid} {started_at(self._server.pid)}")
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"PostgreSQL does not start:\n{self.log()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """As an administrator does it: sessions are ended, their transactions rolled back. `start` brings it back."""
        assert self._server is not None
        self._server.send_signal(signal.SIGINT)
        self._server.wait(STOP_TIMEOUT_S)

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def _make(self) -> None:
        self.directory.mkdir(mode=0o755)
        (self.directory / "owner").write_text(f"{os.getpid()} {started_at(os.getpid())}")
        account = _account()
        word = self.directory / "password"
        word.write_text(self.password)
        for name, content in (("tls.crt", self._certificate), ("tls.key", self._key)):
            (self.directory / name).write_bytes(content)
            (self.directory / name).chmod(0o600)
        if account is not None:
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, account, -1)
        data = self.directory / "data"
        arguments: list[str | Path] = ["--username", USER, "--pwfile", word, "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]
        arguments += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        run(_program("initdb"), "-D", data, *arguments, user=account, cwd="/")
        word.unlink()
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 scram-sha-256\nhost all all ::/0 scram-sha-256\n")
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(f"ssl_cert_file = '{self.directory}/tls.crt'\nssl_key_file = '{self.directory}/tls.key'\n")

    def _is_ready(self) -> bool:
        words = [str(_program("pg_isready")), "-q", "-h", str(self.directory), "-p", str(self.port)]
        return subprocess.run(words, stdin=subprocess.DEVNULL).returncode == 0

    def _remove(self) -> None:
        with uninterrupted():
            if self._server is not None and self._server.poll() is None:
                self._server.send_signal(signal.SIGQUIT)  # at once: nothing of it is needed any more
                try:
                    self._server.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    kill_all([self._server.pid])
                    self._server.wait()
            shutil.rmtree(self.directory, ignore_errors=not self.directory.exists())


def remove_abandoned() -> None:
    """Ends and removes what servers left whose owner was killed."""
    for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/owner"):
        if _is_running(owner):
            continue
        server = owner.with_name("server")
        if server.exists() and _is_running(server):
            pid = int(server.read_text().partition(" ")[0])
            os.kill(pid, signal.SIGQUIT)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while is_alive(pid) and time.monotonic() < deadline:
                time.sleep(0.05)
        shutil.rmtree(owner.parent)


def _is_running(file: Path) -> bool:
    pid, _, started = file.read_text().partition(" ")
    return pid.isdigit() and is_alive(int(pid)) and started_at(int(pid)) == started


def _program(name: str) -> Path:
    """Debian keeps the server's programs out of the PATH, one directory for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1]
    if path := shutil.which(name):
        return Path(path)
    raise LabError(f"there is no {name}: `make tools` installs PostgreSQL")


def _account() -> int | None:
    """The server refuses to run as root."""
    if os.geteuid():
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise LabError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
