"""Who is asking, and not too often: tokens reviewed and remembered for a short while, and a rate for each node and each stranger.

All state lives in the server's event loop and is bounded; the reviews themselves run in worker threads. A token is kept as its SHA-256
only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

from intact.adapters.seam.ports import UNAUTHENTICATED
from intact.model.errors import TemporaryError, TrustError

REMEMBER_S = 60.0
"""How long a reviewed token counts without another review: also how long a revoked one still works."""
REMEMBER_REFUSED_S = 5.0
MAX_REMEMBERED = 20_000
MAX_TOKEN_BYTES = 8192

T = TypeVar("T")


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rates:
    """A token bucket for each key: `per_s` on average, `burst` at once. The least recently used keys are forgotten beyond a bound."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def check(self, key: str) -> None:
        """Raises TemporaryError `TooManyRequests` when the bucket of `key` is empty; takes nothing."""
        self._take(key, 0)

    def spend(self, key: str) -> None:
        """Takes one from the bucket of `key`. Raises TemporaryError `TooManyRequests` when it is empty."""
        self._take(key, 1)

    def _take(self, key: str, amount: int) -> None:
        now = monotonic()
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
        self._buckets.move_to_end(key)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_s)
        bucket.at = now
        if bucket.tokens < 1:
            raise TemporaryError(f"{key} asks too often", code="TooManyRequests")
        bucket.tokens -= amount
        if len(self._buckets) > MAX_REMEMBERED:
            self._buckets.popitem(last=False)


class Reviewer(Generic[T]):
    """Turns a bearer token into what `review` says of it: `review` blocks, and raises TrustError for a token it does not accept.

    1. The header holds a token of sane size. 2. A remembered answer is given again. 3. An address has a rate of refused tokens: beyond it
    nothing from there is reviewed. 4. The token is reviewed, once even if many ask at the same time. 5. Acceptance and refusal are
    remembered; a failure to review is not.
    """

    def __init__(self, review: Callable[[str], T]) -> None:
        self._review = review
        self._known: OrderedDict[bytes, tuple[float, T | TrustError]] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Future[T]] = {}
        self._refusals = Rates(per_s=5.0, burst=50.0)

    async def identify(self, authorization: str, address: str) -> T:
        """Raises TrustError `Unauthenticated`, or TemporaryError where the review is not possible now."""
        # 1
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise TrustError("a bearer token is needed", code=UNAUTHENTICATED)
        key = hashlib.sha256(token.encode()).digest()
        # 2
        known = self._known.get(key)
        if known is not None and monotonic() < known[0]:
            return _unwrap(known[1])
        if key in self._under_way:
            return await asyncio.shield(self._under_way[key])
        # 3
        self._refusals.check(address)
        # 4
        self._under_way[key] = asyncio.ensure_future(self._ask(key, token, address))
        return await asyncio.shield(self._under_way[key])

    async def _ask(self, key: bytes, token: str, address: str) -> T:
        try:
            answer: T | TrustError = await run_in_threadpool(self._review, token)
        except TrustError as error:
            answer = TrustError(str(error), code=UNAUTHENTICATED)
        finally:
            del self._under_way[key]
        # 5
        if isinstance(answer, TrustError):
            with contextlib.suppress(TemporaryError):
                self._refusals.spend(address)
        lasts_s = REMEMBER_REFUSED_S if isinstance(answer, TrustError) else REMEMBER_S
        self._known[key] = (monotonic() + lasts_s, answer)
        self._known.move_to_end(key)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return _unwrap(answer)


def _unwrap(answer: T | TrustError) -> T:
    if isinstance(answer, TrustError):
        raise answer
    return answer


class InFlight:
    """At most `most` things of one key at the same time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: Counter[str] = Counter()

    @contextmanager
    def one(self, key: str) -> Iterator[None]:
        """Raises TemporaryError `TooManyRequests` when `most` are running already."""
        if self._running[key] >= self._most:
            raise TemporaryError(f"{key} does more than {self._most} of this at once", code="TooManyRequests")
        self._running[key] += 1
        try:
            yield
        finally:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
