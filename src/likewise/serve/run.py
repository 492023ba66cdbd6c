"""uvicorn, with the limits it has not itself."""

import asyncio
import logging
import os
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from likewise.serve.app import SETTINGS, create_app
from likewise.serve.settings import Settings

__all__ = ["serve"]

HEAD_SECONDS = 10  # in which the head of a request has to arrive
HEAD_BYTES = 32_768
FINISH_SECONDS = 30  # for requests in flight when the service is stopped


class Protocol(H11Protocol):
    """Closes a connection on which no whole head of a request arrives in time."""

    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:  # a head was read
            self._cancel()
        elif (self.cycle is None or self.cycle.response_complete) and self.waiting is None:
            self._await_head()

    def _await_head(self) -> None:
        self.waiting = self.loop.call_later(HEAD_SECONDS, self._close)

    def _cancel(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    def _close(self) -> None:
        self.waiting = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()


def serve(settings: Settings) -> None:
    """Serve until interrupted; requests in flight are finished. Errors: ValueError before anything is listened to."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "http": Protocol,
        "ws": "none",
        "loop": "asyncio",
        "access_log": False,
        "server_header": False,
        "date_header": True,
        "timeout_keep_alive": 15,
        "timeout_graceful_shutdown": FINISH_SECONDS,
        "h11_max_incomplete_event_size": HEAD_BYTES,
        "limit_concurrency": 4 * settings.limits.concurrency,
        "log_level": "warning",
        "log_config": None,
    }
    if settings.certificate:
        options |= {"ssl_certfile": settings.certificate, "ssl_keyfile": settings.key}
    if settings.workers > 1:
        os.environ[SETTINGS] = settings.as_json()
        uvicorn.run("likewise.serve.app:from_environment", factory=True, workers=settings.workers, **options)
    else:
        uvicorn.run(create_app(settings), **options)
