"""A copy of all objects of one kind that follows the API server.

In: a `Source` of lists and watches. Out: calls of a `Store`: everything at once, then each change in order. It survives broken
connections and restarts of the API server; what changed while it could not watch is in the next list or watch. Never calls back from two
threads at once.

1. List, page by page, and hand everything over. 2. Watch from there, with bookmarks, for a few minutes at a time. 3. A watch that ends or
breaks is opened again from the last resource version seen, with growing pauses while it fails. 4. When that version is too old (410),
from 1.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from intact.model.errors import IntactError, TemporaryError

from .api import Api, Expired, WatchStream, sort_error
from .kinds import Kind

log = structlog.get_logger()

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

WATCH_S = 300
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0


class Store(Protocol[T_contra]):
    """Where the copy is kept. Called from the reflector's thread."""

    def replace_all(self, objects: Iterable[T_contra]) -> None:
        """These are all objects there are."""

    def upsert(self, one: T_contra) -> None: ...

    def remove(self, one: T_contra) -> None: ...


class Stream(Protocol):
    def __iter__(self) -> Iterator[str]: ...

    def stop(self) -> None: ...


class Source(Protocol[T_co]):
    """Lists and watches of one kind. Raises TemporaryError, of which `Expired` means: list again."""

    def list_all(self) -> tuple[str, Sequence[T_co]]: ...

    def watch(self, resource_version: str, timeout_s: int) -> AbstractContextManager[Stream]: ...

    def decode(self, raw: bytes) -> T_co: ...

    @property
    def name(self) -> str: ...


class ApiSource(Generic[T]):
    """The objects of `kind` in all namespaces, decoded as `shape`."""

    def __init__(self, api: Api, kind: Kind, shape: type[T]) -> None:
        self._api, self._kind = api, kind
        self._decoder = msgspec.json.Decoder(shape)
        self._shape = shape

    @property
    def name(self) -> str:
        return self._kind.resource

    def list_all(self) -> tuple[str, list[T]]:
        pages = list(self._api.pages(self._kind, self._shape))
        return pages[-1][0], [one for _, page in pages for one in page]

    def watch(self, resource_version: str, timeout_s: int) -> AbstractContextManager[WatchStream]:
        return self._api.watch(self._kind, resource_version, timeout_s=timeout_s)

    def decode(self, raw: bytes) -> T:
        return self._decoder.decode(raw)


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Version(msgspec.Struct):
    resourceVersion: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Version


class Reflector(Generic[T]):
    """`run` in a thread of its own until `stop`. `synced` is set after the first list."""

    def __init__(self, source: Source[T], store: Store[T], *, wait: Callable[[float], object] | None = None) -> None:
        """`wait` sleeps for seconds; by default it returns early when stopped."""
        self._source, self._store = source, store
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._stream: Stream | None = None
        self._events = msgspec.json.Decoder(_Event)
        self._versions = msgspec.json.Decoder(_Versioned)
        self.synced = threading.Event()

    def stop(self) -> None:
        self._stopping.set()
        if self._stream is not None:
            self._stream.stop()

    def run(self) -> None:
        version = ""
        failures = 0
        while not self._stopping.is_set():
            try:
                if not version:
                    version = self._list()
                version = self._watch(version)
                failures = 0
            except Expired:
                version = ""
            except _Broken as broken:
                version = broken.version
                failures = 0 if broken.progressed else failures + 1
                self._pause(failures, str(broken.cause))
            except (IntactError, msgspec.MsgspecError) as error:
                failures += 1
                self._pause(failures, str(error))

    def _list(self) -> str:
        # 1
        version, objects = self._source.list_all()
        self._store.replace_all(objects)
        self.synced.set()
        log.debug("cluster.listed", kind=self._source.name, objects=len(objects))
        return version

    def _watch(self, version: str) -> str:
        # 2
        progressed = False
        try:
            with self._source.watch(version, WATCH_S + random.randint(0, WATCH_S // 4)) as stream:
                self._stream = stream
                if self._stopping.is_set():
                    return version
                for line in stream:
                    version = self._take(line)
                    progressed = True
        except Expired:
            raise
        except TemporaryError as error:
            # 3
            raise _Broken(version, progressed, error) from error
        finally:
            self._stream = None
        return version

    def _take(self, line: str) -> str:
        event = self._events.decode(line)
        if event.type == "ERROR":
            # 4
            raise sort_error(0, bytes(event.object))
        version = self._versions.decode(event.object).metadata.resourceVersion
        match event.type:
            case "ADDED" | "MODIFIED":
                self._store.upsert(self._source.decode(bytes(event.object)))
            case "DELETED":
                self._store.remove(self._source.decode(bytes(event.object)))
        return version

    def _pause(self, failures: int, why: str) -> None:
        if self._stopping.is_set():
            return
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)
        log.warning("cluster.watch_broken", kind=self._source.name, failures=failures, pause_s=round(pause_s, 1), why=why)
        self._wait(pause_s)


class _Broken(Exception):
    def __init__(self, version: str, progressed: bool, cause: Exception) -> None:
        super().__init__(str(cause))
        self.version, self.progressed, self.cause = version, progressed, cause
