"""Calls to one Kubernetes API server: lightkube finds and authenticates it, this module makes the calls and sorts the errors.

In: kinds, names, JSON objects. Out: JSON objects, pages, watch lines. Every write passes the `fence` first, so that a process that lost its
Lease stops before its next write. Errors come as `intact.model.errors`, with the API's reason as code. Keeps nothing, retries nothing.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, TypeAlias

import httpx2
import msgspec
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError
from lightkube.core.generic_client import BasicRequest, GenericSyncClient
from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource
from yaml import YAMLError

from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError, TrustError

from .kinds import Kind

Object: TypeAlias = dict[str, Any]

FIELD_MANAGER = "intact"
TIMEOUT_S = 15.0
WATCH_SILENCE_S = 150.0
"""A watch that brings not even a bookmark (one a minute) for so long is dead."""
ALL_NAMESPACES = "*"


class Status(msgspec.Struct):
    """A `metav1.Status`, as far as it is used."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: Object | None = None


class Answered(IntactError):
    """An error that is an answer of the API server; `code` is its reason."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message, code=status.reason)
        self.status = status


class Conflict(Answered, TemporaryError):
    """The object changed in between, or exists already (code `AlreadyExists`)."""


class Expired(Answered, TemporaryError):
    """410: the resource version or page is too old; list again."""


class Busy(Answered, TemporaryError):
    """The server cannot now."""


class Rejected(Answered, PermanentError):
    """The same request will be refused again: no right, no such object, not valid."""


class Unauthorized(Answered, TrustError):
    """Our own token is not accepted."""


class Api:
    """One API server. Thread-safe. `namespace` is the default for namespaced kinds."""

    def __init__(self, config: KubeConfig | None = None, *, fence: Callable[[], None] = lambda: None) -> None:
        """`config` None: the pod's service account, else KUBECONFIG. Raises InputError when there is no configuration. `fence` is called
        before each write and raises TemporaryError when this process may not write any more."""
        try:
            found = (config or KubeConfig.from_env()).get()
        except (ConfigError, KeyError) as error:
            raise InputError(f"no Kubernetes configuration: {error}", hint="set KUBECONFIG") from error
        except (OSError, UnicodeError, YAMLError, AttributeError, TypeError) as error:  # what lightkube meets in a file that is none
            raise InputError(f"the Kubernetes configuration cannot be read: {error}", hint="what does KUBECONFIG name?") from error
        timeout = httpx2.Timeout(TIMEOUT_S)
        self._calls = GenericSyncClient(_Connection(timeout=timeout), found, field_manager=FIELD_MANAGER)
        # Watches hold their connections: in a pool of their own they keep none from the calls.
        self._watches = GenericSyncClient(_Connection(timeout=httpx2.Timeout(TIMEOUT_S, read=WATCH_SILENCE_S)), found)
        self.fence = fence
        self.namespace: str = self._calls.namespace

    def close(self) -> None:
        self._calls.close()  # type: ignore[no-untyped-call]
        self._watches.close()  # type: ignore[no-untyped-call]

    def get(self, kind: Kind, name: str, namespace: str = "", *, metadata_only: bool = False) -> Object | None:
        """The object, or None if there is none. `metadata_only`: the server sends no content at all."""
        headers = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"} if metadata_only else None
        return self._object(self._call("get", kind, name=name, namespace=namespace, headers=headers, absent_ok=True))

    def list_all(self, kind: Kind, namespace: str = ALL_NAMESPACES, *, labels: str = "", limit: int = 500) -> Iterator[Object]:
        """All objects, page by page."""
        for _, page in self.pages(kind, Object, namespace=namespace, labels=labels, limit=limit):
            yield from page

    def pages(
        self, kind: Kind, shape: Any, *, namespace: str = ALL_NAMESPACES, labels: str = "", limit: int = 500
    ) -> Iterator[tuple[str, list[Any]]]:
        """(resource version of the list, items decoded as `shape`) for each page. Raises `Expired` when the list took too long."""
        token = ""
        while True:
            params = {"limit": str(limit), "continue": token or None, "labelSelector": labels or None}
            body = self._call("list", kind, namespace=namespace if kind.namespaced else "", params=params)
            page = msgspec.json.decode(body or b"{}", type=_page(shape))
            yield page.metadata.resourceVersion, page.items or []
            token = page.metadata.token
            if not token:
                return

    @contextmanager
    def watch(self, kind: Kind, resource_version: str, *, timeout_s: int) -> Iterator[WatchStream]:
        """The changes since `resource_version`, with bookmarks. Raises `Expired`, or TemporaryError when the connection breaks."""
        params = {
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_s),
        }
        namespace = ALL_NAMESPACES if kind.namespaced else None
        request = self._watches.prepare_request("list", res=_resource(kind), namespace=namespace, watch=True, params=params)
        try:
            response = self._watches.send(self._watches.build_adapter_request(request), stream=True)
        except (httpx2.HTTPError, ConfigError) as error:
            raise _unreachable(error) from error
        try:
            if response.status_code >= 400:
                response.read()
                raise sort_error(response.status_code, response.content)
            yield WatchStream(response)
        except httpx2.HTTPError as error:
            raise _unreachable(error) from error
        finally:
            response.close()

    def create(self, kind: Kind, body: Mapping[str, Any], *, record: bool = True) -> Object:
        """Creates it. Raises `Conflict` with code `AlreadyExists`. `record` False: a review, which writes nothing and needs no fence."""
        if record:
            self.fence()
        return self._object(self._call("post", kind, body=body, namespace=_namespace_of(body))) or {}

    def create_sub(self, kind: Kind, name: str, namespace: str, action: str, body: Mapping[str, Any]) -> Object:
        """POST to a subresource, such as a pod's eviction."""
        self.fence()
        return self._object(self._call("post", kind, name=name, namespace=namespace, body=body, action=action)) or {}

    def apply(self, kind: Kind, body: Mapping[str, Any], *, status: bool = False) -> Object:
        """Server-side apply of `body`, or of its status alone; fields of ours that others took are taken back."""
        self.fence()
        name = body["metadata"]["name"]
        params = {"force": "true", "fieldManager": FIELD_MANAGER}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        namespace, action = _namespace_of(body), "status" if status else ""
        return (
            self._object(
                self._call("patch", kind, name=name, namespace=namespace, body=body, params=params, headers=headers, action=action)
            )
            or {}
        )

    def patch(self, kind: Kind, name: str, namespace: str, operations: list[Object]) -> Object:
        """A JSON patch (RFC 6902). A failed `test` comes as `Rejected` with code `Invalid`."""
        self.fence()
        headers = {"Content-Type": "application/json-patch+json"}
        return self._object(self._call("patch", kind, name=name, namespace=namespace, body=operations, headers=headers)) or {}

    def replace(self, kind: Kind, body: Mapping[str, Any], *, fenced: bool = True) -> Object:
        """PUT. Raises `Conflict` when `body`'s resourceVersion is not the current one. `fenced` False is for the Lease itself."""
        if fenced:
            self.fence()
        name = body["metadata"]["name"]
        return self._object(self._call("put", kind, name=name, namespace=_namespace_of(body), body=body)) or {}

    def delete(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Deletes it; it is no error when there is none."""
        self.fence()
        self._call("delete", kind, name=name, namespace=namespace, absent_ok=True)

    def _call(
        self,
        method: str,
        kind: Kind,
        *,
        name: str = "",
        namespace: str = "",
        body: Any = None,
        params: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        action: str = "",
        absent_ok: bool = False,
    ) -> bytes | None:
        request: BasicRequest = self._calls.prepare_request(
            "list" if method == "list" else "get",
            res=_resource(kind),
            name=name or "-",
            namespace=(namespace or self.namespace) if kind.namespaced else None,
            params=dict(params or {}),
            headers=dict(headers or {}),
        )
        if method == "post" and not action:
            request.url = request.url.removesuffix("/-")
        request.url += f"/{action}" if action else ""
        request.method = {"list": "GET"}.get(method, method.upper())
        request.data = body
        if method in ("post", "put", "patch"):
            request.params.setdefault("fieldManager", FIELD_MANAGER)
        try:
            response = self._calls.send(self._calls.build_adapter_request(request))
        except (httpx2.HTTPError, ConfigError) as error:
            raise _unreachable(error) from error
        if response.status_code == 404 and absent_ok:
            return None
        if response.status_code >= 400:
            raise sort_error(response.status_code, response.content)
        return bytes(response.content)

    def _object(self, body: bytes | None) -> Object | None:
        return None if body is None else msgspec.json.decode(body, type=dict)


class _Connection(ConnectionParams):
    """Python 3.13 asks of certificates what clusters' own authorities often lack (an authority key identifier, RFC 5280 section 4.2.1.1).
    The chain to the cluster's CA and the name are checked as kubectl checks them."""

    def httpx_params(self, config: SingleConfig) -> dict[str, Any]:
        params: dict[str, Any] = super().httpx_params(config)
        if isinstance(params["verify"], ssl.SSLContext):
            params["verify"].verify_flags &= ~ssl.VERIFY_X509_STRICT
        return params


class WatchStream:
    """The lines of one watch. `stop` may be called from another thread and ends the iteration."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[str]:
        for line in self._response.iter_lines():
            if line:
                yield line

    def stop(self) -> None:
        stream = self._response.extensions.get("network_stream")
        connection = stream.get_extra_info("socket") if stream is not None else None
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _ListMeta(msgspec.Struct):
    resourceVersion: str = ""
    token: str = msgspec.field(name="continue", default="")


@lru_cache
def _page(shape: Any) -> Any:
    fields: list[Any] = [("items", list[shape] | None, None), ("metadata", _ListMeta, msgspec.field(default_factory=_ListMeta))]
    return msgspec.defstruct("Page", fields)


@lru_cache
def _resource(kind: Kind) -> Any:
    base = GenericNamespacedResource if kind.namespaced else GenericGlobalResource
    verbs = ["get", "list", "watch", "global_list", "global_watch"]
    info = ApiInfo(resource=ResourceDef(kind.group, kind.version, kind.kind), plural=kind.plural, verbs=verbs)
    return type(kind.kind, (base,), {"_api_info": info})


def _namespace_of(body: Mapping[str, Any]) -> str:
    return str(body["metadata"].get("namespace", "")) if "metadata" in body else ""


def _unreachable(error: Exception) -> TemporaryError:
    return TemporaryError(f"the Kubernetes API does not answer: {type(error).__name__} {error}".strip(), code="ApiUnavailable")


def sort_error(http_status: int, body: bytes) -> Answered:
    """The error for an answer of the API server (Kubernetes API conventions, section Response Status Kind)."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except msgspec.MsgspecError:
        status = Status(message=body[:200].decode("utf-8", "replace"))
    status.code = status.code or http_status
    status.message = status.message or f"HTTP {http_status}"
    status.reason = status.reason or f"Http{http_status}"
    match status.code:
        case 401:
            return Unauthorized(status)
        case 409:
            return Conflict(status)
        case 410:
            return Expired(status)
        case 408 | 425 | 429:
            return Busy(status)
        case code if code >= 500:
            return Busy(status)
        case _:
            return Rejected(status)
