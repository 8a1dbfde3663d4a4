"""An S3 bucket, or a directory that stands for one: whole objects by name, written once.

In: a place (`s3://BUCKET[/PREFIX]` or `file:///DIRECTORY`) and how to reach it. Out: objects, streamed, never longer than was asked for.
Every request has deadlines and a bounded number of retries; few run at a time, and none holds a large object in memory. Credentials come
from the environment as every S3 client reads them (`AWS_ACCESS_KEY_ID`, web identity, container and instance roles). What is read is
nobody's word: `baseline.store` verifies it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, S3Store

from intact.model.entry import display_path
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError

from .object_settings import ObjectSettings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

CHUNK_BYTES = 1 << 20
"""How much of an object is in memory at a time while it is read."""
PART_BYTES = 8 << 20
"""Larger objects are sent in parts of this size (S3 takes 10,000 of them: 80 GB)."""
PARTS_AT_A_TIME = 2
REQUESTS_AT_A_TIME = 4
LIST_CHUNK = 1000
CONNECT_TIMEOUT = timedelta(seconds=5)
READ_TIMEOUT = timedelta(seconds=20)
"""So long may nothing come."""
REQUEST_TIMEOUT = timedelta(minutes=5)
RETRIES = 3
RETRY_TIMEOUT = timedelta(seconds=60)
DEFAULT_REGION = "us-east-1"
_REFUSED = re.compile(r"status code: (?!408|429)4\d\d\b")
_ANSWER = re.compile(r"<Code>([^<]{1,100})</Code>\s*<Message>([^<]{0,400})</Message>")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """`tag` changes whenever the object does (RFC 9110 §8.8.3); `modified_at` is by the server's clock."""

    name: str
    size_bytes: int
    tag: str
    modified_at: float


