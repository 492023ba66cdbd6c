"""uvicorn: an address that is ours before a model is loaded, an orderly stop, TLS, worker processes."""

import errno
import logging
import os
import signal
import socket
import ssl
from contextlib import closing

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from likewise.malloc import return_memory
from likewise.serve.app import LINE, SETTINGS, create_app
from likewise.serve.protocol import Protocol
from likewise.serve.served import close_all
from likewise.serve.settings import Settings
from likewise.serve.telemetry import forget_process, shared_folder

__all__ = ["serve"]

log = logging.getLogger("likewise.serve")
HEAD_BYTES = 32_768
IDLE_SECONDS = 15  # for which a connection is kept without a request
FINISH_SECONDS = 30  # for requests in flight when the service is stopped
PONG_SECONDS = 30  # in which a worker process answers its parent; one that imports on a busy machine takes seconds


class Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, where: str):
        super().__init__(config)
        self.where = where

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log.info("listening on %s", self.where)


class Workers(Multiprocess):
    """Worker processes: says where they listen once all do, and forgets what an ended one had in flight."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], where: str):
        super().__init__(config, sockets)
        self.where, self.listening = where, False
        self.pids: set[int] = set()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        pids = {process.pid for process in self.processes if process.pid is not None}
        for ended in self.pids - pids:
            forget_process(ended)
            log.warning("process %d ended, and another takes its place", ended)
        self.pids = pids
        if not self.listening and all(process.is_ready() for process in self.processes):
            self.listening = True
            log.info("listening on %s with %d processes", self.where, len(self.processes))


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; requests in flight are finished. Errors: ValueError before anything is served."""
    logging.basicConfig(level=logging.INFO, format=LINE)
    return_memory()
    with closing(bound(settings.host, settings.port)) as sock:
        address = sock.getsockname()
        shown = f"[{address[0]}]" if sock.family == socket.AF_INET6 else address[0]
        where = f"{'https' if settings.certificate else 'http'}://{shown}:{address[1]}"
        if settings.workers > 1:
            try_out(settings)
            os.environ[SETTINGS] = settings.as_json()
            with shared_folder():
                Workers(configured("likewise.serve.app:from_environment", settings), [sock], where).run()
        else:
            config = configured(create_app(settings), settings)
            loaded(config)
            until_told(Server(config, where), sock)


def configured(app: FastAPI | str, settings: Settings) -> uvicorn.Config:
    """app: an application, or where worker processes find the function that makes theirs."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        loop="asyncio",
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=FINISH_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
        log_level="warning",
        log_config=None,
        ssl_certfile=settings.certificate or None,
        ssl_keyfile=settings.key or None,
        factory=isinstance(app, str),
        workers=settings.workers,
        timeout_worker_healthcheck=PONG_SECONDS,
    )


def loaded(config: uvicorn.Config) -> None:
    """Errors: ValueError for a certificate or key that cannot be used."""
    try:
        config.load()
    except ssl.SSLError as error:
        raise ValueError(
            f"{config.ssl_certfile} and {config.ssl_keyfile} are not a certificate with its private key "
            f"({error.reason}); give both as PEM, the key without a password"
        ) from None


def try_out(settings: Settings) -> None:
    """What each worker process will do, done once: what is wrong is one sentence, not a process that keeps dying.

    Errors: ValueError.
    """
    app = create_app(settings)
    try:
        loaded(configured(app, settings))
    finally:
        close_all(app.state.galleries)


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address, before a model is loaded for it. Errors: ValueError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise ValueError(f"there is no address {host!r:.100}; give --host 127.0.0.1, or one of this machine") from None
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        reasons = {
            errno.EADDRINUSE: f"port {port} of {host} is used by another program; give another --port",
            errno.EADDRNOTAVAIL: (
                f"{host} is not an address of this machine; give --host 127.0.0.1, or one that it has"
            ),
            errno.EACCES: f"port {port} needs privileges; give a --port from 1024 on",
        }
        if error.errno in reasons:
            raise ValueError(reasons[error.errno]) from None
        raise
    sock.set_inheritable(True)
    return sock


def until_told(server: uvicorn.Server, sock: socket.socket) -> None:
    """Run; the signal that asked for an orderly stop, which uvicorn raises again at its end, is no failure."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[sock])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
