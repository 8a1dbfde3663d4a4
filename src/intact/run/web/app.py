"""The API as an ASGI app: agents' requests become calls of `ClusterSide`, people's become calls of `PeopleSide`.

In: HTTP requests of anybody. Out: calls with a proven node or an authorized person, and answers. The node is always the token's, never the
body's. Errors are problem documents (RFC 9457) with the error's `code`. Stores nothing, decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from intact.adapters.codec import decode, encode, encode_all
from intact.adapters.seam.ports import FORGED, UNAUTHENTICATED, ClusterSide, PeopleSide, accept
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TemporaryError, TrustError
from intact.model.seam import AgentIdentity, Report

from .body import read_body
from .deadline import Deadline
from .gate import InFlight, Rates, Reviewer
from .longpoll import LongPoll
from .metrics import CountRequests, Metrics
from .people import Authorize, make_people_routes
from .problem import problem, problem_of

log = structlog.get_logger()

BODY_TIMEOUT_S = 20.0
"""For a whole body to arrive: a node that sends slower than that is refused and tries again."""
MAX_WAIT_S = 60.0
REPORTS_AT_ONCE = 4
"""Reports being decoded and stored at the same time: bounds the memory that their records take."""
UPLOADS_PER_NODE = 2
DOWNLOADS_PER_NODE = 3
"""An agent fetches two baselines at a time; one more, that broke off, may not be over yet."""
DOWNLOADS_AT_ONCE = 12
"""Baselines on their way to nodes: each is in memory as a whole."""
PIECE_BYTES = 256 << 10


def make_app(
    cluster: ClusterSide,
    people: PeopleSide,
    *,
    identify: Callable[[str], AgentIdentity],
    authorize: Authorize,
    ready: Callable[[], str] = lambda: "",
    metrics: Metrics | None = None,
) -> FastAPI:
    """The app. `identify` reviews an agent's token, `authorize` a person's; both block, and raise TrustError for a token they refuse.
    `ready` says why the process is not ready to serve, empty if it is."""
    counted = metrics or Metrics()
    agents = Reviewer(_counting(identify, counted))
    rates = Rates(per_s=50.0, burst=200.0)
    polls = LongPoll(cluster)
    uploads = InFlight(UPLOADS_PER_NODE)
    at_once = asyncio.Semaphore(REPORTS_AT_ONCE)
    downloads, on_their_way = InFlight(DOWNLOADS_PER_NODE), asyncio.Semaphore(DOWNLOADS_AT_ONCE)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        polls.start(asyncio.get_running_loop())
        yield

    app = FastAPI(title="Intact", version="v1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.polls = polls
    app.add_middleware(Deadline)
    app.add_middleware(CountRequests, metrics=counted)

    @app.exception_handler(IntactError)
    async def tell(_: Request, error: IntactError) -> Response:
        return problem_of(error)

    @app.exception_handler(HTTPException)
    async def tell_http(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, code="NoSuchRoute" if error.status_code == 404 else "", detail=str(error.detail))

    @app.exception_handler(ClientDisconnect)
    async def tell_nobody(_: Request, error: ClientDisconnect) -> Response:
        return problem(400, code="Disconnected", detail="the client went away before its request was whole")

    @app.exception_handler(Exception)
    async def tell_unexpected(request: Request, error: Exception) -> Response:
        log.error("request_failed", path=request.url.path, exc_info=error)
        return problem(500, code="Unexpected", detail="the controller failed on this request; its log says more")

    async def prove(request: Request) -> str:
        address = request.client.host if request.client else "unknown"
        identity = await agents.identify(request.headers.get("authorization", ""), address)
        if not identity.node:
            raise TrustError("the token belongs to no node", code=UNAUTHENTICATED)
        rates.spend(identity.node)
        return identity.node

    @app.post("/v1/reports", status_code=204, response_class=Response)
    async def submit_report(request: Request) -> Response:
        """Takes one report: 204 when it is stored.

        1. The token proves the node. 2. The body is read within its bounds. 3. It is decoded, passes the gate and is stored.
        """
        # 1
        node = await prove(request)
        with uploads.one(node):
            # 2
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    body = await read_body(request.stream(), request.headers.get("content-encoding", ""))
            except TimeoutError:
                raise TemporaryError(f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s", code="SlowRequest") from None
            # 3
            async with at_once:
                report = await run_in_threadpool(_take, cluster, node, body, counted)
        counted.take(report, len(body))
        return Response(status_code=204)

    @app.get("/v1/plan")
    async def read_plan(request: Request) -> Response:
        """The node's plan; 304 if it is the one the node has (RFC 9110, section 13.1.2)."""
        node = await prove(request)
        plan = await run_in_threadpool(cluster.plan_for, node)
        tag = f'"{plan.etag}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(encode(plan), media_type="application/json", headers={"ETag": tag, "Cache-Control": "no-cache"})

    @app.get("/v1/baselines/{key}")
    async def read_baseline(request: Request, key: str) -> Response:
        """The signed document of a baseline, byte for byte."""
        node = await prove(request)
        with ExitStack() as held:
            held.enter_context(downloads.one(node))
            await on_their_way.acquire()
            held.callback(on_their_way.release)
            document = await run_in_threadpool(cluster.baseline_for, Digest.parse(key))
            if document is None:
                raise InputError(f"no baseline of {key} here yet", code="NoSuchBaseline")
            return _Document(document, held.pop_all())

    @app.get("/v1/commands")
    async def read_commands(request: Request, wait: float = 0.0) -> Response:
        """The node's commands; waits up to `wait` seconds for the first."""
        node = await prove(request)
        commands = await polls.take(node, min(max(wait, 0.0), MAX_WAIT_S))
        return Response(encode_all(commands), media_type="application/json")

    @app.get("/healthz")
    async def say_alive() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz")
    async def say_ready() -> Response:
        reason = await run_in_threadpool(ready)
        return problem(503, code="NotReady", detail=reason) if reason else Response("ok\n", media_type="text/plain")

    @app.get("/metrics")
    async def read_metrics() -> Response:
        counted.waiting.set(polls.waiting)
        return Response(generate_latest(counted.registry), media_type=CONTENT_TYPE_LATEST)

    app.include_router(make_people_routes(people, authorize))
    return app


def _take(cluster: ClusterSide, node: str, body: bytes, counted: Metrics) -> Report:
    report = decode(Report, body)
    try:
        accept(cluster, node, report)
    except IntactError as error:
        if error.code == FORGED:
            counted.forged.inc()
        raise
    return report


class _Document(StreamingResponse):
    """A baseline's document; `held` is let go when it was sent, or will not be."""

    def __init__(self, document: bytes, held: ExitStack) -> None:
        super().__init__(_cut(document), media_type="application/octet-stream", headers={"Content-Length": str(len(document))})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


async def _cut(document: bytes) -> AsyncIterator[bytes]:
    """In pieces, so that a slow reader holds one piece in the server's buffers and not the whole."""
    for start in range(0, len(document), PIECE_BYTES):
        yield document[start : start + PIECE_BYTES]


def _counting(identify: Callable[[str], AgentIdentity], counted: Metrics) -> Callable[[str], AgentIdentity]:
    def review(token: str) -> AgentIdentity:
        counted.reviews.inc()
        return identify(token)

    return review
