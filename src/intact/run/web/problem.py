"""Errors as problem documents (RFC 9457): the status says what kind, `code` which one, `detail` what to do."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from fastapi import Response

from intact.model.errors import IntactError, TemporaryError, TrustError

RETRY_AFTER_S = 2


def problem_of(error: IntactError) -> Response:
    """The answer that tells `error`."""
    return problem(status_of(error), code=error.code, detail=str(error))


def problem(status: int, *, code: str, detail: str) -> Response:
    """An `application/problem+json` answer; 401 names the scheme (RFC 6750), 429 and 503 say when to come again."""
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail[:2000], "code": code}
    return Response(msgspec.json.encode(document), status_code=status, media_type="application/problem+json", headers=headers)


def status_of(error: IntactError) -> int:
    """The HTTP status that says what `error` says (RFC 9110, section 15)."""
    match error.code:
        case "Unauthenticated":
            return 401
        case "TooManyRequests":
            return 429
        case "Oversize":
            return 413
        case "UnknownEncoding":
            return 415
        case "NoSuchBaseline" | "NoSuchIncident":
            return 404
        case "SlowRequest":
            return 408
    if isinstance(error, TrustError):
        return 403
    if isinstance(error, TemporaryError):
        return 503
    return 400
