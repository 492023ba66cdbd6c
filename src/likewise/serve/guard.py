"""Around every request: an id, limits of size, time, number and rate, security headers, one line in the log."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likewise.serve.problems import RETRY, problem
from likewise.serve.settings import Settings
from likewise.serve.telemetry import Telemetry

__all__ = ["CONNECTIONS", "Guard", "RateLimit"]

log = logging.getLogger("likewise.serve")

CONNECTIONS = "connections"  # in the state of a request: how many were open when its own was opened
REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), geolocation=(), microphone=()",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
HERE = {"localhost", "127.0.0.1", "::1"}


class RateLimit:
    """A token bucket for each caller. The oldest are dropped beyond 10,000."""

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic):
        self.rate, self.burst, self.now = rate, burst, now
        self.buckets: dict[str, tuple[float, float]] = {}

    def wait(self, caller: str) -> float:
        """Seconds until this caller may call; 0 takes one call."""
        now = self.now()
        left, then = self.buckets.pop(caller, (float(self.burst), now))
        left = min(self.burst, left + (now - then) * self.rate)
        allowed = left >= 1
        self.buckets[caller] = (left - 1 if allowed else left, now)
        if len(self.buckets) > 10_000:
            del self.buckets[next(iter(self.buckets))]
        return 0.0 if allowed else (1 - left) / self.rate


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: Settings, telemetry: Telemetry):
        self.app, self.settings, self.telemetry = app, settings, telemetry
        self.limits = settings.limits
        self.rate = RateLimit(self.limits.rate, self.limits.burst)
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        begun, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                for name, value in SECURITY.items():
                    out[name] = value
                if "cache-control" not in out:
                    out["cache-control"] = "no-store"
            await send(message)

        self.in_flight += 1
        self.telemetry.in_flight.set(self.in_flight)
        try:
            await self._bounded(scope, headers, receive, answer, lambda: status)
        finally:
            self.in_flight -= 1
            self.telemetry.in_flight.set(self.in_flight)
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "other")
            self.telemetry.request(scope["method"], route, status or 499, seconds)
            caller = state.get("token_name", "-")
            log.info("%s %s %s %d %.0f ms %s", request_id, scope["method"], route, status, 1e3 * seconds, caller)

    async def _bounded(
        self, scope: Scope, headers: Headers, receive: Receive, send: Send, status: Callable[[], int]
    ) -> None:
        refused = self._refused(scope, headers)
        if refused is not None:
            await problem(Request(scope), *refused)(scope, receive, send)
            return
        left = self.limits.request_bytes

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    raise HTTPException(413, self._too_large(), {"Connection": "close"})
            return message

        try:
            async with asyncio.timeout(self.limits.seconds):
                await self.app(scope, bounded, send)
        except TimeoutError:
            if status():  # half of an answer was sent: there is no taking it back
                raise
            detail = f"the request was not finished within {self.limits.seconds:g} s"
            await problem(Request(scope), 504, detail, {**RETRY, "Connection": "close"})(scope, receive, send)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str, dict[str, str]] | None:
        """Status, sentence and headers for what is answered without a look at its body."""
        host = headers.get("host", "")
        if not self.settings.token_file and _hostname(host) not in HERE:
            return 403, f"this service answers on localhost only, and was asked as {host[:100]!r}", {}
        origin = headers.get("origin", "")
        if origin and origin.partition("://")[2] != host:
            return 403, f"pages of {origin[:100]!r} may not call this service", {}
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return 400, "content-length is a number of bytes", {}
        if int(length) > self.limits.request_bytes:
            return 413, self._too_large(), {"Connection": "close"}
        if not scope["path"].endswith("/health"):
            if scope["state"].get(CONNECTIONS, 0) > self.limits.connections:
                detail = f"{self.limits.connections} connections are open already; try again"
                return 503, detail, {**RETRY, "Connection": "close"}
            if self.in_flight > self.limits.concurrency:
                return 503, f"{self.limits.concurrency} requests are in flight already; try again", RETRY
        caller = headers.get("authorization") or (scope.get("client") or ("-",))[0]
        wait = self.rate.wait(caller)
        if wait:
            detail = f"more than {self.limits.rate:g} requests a second; wait {wait:.1f} s"
            return 429, detail, {"Retry-After": str(max(1, round(wait)))}
        return None

    def _too_large(self) -> str:
        return (
            f"a request may be {self.limits.request_bytes >> 20} MiB long, and this one is longer; send fewer or "
            "smaller images"
        )


def _hostname(host: str) -> str:
    """The host of a Host header, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
