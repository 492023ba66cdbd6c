"""One connection: the limits of time that uvicorn does not have, and its own refusals in the form of all errors."""

import asyncio
import json
import uuid

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from likewise.serve.guard import CONNECTIONS
from likewise.serve.problems import MEDIA, body

__all__ = ["Protocol"]

HEAD_SECONDS = 10.0  # in which the head of a request has to arrive
READ_SECONDS = 30.0  # in which a client has to take more of an answer


class Protocol(H11Protocol):
    """Closes a connection on which no whole head arrives in time, or whose client does not take its answer."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ):
        super().__init__(config, server_state, app_state, _loop)
        self.head: asyncio.TimerHandle | None = None
        self.reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTIONS: len(self.connections)}
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:  # a head was read
            self._head_came()
        elif (self.cycle is None or self.cycle.response_complete) and self.head is None:
            self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.reader is None:
            self.reader = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # the call ends without an answer of its own
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        request_id = uuid.uuid4().hex
        text = json.dumps(body(400, "the request is not valid HTTP", request_id)).encode()
        headers = [
            ("content-type", MEDIA),
            ("content-length", str(len(text))),
            ("x-request-id", request_id),
            ("connection", "close"),
        ]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=text), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _await_head(self) -> None:
        self.head = self.loop.call_later(HEAD_SECONDS, self._close)

    def _head_came(self) -> None:
        if self.head is not None:
            self.head.cancel()
            self.head = None

    def _taken(self) -> None:
        if self.reader is not None:
            self.reader.cancel()
            self.reader = None

    def _close(self) -> None:
        self.head = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
