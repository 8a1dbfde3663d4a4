"""A PostgreSQL database that several processes share.

In: its URL. Out: connections, and errors that say what to do. The password is in no name, message or log. To a host that is not this
machine nothing is said before its certificate was verified (`sslmode=verify-full`), unless the URL says otherwise.
"""

from __future__ import annotations

import ipaddress
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import ArgumentError, DisconnectionError

from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 20
STATEMENT_TIMEOUT_S = 60
IDLE_S = 2.0
WRITERS = 0x696E74616374
"""The advisory lock of those who write in turn: `intact` in ASCII."""
SYSTEM_CA_FILE = Path("/etc/ssl/certs/ca-certificates.crt")

DENIED = ("password authentication failed", "no pg_hba.conf entry", "no password supplied", "authentication failed", "permission denied")
MISSING = ("does not exist",)
UNTRUSTED = ("certificate verify failed", "does not match host name", "root certificate", "does not support SSL", "certificate authority")
"""What libpq says when a connection fails, for which it has no code."""


class PostgresServer:
    """Implements `backend.Backend`."""

    def __init__(self, url: str) -> None:
        """Raises InputError for what is no URL of a PostgreSQL database; the message does not repeat it."""
        self._url = _complete(_parse(url))
        host = self._url.host or self._url.query.get("host") or "this machine"
        port = self._url.port or self._url.query.get("port") or 5432
        self._name = f"the database {self._url.database} at {host}:{port}"

    @property
    def name(self) -> str:
        return self._name

    @property
    def url(self) -> URL:
        return self._url

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        return (psycopg.Error,)

    def make_engine(self, *, read_only: bool) -> Engine:
        engine = create_engine(
            self._url,
            connect_args=connect_arguments(self._url, read_only=read_only),
            pool_size=8,
            max_overflow=8,
            pool_timeout=CONNECT_TIMEOUT_S,
            pool_recycle=1800,
            hide_parameters=True,
        )
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", _check_idle)
        return engine

    def open_ear(self) -> psycopg.Connection[Any]:
        arguments: dict[str, Any] = PGDialect_psycopg().create_connect_args(self._url)[1]  # type: ignore[no-untyped-call]
        return psycopg.connect(**{**arguments, **connect_arguments(self._url), "autocommit": True})

    @contextmanager
    def writing(self) -> Iterator[None]:
        yield

    def hold_off_writers(self, connection: Connection) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": WRITERS})

    @contextmanager
    def keeping_copy(self, label: str) -> Iterator[None]:
        """The transaction is enough: PostgreSQL rolls back changes of tables too."""
        yield

    def translate(self, error: BaseException) -> IntactError:
        state = str(getattr(error, "sqlstate", None) or "")
        said = _first_line(error)
        match state[:2], state:
            case _, "53100":
                hint = "free space there; nothing was half-written, what was not stored is sent again"
                return TemporaryError(f"the disk of {self._name} is full", code="DiskFull", hint=hint)
            case _, "25006":
                return TemporaryError(f"{self._name} takes no writes now", code="StoreReadOnly", hint="is it a standby?")
            case _, "55P03" | "57014":
                return TemporaryError(f"{self._name} keeps others waiting too long ({said})", code="StoreLocked")
            case _, "40001" | "40P01" | "23505":
                return TemporaryError(f"somebody else wrote the same in {self._name} at the same time", code="StoreConflict")
            case "53" | "57" | "08", _:
                return TemporaryError(f"{self._name} cannot be used now ({said})", code="StoreUnreachable")
            case "28" | "3D" | "3F", _:
                return self._denied(said)
            case _, "42501":
                return self._denied(said)
            case "XX", _:
                return PermanentError(f"{self._name} is damaged ({said})", code="StoreDamaged", hint="restore it from a copy")
            case "22" | "54", _:
                return InputError(f"{self._name} does not take that ({said})", code="StoreRefused")
            case "", _:
                return self._without_code(type(error).__name__, said)
            case _:
                return PermanentError(f"{self._name}: {said}", code="Store")

    def _without_code(self, kind: str, said: str) -> IntactError:
        """What never reached the server, or what the server said before there was a session."""
        if kind in ("DataError", "UnicodeEncodeError"):
            return InputError(f"{self._name} does not take that ({said})", code="StoreRefused")
        if any(words in said for words in DENIED):
            return self._denied(said)
        if any(words in said for words in UNTRUSTED):
            hint = "sslrootcert in its URL names the file of the authority that signed the server's certificate, sslmode what is checked"
            return PermanentError(f"no trusted connection to {self._name} ({said})", code="StoreUntrusted", hint=hint)
        if any(words in said for words in MISSING):
            return PermanentError(f"{self._name} cannot be opened ({said})", code="StoreMissing", hint="make the database and its user")
        hint = "what was not stored is sent again"
        return TemporaryError(f"{self._name} does not answer ({said})", code="StoreUnreachable", hint=hint)

    def _denied(self, said: str) -> IntactError:
        return PermanentError(f"{self._name} does not let us in ({said})", code="StoreDenied", hint="check user, password and rights")


def connect_arguments(url: URL, *, read_only: bool = False) -> dict[str, Any]:
    """What libpq is told beside the URL: a server that is gone is noticed, and nobody holds a lock for ever."""
    settings = {
        "lock_timeout": f"{LOCK_TIMEOUT_S}s",
        "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
        "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT_S}s",
        "default_transaction_read_only": "on" if read_only else "off",
    }
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "intact",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }
    return {name: value for name, value in arguments.items() if name not in url.query}


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in ("postgresql", "postgres", "postgresql+psycopg") or not parsed.database:
        raise InputError("the database is not named by a URL", hint="postgresql://USER:PASSWORD@HOST:5432/DATABASE, or sqlite:///FILE")
    return parsed.set(drivername="postgresql+psycopg")


def _complete(url: URL) -> URL:
    """`url` with the strictest check of the server's certificate, where it goes to another machine and says nothing of that."""
    hosts = url.query.get("host", ()) or (url.host or "")
    every = hosts if isinstance(hosts, tuple) else tuple(hosts.split(","))
    if all(map(_is_local, every)):
        return url
    if "sslmode" not in url.query:
        url = url.update_query_dict({"sslmode": "verify-full"})
    if str(url.query["sslmode"]).startswith("verify-") and "sslrootcert" not in url.query:
        known = ssl.get_default_verify_paths().cafile
        file = Path(known) if known else SYSTEM_CA_FILE
        if file.exists():
            url = url.update_query_dict({"sslrootcert": str(file)})
    return url


def _is_local(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.rpartition(":")[0] if host.count(":") == 1 else host.strip("[]")).is_loopback
    except ValueError:
        return False


def _note_use(connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _check_idle(connection: Any, record: Any, proxy: Any) -> None:
    """A connection that was idle for a while is tried before it is used: its server may have been restarted."""
    if time.monotonic() - record.info.get("used_at", time.monotonic()) < IDLE_S:
        return
    try:
        connection.execute("")
        connection.rollback()
    except psycopg.Error as error:
        raise DisconnectionError from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