class Bucket:
    """Safe to share between threads."""

    def __init__(self, settings: ObjectSettings) -> None:
        """Raises InputError if the settings make no sense; the server is not asked yet."""
        self._url = settings.url
        self._store = _open(settings)
        self._slots = threading.BoundedSemaphore(REQUESTS_AT_A_TIME)

    @property
    def url(self) -> str:
        return self._url

    def put(self, name: str, data: memoryview) -> str:
        """Creates the object and returns its tag; all of it or nothing is there afterwards. Raises TemporaryError, PermanentError; also if
        an object of that name is there already, where it is small enough for one request (RFC 9110 §13.1.2, `If-None-Match: *`)."""
        with self._slots, self._explained(name):
            if len(data) <= PART_BYTES:
                result = obstore.put(self._store, name, data, mode="create", use_multipart=False)
            else:
                parts = (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
                result = obstore.put(self._store, name, parts, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_A_TIME)
        return result["e_tag"] or ""

    def head(self, name: str) -> StoredObject | None:
        """None if there is no such object."""
        with self._slots, self._explained(name):
            try:
                meta = obstore.head(self._store, name)
            except FileNotFoundError:
                return None
            return StoredObject(name=name, size_bytes=meta["size"], tag=meta["e_tag"] or "", modified_at=meta["last_modified"].timestamp())

    @contextmanager
    def open(self, name: str, size_bytes: int) -> Iterator[Iterator[bytes] | None]:
        """The object in pieces, at most `size_bytes` of it and one piece more; None if there is no such object. While it is open it takes
        up one of the few requests at a time."""
        with self._slots:
            with self._explained(name):
                try:
                    stream = iter(obstore.get(self._store, name).stream(CHUNK_BYTES))
                except FileNotFoundError:
                    stream = None
            yield None if stream is None else self._bounded(name, stream, size_bytes)

    def _bounded(self, name: str, stream: Iterator[bytes], size_bytes: int) -> Iterator[bytes]:
        got = 0
        while got <= size_bytes:
            with self._explained(name):
                piece = next(stream, b"")
            if not piece:
                return
            got += len(piece)
            yield piece

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose name begins with the directory `prefix`."""
        with self._explained(prefix):
            for chunk in obstore.list(self._store, prefix, chunk_size=LIST_CHUNK):
                for meta in chunk:
                    yield StoredObject(
                        name=meta["path"],
                        size_bytes=meta["size"],
                        tag=meta["e_tag"] or "",
                        modified_at=meta["last_modified"].timestamp(),
                    )

    def delete(self, names: Sequence[str]) -> None:
        """Objects that are gone already are fine."""
        for name in names:
            with self._slots, self._explained(name), suppress(FileNotFoundError):
                obstore.delete(self._store, name)

    def check(self) -> None:
        """Asks for the first names. Raises as the rest would: no such bucket, no rights, no server."""
        with self._explained(""):
            next(iter(obstore.list(self._store, "tables", chunk_size=1)), None)

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        where = f"{self._url.rstrip('/')}/{name}" if name else self._url
        try:
            yield
        except (BaseError, FileNotFoundError, NotADirectoryError, OSError, ValueError) as error:
            raise _translate(error, where) from None


def _open(settings: ObjectSettings) -> S3Store | LocalStore:
    parts = urlsplit(settings.url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return LocalStore(unquote(parts.path), mkdir=True)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment or parts.username:
        raise InputError(f"not a place for objects: {settings.url!r}", code="ObjectsUrl", hint="s3://BUCKET[/PREFIX] or file:///DIRECTORY")
    endpoint = urlsplit(settings.endpoint)
    if settings.endpoint and (endpoint.scheme not in ("http", "https") or not endpoint.netloc or endpoint.username):
        raise InputError(f"not an endpoint: {settings.endpoint!r}", code="ObjectsUrl", hint="https://HOST[:PORT]")
    if endpoint.scheme == "http" and not settings.plain_http:
        hint = "use https, or allow plain HTTP explicitly: whoever is on the way can then read and delete what is stored"
        raise InputError(f"the endpoint {settings.endpoint} has no TLS", code="ObjectsPlainHttp", hint=hint)
    client: ClientConfig = {
        "allow_http": endpoint.scheme == "http",
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": READ_TIMEOUT,
        "timeout": REQUEST_TIMEOUT,
    }
    if settings.ca_file is not None:
        try:
            client["root_certificate"] = settings.ca_file.read_bytes()
        except OSError as error:
            raise InputError(f"{settings.ca_file}: {error.strerror}", code="ObjectsCa") from None
    retry: RetryConfig = {"max_retries": RETRIES, "retry_timeout": RETRY_TIMEOUT}
    try:
        return S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            region=settings.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION,
            virtual_hosted_style_request=settings.virtual_hosted,
            client_options=client,
            retry_config=retry,
            config={"endpoint": settings.endpoint} if settings.endpoint else {},
        )
    except (BaseError, ValueError) as error:
        raise InputError(f"cannot use {settings.url}: {_first_line(error)}", code="ObjectsUrl") from None


def _translate(error: Exception, where: str) -> IntactError:
    said = _first_line(error)
    if isinstance(error, FileNotFoundError):
        return PermanentError(f"{where}: there is no such bucket", code="ObjectsMissing", hint="create the bucket, or mend its name")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        hint = "check the credentials, and that they may get, put, list and delete objects there"
        return PermanentError(f"{where}: refused: {said}", code="ObjectsDenied", hint=hint)
    if isinstance(error, AlreadyExistsError):
        return TemporaryError(f"{where} is there already", code="ObjectExists")
    if "No space left" in str(error):
        return TemporaryError(f"{where}: the disk is full", code="DiskFull", hint="make room and try again")
    if _REFUSED.search(str(error)):
        return PermanentError(f"{where}: {said}", code="ObjectsRefused", hint="check bucket, endpoint, region and credentials")
    return TemporaryError(f"{where}: {said}", code="Objects", hint="is the object store up, and its address right? It is tried again")


def _first_line(error: Exception) -> str:
    """What the server says is wrong (S3 error responses: Code, Message), else the first line of the error."""
    text = str(error).strip() or type(error).__name__
    answer = _ANSWER.search(text)
    said = f"{answer[1]}: {answer[2]}" if answer else text.splitlines()[0]
    return display_path(said.encode("utf-8", "backslashreplace"), 300)
