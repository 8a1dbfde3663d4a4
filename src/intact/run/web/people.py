"""What people (and `intact` at their terminal) may read: status, incidents, the audit log. Read-only, each request authorized by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from intact.adapters.codec import encode, encode_all
from intact.adapters.seam.ports import UNAUTHENTICATED, PeopleSide
from intact.model.errors import InputError, TrustError

from .gate import MAX_TOKEN_BYTES, Rates
from .metrics import show_nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a person wants to read, in the terms of a SubjectAccessReview on Intact's API group. Empty `namespace`: in all of them."""

    verb: str
    resource: str
    namespace: str = ""


Authorize: TypeAlias = Callable[[str, Access], str]
"""(token, access) → the user's name. Blocks. Raises TrustError with code `Unauthenticated` for an unknown token, with another code for
somebody who may not."""


def make_people_routes(people: PeopleSide, authorize: Authorize) -> APIRouter:
    """The routes, each behind `authorize`."""
    routes = APIRouter(prefix="/v1")
    rates = Rates(per_s=10.0, burst=50.0)

    async def check(request: Request, access: Access) -> None:
        rates.spend(request.client.host if request.client else "unknown")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip() or len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise TrustError("a bearer token is needed", code=UNAUTHENTICATED, hint="kubectl create token NAME")
        await run_in_threadpool(authorize, token.strip(), access)

    @routes.get("/status")
    async def read_status(request: Request) -> Response:
        await check(request, Access(verb="list", resource="nodeintegrities"))
        return Response(encode_all(await run_in_threadpool(people.status)), media_type="application/json")

    @routes.get("/metrics")
    async def read_node_metrics(request: Request) -> Response:
        """What `/v1/status` says of nodes, as figures for Prometheus."""
        await check(request, Access(verb="list", resource="nodeintegrities"))
        shown = await run_in_threadpool(lambda: show_nodes(people.status()))
        return Response(shown, media_type=CONTENT_TYPE_LATEST)

    @routes.get("/incidents")
    async def list_incidents(request: Request, namespace: str = "") -> Response:
        await check(request, Access(verb="list", resource="integrityincidents", namespace=namespace))
        return Response(encode_all(await run_in_threadpool(people.incidents, namespace)), media_type="application/json")

    @routes.get("/incidents/{incident_id}")
    async def read_incident(request: Request, incident_id: str, namespace: str = "") -> Response:
        """One incident; with `namespace`, the right to read in that namespace is enough, and the incident must be of it."""
        await check(request, Access(verb="get", resource="integrityincidents", namespace=namespace))
        incident = await run_in_threadpool(people.incident, incident_id)
        if incident is None or (namespace and incident.workload.namespace != namespace):
            raise InputError(f"no incident {incident_id[:100]!r} here", code="NoSuchIncident")
        return Response(encode(incident), media_type="application/json")

    @routes.get("/audit/export")
    async def export_audit(request: Request) -> Response:
        await check(request, Access(verb="get", resource="auditlogs"))
        return StreamingResponse(people.export_audit(), media_type="application/octet-stream")

    return routes
